"""A network's schedule made ready and run: entry points, packed weights, and in every Python thread the memory that tensors lie in."""

import functools
import os
import threading
import time
from typing import Any, NamedTuple

import numpy as np

from refconv.elements import ELEMENTS, element
from refconv.graph import orders
from refconv.graph.calls import ACTIVATED, CONVERT, NUMPY, OF_MAPS, SUM
from refconv.graph.model import printable
from refconv.graph.network_schedule import network_schedule
from refconv.jit import compiling
from refconv.operators.types import NotSupported
from refconv.ops.blocks import block_program
from refconv.ops.border import block_border_marker, border_marker
from refconv.ops.convert import transposer, transposing
from refconv.ops.layers import PackedWeight
from refconv.ops.network_runs import Run, alone, chained, side_by_side
from refconv.ops.pools import pooler, pooling
from refconv.ops.steps import activating, activator
from refconv.plan import LayerProgram, plan_of, scratch, signature_of


class CallTime(NamedTuple):
    """A NetworkCall, the seconds that it took, and the bytes of the tensors and weights that it reads and writes, each once."""

    call: Any
    seconds: float
    bytes: int


class NetworkProgram:
    """A schedule with what is decided once: packed weights, plans; in every Python thread an arena, and the calls bound to it."""

    def __init__(self, sized, threads, packed):
        self.network, self.schedule, self.packed = sized.network, network_schedule(sized, threads), packed
        self._local, self._laying, self._plans, self._biases = threading.local(), threading.Lock(), {}, {}
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
        if whole and self.schedule.peak_bytes > whole:
            raise ValueError(f"these sizes need {self.schedule.peak_bytes:,} bytes: must be at most the {whole:,} of this computer's memory")

    def run(self, given):
        """The output, or outputs, for {name: array}."""
        with compiling.announced(self._told):
            inputs, calls, runs, outputs = self.bound()
        for name, copy in inputs:
            copy(given[name])
        number = 0
        with np.errstate(all="ignore"):
            try:
                for number, run in runs.chained:  # noqa: B007  which call an error is of
                    run()
            except (NotSupported, ValueError, TypeError, IndexError, ArithmeticError) as error:
                raise ValueError(f"{printable(self.network.label(calls[number].step))}: {error}") from error
        made = tuple(copy() for copy in outputs)
        return made[0] if len(made) == 1 else made

    def _told(self):
        """What is said where a call has to wait for the compiler."""
        variants = set()
        for made in self.schedule.calls:
            dtype = self.schedule.tensors[made.out].dtype
            variants |= {(call.kernel.name, signature_of(call, element(dtype))) for call in made.kernel_calls}
            if made.kernel in (ACTIVATED, CONVERT, *OF_MAPS):
                variants.add((made.kernel, dtype, made.step.attributes.get("kind"), type(made.run)))
        return (
            f"refconv: compiling kernels for this CPU, of this network {len(variants)} at most, 1 to 15 s each, once; they are kept. "
            "Ahead of the first call: net.compile(shape), or python -m refconv.warm"
        )

    def call_times(self, given):
        """CallTimes for {name: array}."""
        self.run(given)
        inputs, calls, runs, _ = self.bound()
        for name, copy in inputs:
            copy(given[name])
        marks = [time.perf_counter()]
        with np.errstate(all="ignore"):
            for run in runs.alone:
                run()
                marks.append(time.perf_counter())
        return [CallTime(call, end - start, self._bytes(call)) for call, start, end in zip(calls, marks[:-1], marks[1:], strict=True)]

    def _bytes(self, call):
        """Of what a call reads and writes: tensors and weights, each once."""
        tensors = {name for name in (*call.sources, call.out) if name}
        weights = [self.network.parameters[name] for name in call.step.parameters.values() if name in self.network.parameters]
        if call.block:
            weights = call.step.attributes["record"].arrays.values()
        return sum(self.schedule.tensors[name].nbytes for name in tensors) + sum(array.nbytes for array in weights)

    def bound(self):
        """What `_bind` makes, once in each Python thread: then nothing is left to be compiled."""
        made = getattr(self._local, "bound", None)
        if made is None:
            made = self._local.bound = self._bind()
        return made

    def _bind(self):
        """(functions for the inputs, calls that make something, their _Runs, functions for the outputs), on an arena of this thread."""
        schedule = self.schedule
        with self._laying:
            if not self._plans:
                self._lay_weights()
        arena = scratch("network", schedule.arena_bytes, np.uint8)  # of all networks of this thread: each call fills it anew
        arrays = {name: self._view(arena, name, tensor) for name, tensor in schedule.tensors.items()}
        inputs = [(name, _entering(arrays[name], schedule.tensors[name].order)) for name in schedule.inputs]
        numbers = [i for i, call in enumerate(schedule.calls) if arrays[call.out].size]
        calls = [schedule.calls[i] for i in numbers]
        runs = _Runs([self._bound(i, call, arrays) for i, call in zip(numbers, calls, strict=True)])
        outputs = [_leaving(arrays[name], schedule.tensors[name].order) for name in schedule.outputs]
        return inputs, calls, runs, outputs

    def _view(self, arena, name, tensor):
        if tensor.buffer is None:
            return self.schedule.constants[name]
        at = self.schedule.offsets[tensor.buffer]
        flat = arena[at : at + tensor.nbytes].view(tensor.dtype)
        lying = flat.reshape([tensor.shape[axis] for axis in tensor.order])
        return lying.transpose(np.argsort(tensor.order).tolist()) if tensor.order else lying

    def _bound(self, i, call, arrays):
        """The Runs of a call."""
        sources, out = [arrays[name] if name else None for name in call.sources], arrays[call.out]
        order = self.schedule.tensors[call.out].order
        if call.kernel == CONVERT:
            return [_conversion(sources[0], out, self.schedule.tensors[call.sources[0]].order, order)]
        if call.kernel == ACTIVATED:
            return [_activation(_flat(sources[0], order), _flat(out, order), call.step.attributes["kind"])]
        if call.kernel in OF_MAPS:
            tensors = self.schedule.tensors
            flat = [
                np.empty(0, out.dtype) if array is None else _flat(array, tensors[name].order)
                for array, name in zip(sources, call.sources, strict=True)
            ]
            given = flat, _flat(out, order), call.run
            return [Run(pooler(*given), lambda: [pooling(*given)])]
        if call.kernel == NUMPY:
            function, writes = call.run
            return [Run(functools.partial(_written if writes else _computed, function, sources, out))]
        return self._block(i, call, sources, out, arrays) if call.block else self._kernel(i, call, sources, out)

    def _block(self, i, call, sources, out, arrays):
        """The Runs of a block: its calls, and passes of what comes after its own sum."""
        record, order = call.step.attributes["record"], self.schedule.tensors[call.out].order
        program = self._plans[i]
        between = {name: arrays[tensor] for name, tensor in call.between.items()}
        bound = program._replace(parameters=program.parameters | between)
        last = call.block.calls[-1].problem
        mark = block_border_marker(record, (last.h, last.w))
        flat, given = _flat(out, order), call.step.attributes
        runs = [_program_run(bound, _flat(sources[0], self.schedule.tensors[call.sources[0]].order), flat)]
        if mark is not None:
            runs.append(Run(functools.partial(mark, flat.reshape(program.out_shape))))
        for op in call.after:
            runs.append(Run(functools.partial(np.add, out, sources[1], out=out)) if op == SUM else _activation(flat, flat, given[op]))
        return runs

    def _kernel(self, i, call, sources, out):
        """The Runs of a layer."""
        plan, packed = self._plans[i], self._packed_weight(call)[1]
        order, problem = self.schedule.tensors[call.out].order, call.call.problem
        residual = _flat(sources[1], order) if len(sources) > 1 else plan.no_bias
        program = LayerProgram(plan, packed.data, self._biases.get(i, plan.no_bias), residual)
        mark = border_marker(problem, packed.not_finite)
        runs = [_program_run(program, _flat(sources[0], order), _flat(out, order))]
        return [*runs, Run(functools.partial(mark, _flat(out, order).reshape(plan.out_shape)))] if mark is not None else runs

    def _lay_weights(self):
        """Make plans of all calls, and lay their packed weights side by side, in the order of the calls; but those that another schedule has laid."""
        arrays, places = [], []
        for i, call in enumerate(self.schedule.calls):
            if call.block:
                program = self._plans[i] = block_program(call.step.attributes["record"], call.block)
                arrays += program.parameters.values()
                places += [functools.partial(program.parameters.__setitem__, name) for name in program.parameters]
            elif call.call:
                self._plans[i] = plan_of(call.call, element(self.schedule.tensors[call.out].dtype))
                known, bias = self._packed_weight(call), self.network.parameters.get(call.step.parameters.get("bias"))
                if len(known) == NOT_LAID:
                    arrays.append(known[1].data)
                    places.append(functools.partial(setattr, known[1], "data"))
                    known.append(True)
                if bias is not None:
                    arrays.append(np.ascontiguousarray(bias))
                    places.append(functools.partial(self._biases.__setitem__, i))
        for put, array in zip(places, side_by_side(arrays), strict=True):
            array.flags.writeable = False
            put(array)

    def _packed_weight(self, call):
        """[array, its PackedWeight, True where it has been laid out] of a layer's weight: packed once for all schedules of the network; an entry
        holds its array, so that no other has its id."""
        weight, groups = self.network.parameters[call.step.parameters["weight"]], call.call.problem.groups
        known = self.packed.get((id(weight), groups))
        if known is None:
            shape = {2: (*weight.shape, 1, 1), 3: (*weight.shape[:2], 1, weight.shape[-1])}.get(weight.ndim, weight.shape)
            known = self.packed[id(weight), groups] = [weight, PackedWeight(np.ascontiguousarray(weight).reshape(shape), groups)]
        return known


