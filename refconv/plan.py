"""Plan, then apply: the calls of a schedule as compiled entry points of this process and the memory that they work in.

What a call decides once for its shapes is in a Plan; few machine steps are left for every call.
"""

import functools
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import numba
from numba import types

from refconv import host
from refconv.elements import Element, element
from refconv.jit import parallel, plain
from refconv.problem.conv import is_integer
from refconv.recent import Recent
from refconv.schedule import Call, Schedule, kernel_called, prepared
from refconv.weights.packed import empty

MOST_WORKSPACE_BYTES = 1 << 33
"""That a call may have."""
MOST_KEPT_BYTES = 1 << 28
"""Of workspace and tensors between calls that a Python thread keeps for calls to come; a call that takes more lets go of it at its end."""
MOST_WORKSPACES = 64
MOST_PLANS = 256
"""Kept by a program that meets ever new shapes: what has been let go is decided anew where it is wanted again, in about a millisecond."""


class Plan(NamedTuple):
    """A Call made ready: its compiled entry point for an element type; places, sizes: of its workspace (see Call)."""

    call: Call
    element: Element
    entry: Any
    out_shape: tuple
    no_bias: Any
    places: tuple
    sizes: tuple

    def run(self, x, weight, bias, out):
        """Compute: x, weight (packed), bias (may be empty) and out are flat arrays of the plan's element type, or tuples of them.

        Returns the workspace buffers, in the order of the call's `workspace`: valid until the next call of this Python thread.
        """
        call, work = self.call, _ARENA.workspace(self.places, self.sizes, self.element.work)
        if self.element.half and self.entry is not plain(call.kernel.run):
            weight, bias, out = (_bits(operand, self.element.compiled) for operand in (weight, bias, out))
            x = x if call.kernel.from_work else _bits(x, self.element.compiled)
        if call.threads == 1:
            self.entry(x, weight, bias, out, work, call.problem, call.tiling, 0, 1, 0, call.units)
        else:
            self.entry(x, weight, bias, out, work, call.problem, call.tiling, call.units, call.threads)
        return work


class Program(NamedTuple):
    """A Schedule made ready: the Plans of its calls, and {name: array} of its weights and biases."""

    schedule: Schedule
    plans: tuple
    parameters: dict

    @property
    def out_shape(self):
        """(n, p, q, k): NHWC."""
        return self.plans[-1].out_shape

    def run(self, x, out):
        """Make the calls on flat arrays: x NHWC, out of the output's size, both of the schedule's element type."""
        tensors = {"input": x, "output": out, **self.parameters}
        for plan in self.plans:
            source, weights, biases, made = plan.call.operands
            if made not in tensors:
                tensors[made] = _ARENA.buffer(made, self.schedule.tensors[made], x.dtype)
            weights, biases = (tuple([tensors[name] for name in names]) for names in (weights, biases))
            work = plan.run(tensors[source], weights, biases, tensors[made])
            if len(self.plans) > 1:
                tensors.update(zip(plan.places, work, strict=True))


def _bits(operand, dtype):
    """An array, or each of a tuple of them, as compiled kernels take it."""
    return tuple(array.view(dtype) for array in operand) if isinstance(operand, tuple) else operand.view(dtype)


class Arena(threading.local):
    """Uninitialised memory of a Python thread, kept from call to call: a buffer for each key, in order of use, at most MOST_KEPT_BYTES in all."""

    def __init__(self):
        self.buffers, self.workspaces = OrderedDict(), Recent(MOST_WORKSPACES)

    def buffer(self, key, elements, dtype):
        """A flat array that whoever asks for that key may overwrite; where it has been let go, whoever has it keeps it."""
        key, kept = (key, dtype), self.buffers
        if key not in kept or len(kept[key]) < elements:
            kept[key] = empty(elements, dtype)
            self.workspaces = Recent(MOST_WORKSPACES)  # they are views of what was there before
        kept.move_to_end(key)
        found = kept[key][:elements]
        while sum(buffer.nbytes for buffer in kept.values()) > MOST_KEPT_BYTES:
            kept.popitem(last=False)
            self.workspaces = Recent(MOST_WORKSPACES)
        return found

    def workspace(self, places, sizes, dtype):
        """Buffers of those numbers of elements, each in the memory that all calls with that place share."""
        key = places[:1], sizes, dtype  # of a kernel's places the first tells all
        buffers = self.workspaces.get(key)
        if buffers is None:
            buffers = tuple(self.buffer(place, size, dtype) for place, size in zip(places, sizes, strict=True))
            self.workspaces.keep(key, buffers)
        return buffers


_ARENA = Arena()


@functools.lru_cache(maxsize=MOST_PLANS, typed=True)
def make_plan(name, problem, dtype, wanted_tiling=None, threads=1):
    """The plan for kernel `name` on a problem; compiles the kernel (or reads it from disk) for its tile shape."""
    stored = element(dtype)
    return plan_of(prepared(kernel_called(name), problem, stored, host.target()._replace(threads=threads), wanted_tiling), stored)


def plan_of(call, stored):
    """The plan of a Call on tensors of an Element; compiles the kernel (or reads it from disk) for its tile shape."""
    row, problem, workspace = call.kernel, call.problem, call.workspace
    if sum(call.sizes) * stored.work.itemsize > MOST_WORKSPACE_BYTES:
        raise ValueError(f"{problem}: {row.name} would stage {workspace} elements a thread; legal: a smaller dilation, map or number of threads")
    run = row.run if call.threads == 1 else parallel(row.run)
    work = types.UniTuple(flat(stored.work), len(workspace))
    split = [types.intp] * (4 if call.threads == 1 else 2)  # slot, slots, first, last or units, threads
    operands = (types.UniTuple(flat(stored), count) if count else flat(stored) for count in row.operands)
    source = flat(stored.work) if row.from_work else flat(stored)
    entry = compiled(run, (source, *operands, flat(stored), work, numba.typeof(problem), numba.typeof(call.tiling), *split))
    out_shape, no_bias = (problem.n, problem.p, problem.q, problem.k), empty(0, stored.compiled)
    return Plan(call, stored, entry, out_shape, no_bias, call.places, call.sizes)


def make_program(schedule, parameters):
    """The Program of a Schedule; parameters: {name: array} of its weights and biases."""
    nothing = {"nothing": empty(0, schedule.element.dtype)}
    return Program(schedule, tuple(plan_of(call, schedule.element) for call in schedule.calls), {**nothing, **parameters})


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
