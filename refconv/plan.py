"""Plan, then apply: what a call decides once for its shapes, and the few machine steps that are left for every call.

A plan is the compiled entry point of one kernel with everything that does not depend on the data: tiling, units, workspace.
"""

import functools
import threading
from typing import Any, NamedTuple

import numba
from numba import types

from refconv import host
from refconv.elements import Element, element
from refconv.jit import compiled
from refconv.kernels import FUSED, KERNELS
from refconv.problem.conv import is_integer
from refconv.threads import Split
from refconv.weights.packed import empty

_ARENA = threading.local()
MOST_WORKSPACE_BYTES = 1 << 33


class Plan(NamedTuple):
    """A kernel made ready for one problem, element type, tiling and number of threads."""

    kernel: Any
    problem: Any
    tiling: Any
    units: int
    workspace: dict
    threads: int
    element: Element
    entry: Any
    out_shape: tuple
    no_bias: Any
    sizes: tuple

    def run(self, x, weight, bias, out):
        """Compute: x, weight (packed), bias (may be empty) and out are flat arrays of the plan's element type, or tuples of them.

        Returns the workspace buffers, in the order of `workspace`: valid until the next call of this Python thread.
        """
        work = _workspace(self.sizes, self.element.work, self.kernel.from_work)
        if self.element.half and not numba.config.DISABLE_JIT:
            weight, bias, out = (_bits(operand, self.element.compiled) for operand in (weight, bias, out))
            x = x if self.kernel.from_work else _bits(x, self.element.compiled)
        if self.threads == 1:
            self.entry(x, weight, bias, out, work, self.problem, self.tiling, 0, 1, 0, self.units)
        else:
            self.entry(x, weight, bias, out, work, self.problem, self.tiling, self.units, self.threads)
        return work


def _bits(operand, dtype):
    """An array, or each of a tuple of them, as compiled kernels take it."""
    return tuple(array.view(dtype) for array in operand) if isinstance(operand, tuple) else operand.view(dtype)


def scratch(name, elements, dtype):
    """Uninitialised memory of this Python thread under a name, kept from call to call; it grows to the largest asked for."""
    arena, key = _ARENA.__dict__, (name, dtype)
    if key not in arena or len(arena[key]) < elements:
        arena[key] = empty(elements, dtype)
        arena.pop("workspaces", None)  # views of what was there before
    return arena[key][:elements]


def _workspace(sizes, dtype, behind):
    """A workspace: buffers of those numbers of elements, the same for every kernel; behind: apart from them, for one that reads another's."""
    arena, key = _ARENA.__dict__, (sizes, dtype, behind)
    buffers = arena.get("workspaces", {}).get(key)
    if buffers is None:
        buffers = tuple(scratch((behind, i), size, dtype) for i, size in enumerate(sizes))
        arena.setdefault("workspaces", {})[key] = buffers
    return buffers


@functools.lru_cache(maxsize=4096, typed=True)
def make_plan(name, problem, dtype, wanted_tiling=None, threads=1):
    """The plan for kernel `name` on a problem; compiles the kernel (or reads it from disk) for its tile shape."""
    row, stored, target = KERNELS.get(name) or FUSED[name], element(dtype), host.target()._replace(threads=threads)
    lanes = target.lanes(stored.work.itemsize)
    row.check(problem, lanes)
    chosen = row.tiling(problem, stored.work.itemsize, target)
    if wanted_tiling is not None:
        chosen = row.checked(wanted_tiling, chosen, problem, lanes)
    units = row.units(problem, chosen)
    threads = min(threads, units)
    workspace = row.workspace(problem, chosen, lanes, stored.half)
    if sum(workspace.values()) * threads * stored.work.itemsize > MOST_WORKSPACE_BYTES:
        raise ValueError(f"{problem}: {name} would stage {workspace} elements a thread; legal: a smaller dilation, map or number of threads")
    work = types.UniTuple(flat(stored.work), len(workspace))
    operands = (types.UniTuple(flat(stored), count) if count else flat(stored) for count in row.operands)
    source = flat(stored.work) if row.from_work else flat(stored)
    signature = (source, *operands, flat(stored), work, numba.typeof(problem), numba.typeof(chosen))
    entry = compiled(row.run, (*signature, *[types.intp] * 4)) if threads == 1 else Split(row.run, signature)  # slot, slots, first, last
    sizes = tuple(size * threads for size in workspace.values())
    out_shape, no_bias = (problem.n, problem.p, problem.q, problem.k), empty(0, stored.compiled)
    return Plan(row, problem, chosen, units, workspace, threads, stored, entry, out_shape, no_bias, sizes)


def flat(dtype):
    """Numba's type of the flat arrays of an element type that a kernel takes."""
    return element(dtype).numba_type


def thread_count(threads):
    """The number of threads a call may use: None means Numba's current number.

    Threads are Numba's. Where they would end the process, as after a fork, shares are computed one after another: refconv/threads.py.
    """
    most = numba.config.NUMBA_NUM_THREADS
    if threads is None:
        return numba.get_num_threads()
    if not is_integer(threads) or not 1 <= threads <= most:
        raise ValueError(f"threads = {threads!r}: must be an integer from 1 to {most} (NUMBA_NUM_THREADS)")
    return int(threads)