NOT_LAID = 2
"""The length of what _packed_weight returns of a weight that has not been laid out."""


class _Runs:
    """The calls of a network as functions: `chained` as they run, (number of a call, function) for each step; `alone`, each of them by itself."""

    def __init__(self, calls):
        self._calls, self.chained = calls, chained(calls)

    @functools.cached_property
    def alone(self):
        return [alone(runs) for runs in self._calls]


def _program_run(program, x, out):
    """The Run of a Program or LayerProgram on flat arrays."""
    for plan in program.plans:
        plan.workspace  # noqa: B018  as large as it gets, before anything is laid out on it
    return Run(functools.partial(program.run, x, out), functools.partial(program.native_calls, x, out), program.split)


def _activation(x, out, kind):
    return Run(activator(x, out, kind), lambda: [activating(x, out, kind)])


def _flat(array, order):
    """The memory of a tensor that lies in that order."""
    return array.transpose(order).reshape(-1)


def _computed(function, sources, out):
    _check(made := np.asarray(function(*sources)), out)
    np.copyto(out, made)


def _written(function, sources, out):
    _check(made := function(*sources, out=out), out)
    if made is not out:
        np.copyto(out, made)


def _check(made, out):
    if made.shape != out.shape or made.dtype != out.dtype:
        raise ValueError(f"made {list(made.shape)} {made.dtype}: must be {list(out.shape)} {out.dtype}")


