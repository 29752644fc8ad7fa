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
from refconv.jit import Part, parallel, plain
from refconv.kernels import KERNELS
from refconv.problem.conv import is_integer
from refconv.weights.packed import empty

_ARENA = threading.local()
MOST_WORKSPACE_BYTES = 1 << 33


class Plan(NamedTuple):
    """A kernel made ready for one problem, element type, tiling and number of threads."""

    kernel: Any
    problem: Any
    tiling: Any
    units: int
    workspace: Any
    threads: int
    element: Element
    entry: Any
    out_shape: tuple
    no_bias: Any
    sizes: tuple

    def run(self, operands, out):
        """Compute: the kernel's operands are flat arrays of the plan's element type, in its record, out is one too.

        Returns the workspace buffers, in the kernel's record: valid until the next call of this Python thread.
        """
        work = self.workspace._make(_workspace(self.sizes, self.element.work, bool(self.kernel.from_workspace)))
        if self.element.half and self.entry is not plain(self.kernel.run):
            operands, out = operands._make(_bits(array, self.element) for array in operands), _bits(out, self.element)
        if self.threads == 1:
            self.entry(operands, out, work, self.problem, self.tiling, Part(0, 1, 0, self.units))
        else:
            self.entry(operands, out, work, self.problem, self.tiling, self.units, self.threads)
        return work


def _bits(array, stored):
    """An array as compiled kernels take it: halves as their bits, what is of the workspace's type as it is."""
    return array.view(stored.compiled) if array.dtype.itemsize == stored.itemsize else array


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
    row, stored, target = KERNELS[name], element(dtype), host.target()._replace(threads=threads)
    lanes = target.lanes(stored.work.itemsize)
    row.check(problem, lanes)
    chosen = row.tiling(problem, stored.work.itemsize, target)
    if wanted_tiling is not None:
        chosen = row.checked(wanted_tiling, chosen, problem, lanes)
    units = row.units(problem, chosen)
    threads = min(threads, units)
    workspace = row.workspace(problem, chosen, lanes, stored.half)
    if sum(workspace) * threads * stored.work.itemsize > MOST_WORKSPACE_BYTES:
        raise ValueError(
            f"{problem}: {name} would stage {workspace._asdict()} elements a thread; legal: a smaller dilation, map or number of threads"
        )
    run = row.run if threads == 1 else parallel(row.run)
    operands = (flat(stored.work if operand in row.from_workspace else stored) for operand in row.operands._fields)
    inputs = types.BaseTuple.from_types(tuple(operands), row.operands)
    work = types.BaseTuple.from_types((flat(stored.work),) * len(workspace), type(workspace))
    split = (numba.typeof(Part(0, 1, 0, units)),) if threads == 1 else (types.intp, types.intp)  # the part, or units and threads
    entry = compiled(run, (inputs, flat(stored), work, numba.typeof(problem), numba.typeof(chosen), *split))
    sizes = tuple(size * threads for size in workspace)
    out_shape, no_bias = (problem.n, problem.p, problem.q, problem.k), empty(0, stored.compiled)
    return Plan(row, problem, chosen, units, workspace, threads, stored, entry, out_shape, no_bias, sizes)


def compiled(run, signature):
    """The machine entry point of a kernel for a signature; under NUMBA_DISABLE_JIT the plain function."""
    if not hasattr(run, "compile"):
        return run
    run.compile(signature)
    return run.overloads[signature].entry_point


def flat(dtype):
    """Numba's type of the flat arrays of an element type that a kernel takes."""
    return element(dtype).numba_type


def thread_count(threads):
    """The number of threads a call may use: None means Numba's current number.

    Threads are Numba's, with GNU OpenMP by default: a process that has used them must not fork and use them again (spawn instead).
    """
    most = numba.config.NUMBA_NUM_THREADS
    if threads is None:
        return numba.get_num_threads()
    if not is_integer(threads) or not 1 <= threads <= most:
        raise ValueError(f"threads = {threads!r}: must be an integer from 1 to {most} (NUMBA_NUM_THREADS)")
    return int(threads)
