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
from refconv.frames import NativeCall
from refconv.jit import compiled, native, part_of
from refconv.kernels import KERNELS
from refconv.problem.activations import NO_ACTIVATION
from refconv.problem.conv import is_integer
from refconv.recent import Recent
from refconv.schedule import Call, Schedule, block_schedule, prepared, subject_of
from refconv.threads import Split
from refconv.tiling.measured import Subject, look_up, when_measured
from refconv.weights.packed import empty

MOST_WORKSPACE_BYTES = 1 << 33
"""That a call may have."""
MOST_KEPT_BYTES = 1 << 28
"""Of workspace and tensors between calls that a Python thread keeps for calls to come; a call that takes more lets go of it at its end."""
MOST_WORKSPACES = 64
"""Sets of views of that memory that are kept, each for one kernel's sizes."""
MOST_PLANS = 256
"""Kept of calls of layers: what has been let go is decided anew when it is wanted again, in about a millisecond."""


class Plan(NamedTuple):
    """A Call made ready: its compiled entry point for an element type, and what each call of it would else make again.

    last: the entry's last arguments, a Part or units and threads; places: the call's; workspace_key: see Arena.workspace.
    """

    call: Call
    element: Element
    entry: Any
    out_shape: tuple
    no_bias: Any
    last: tuple
    places: tuple
    workspace_key: str

    @property
    def workspace(self):
        """The workspace buffers, in the kernel's record: valid until the next call of this Python thread."""
        return _ARENA.workspace(self.workspace_key, self.call, self.element.work)

    def run(self, operands, out, work=None):
        """Compute: the kernel's operands are flat arrays of the plan's element type, in its record, out is one too; work: `workspace`."""
        call = self.call
        work = self.workspace if work is None else work
        if self.element.half and not numba.config.DISABLE_JIT:
            arrays = [_bits(array, self.element) for array in operands[: len(operands) - len(call.statics)]]
            operands, out = call.operands(arrays), _bits(out, self.element)
        self.entry(operands, out, work, call.problem, call.tiling, *self.last)

    def native_call(self, operands, out, work):
        """What run does, as a NativeCall; in place of an array may be a frames.Given."""
        address, kinds = self.entry.native() if isinstance(self.entry, Split) else native(self.call.kernel.run, signature_of(self.call, self.element))
        return NativeCall(address, kinds, (operands, out, work, self.call.problem, self.call.tiling, *self.last))


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
        for plan, *rest in self._passes(x, out):
            plan.run(*rest)

    def native_calls(self, x, out):
        """The calls as NativeCalls in the workspace of this Python thread; x and out as of run, or frames.Given."""
        return [plan.native_call(*rest) for plan, *rest in self._passes(x, out)]

    def owned(self):
        """The same with weights and biases that nobody else can change: these are already copies."""
        return self

    @property
    def split(self):
        """The Split of a call that has several threads, None where none has."""
        return next((plan.entry for plan in self.plans if isinstance(plan.entry, Split)), None)

    def _passes(self, x, out):
        """Yield (plan, operands, what it writes, workspace) of each call."""
        tensors = {"input": x, "output": out, **self.parameters}
        for plan in self.plans:
            call, dtype = plan.call, plan.element.dtype
            if call.out not in tensors:
                tensors[call.out] = _ARENA.buffer(call.out, self.schedule.tensors[call.out], dtype)
            work = plan.workspace
            yield plan, call.operands([tensors[key] for key in call.inputs]), tensors[call.out], work
            if len(self.plans) > 1:
                tensors.update(zip(plan.places, work, strict=True))


class LayerProgram(NamedTuple):
    """The Plan of a layer with its packed weight, its bias and its residual (of length 0: none), flat arrays; used as a Program is."""

    plan: Plan
    weight: Any
    bias: Any
    residual: Any

    @property
    def plans(self):
        """As of a Program."""
        return (self.plan,)

    @property
    def out_shape(self):
        """(n, p, q, k): NHWC."""
        return self.plan.out_shape

    def owned(self):
        """As of a Program; the packed weight is a copy that cannot be written, and the residual is none of them."""
        return self._replace(bias=self.bias.copy())

    @property
    def split(self):
        """As of a Program."""
        return self.plan.entry if isinstance(self.plan.entry, Split) else None

    def run(self, x, out):
        """As of a Program."""
        self.plan.run(self._operands(x), out)

    def native_calls(self, x, out):
        """As of a Program."""
        return [self.plan.native_call(self._operands(x), out, self.plan.workspace)]

    def _operands(self, x):
        return self.plan.call.operands((x, self.weight, self.bias, self.residual))


def _bits(array, stored):
    """An array as compiled kernels take it: halves as their bits, what is of the workspace's type as it is."""
    return array.view(stored.compiled) if array.dtype.itemsize == stored.itemsize else array