def _matrices(shape, dtype, source_order, out_order):
    """(count, rows, columns) of the matrices that are transposed where a tensor in one order is brought to another; None where NumPy copies it."""
    kernels, plain = orders.channels_last(len(shape)), orders.plain(len(shape))
    if len(shape) != 4 or 0 in shape or dtype.name not in ELEMENTS or {source_order, out_order} != {kernels, plain}:
        return None
    n, c, h, w = shape
    return (n, h * w, c) if source_order == kernels else (n, c, h * w)


def _conversion(source, out, source_order, out_order):
    """The Run of a conversion between two tensors of the arena."""
    sizes = _matrices(out.shape, out.dtype, source_order, out_order)
    if sizes is None:
        return Run(functools.partial(np.copyto, out, source))
    given, made = _flat(source, source_order), _flat(out, out_order)
    run = functools.partial(transposer(out.dtype, sizes), given, made)
    return Run(run, lambda: [transposing(given, made, sizes, element(out.dtype))])


def _entering(out, order):
    """A function that copies an array given to a tensor, which lies in that order."""
    plain = orders.plain(out.ndim)
    sizes = _matrices(out.shape, out.dtype, plain, order)
    if sizes is None:
        return lambda array: np.copyto(out, array)
    transpose, made = transposer(out.dtype, sizes), _flat(out, order)
    return lambda array: transpose(array.reshape(-1), made) if array.flags.c_contiguous else np.copyto(out, array)


def _leaving(source, order):
    """A function that makes an array of a tensor, which lies in that order."""
    plain = orders.plain(source.ndim)
    sizes = _matrices(source.shape, source.dtype, order, plain)
    if sizes is None:
        return source.copy
    transpose, given = transposer(source.dtype, sizes), _flat(source, order)

    def leave():
        out = np.empty(source.shape, source.dtype)
        transpose(given, out.reshape(-1))
        return out

    return leave