class Arena(threading.local):
    """Uninitialised memory of a Python thread, kept from call to call: a buffer for each key, in order of use, at most MOST_KEPT_BYTES in all."""

    def __init__(self):
        self.buffers, self.workspaces = OrderedDict(), Recent(MOST_WORKSPACES)

    def buffer(self, key, elements, dtype):
        """A flat array that the next caller with that key may overwrite; one that has been let go stays valid for whoever holds it."""
        key, kept = (key, dtype), self.buffers
        buffer = kept.get(key)
        if buffer is not None and len(buffer) >= elements:
            kept.move_to_end(key)
            return buffer[:elements]
        self.workspaces = Recent(MOST_WORKSPACES)  # they are views of what was there before
        kept[key] = buffer = empty(elements, dtype)
        kept.move_to_end(key)
        while sum(buffer.nbytes for buffer in kept.values()) > MOST_KEPT_BYTES:
            kept.popitem(last=False)
        return buffer

    def workspace(self, key, call, dtype):
        """The workspace of a Call, in its kernel's record: each buffer in the memory that all calls with that place share.

        key: a text that tells apart what differs in places, sizes, dtype or record.
        """
        buffers = self.workspaces.get(key)
        if buffers is None:
            places = call.places
            buffers = type(call.workspace)._make([self.buffer(place, size, dtype) for place, size in zip(places, call.sizes, strict=True)])
            if all((place, dtype) in self.buffers for place in places):  # else they are more than is kept
                self.workspaces.keep(key, buffers)
        return buffers


_ARENA = Arena()


def scratch(key, elements, dtype):
    """A flat array of this Python thread's kept memory, as of Arena.buffer."""
    return _ARENA.buffer(key, elements, dtype)


@functools.lru_cache(maxsize=MOST_PLANS, typed=True)
def make_plan(name, problem, dtype, wanted_tiling=None, threads=1, activations=NO_ACTIVATION):
    """The plan for kernel `name` on a problem; compiles the kernel (or reads it from disk) for its tile shape and its Activations.

    The tiling is the one wanted, else what has been measured on this CPU (refconv.tune), else the rule's.
    """
    stored = element(dtype)
    return plan_of(call_of(KERNELS[name], problem, stored, threads, wanted_tiling, activations), stored)


def call_of(row, problem, stored, threads, wanted_tiling=None, activations=NO_ACTIVATION):
    """The Call that make_plan makes ready, for tensors of an Element; compiles nothing."""
    known = look_up(Subject(row, problem, stored, threads)) if wanted_tiling is None else None
    tiling = known.tiling if known else wanted_tiling
    call = prepared(row, problem, stored, host.target()._replace(threads=threads), tiling)._replace(measured=known)
    return call._replace(statics=(activations,)) if row.statics else call


def schedule_of(block, sizes, stored, threads, tiling=None, halo="auto", squeeze="auto"):
    """The Schedule of a record on images of sizes (n, h, w), for tensors of an Element, with the tiling that call_of would take; compiles nothing."""
    target = host.target()._replace(threads=threads)
    schedule = block_schedule(block, *sizes, stored, target, tiling=tiling, halo=halo, squeeze=squeeze)
    known = look_up(subject_of(schedule, threads)) if tiling is None and halo == "auto" else None
    if not known:
        return schedule
    schedule = block_schedule(block, *sizes, stored, target, tiling=known.tiling, squeeze=squeeze)
    return schedule._replace(calls=(schedule.calls[0]._replace(measured=known), *schedule.calls[1:]))


when_measured(make_plan.cache_clear)


def plan_of(call, stored):
    """The plan of a Call on tensors of an Element; compiles the kernel (or reads it from disk) for its tile shape and statics."""
    row, problem, workspace = call.kernel, call.problem, call.workspace
    if sum(call.sizes) * stored.work.itemsize > MOST_WORKSPACE_BYTES:
        staged = workspace._asdict()
        raise ValueError(f"{problem}: {row.name} would stage {staged} elements a thread; legal: a smaller dilation, map or number of threads")
    signature = signature_of(call, stored)
    if call.threads == 1:
        last, entry = (part_of(0, 1, call.units),), compiled(row.run, signature)
    else:
        last, entry = (call.units, call.threads), Split(row.run, signature[:-1])
    out_shape, no_bias = (problem.n, problem.p, problem.q, problem.k), empty(0, stored.compiled)
    return Plan(call, stored, entry, out_shape, no_bias, last, call.places, f"{call.places[:1]} {call.sizes} {stored.work} {type(workspace)}")


def signature_of(call, stored):
    """The Numba types of what a Call on tensors of an Element gives its kernel: what tells apart the variants that are compiled of it."""
    row, work = call.kernel, flat(stored.work)
    arrays = (work if name in row.from_workspace else flat(stored) for name in row.operands._fields[: len(row.operands._fields) - len(call.statics)])
    inputs = types.BaseTuple.from_types((*arrays, *map(numba.typeof, call.statics)), row.operands)
    buffers = types.BaseTuple.from_types((work,) * len(call.workspace), type(call.workspace))
    return inputs, flat(stored), buffers, numba.typeof(call.problem), numba.typeof(call.tiling), numba.typeof(part_of(0, 1, call.units))


def make_program(schedule, parameters):
    """The Program of a Schedule; parameters: {name: array} of its weights and biases."""
    nothing = {"nothing": empty(0, schedule.element.dtype)}
    return Program(schedule, tuple(plan_of(call, schedule.element) for call in schedule.calls), {**nothing, **parameters})


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
