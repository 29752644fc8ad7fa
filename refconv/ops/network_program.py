"""A network's schedule made ready and run: entry points, packed weights, and in every Python thread the memory that tensors lie in."""

import functools
import os
import threading
import time
from typing import Any, NamedTuple

import numpy as np

from refconv.elements import ELEMENTS, element
from refconv.graph import orders
from refconv.graph.calls import ACTIVATED, CONVERT, GATED, NUMPY, POOLED, SUM
from refconv.graph.model import printable
from refconv.graph.network_schedule import network_schedule
from refconv.jit import compiling
from refconv.operators.types import NotSupported
from refconv.ops.blocks import block_program
from refconv.ops.border import block_border_marker, border_marker
from refconv.ops.convert import copy_transposed, ready
from refconv.ops.layers import PackedWeight
from refconv.ops.pools import pooler
from refconv.ops.steps import activator
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
        self._local, self._plans = threading.local(), {}
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
        if whole and self.schedule.peak_bytes > whole:
            raise ValueError(f"these sizes need {self.schedule.peak_bytes:,} bytes: must be at most the {whole:,} of this computer's memory")

    def run(self, given):
        """The output, or outputs, for {name: array}."""
        with compiling.announced(self._told):
            inputs, calls, runs, outputs = self.bound()
        for name, copy in inputs:
            copy(given[name])
        done = 0
        with np.errstate(all="ignore"):
            try:
                for run in runs:
                    run()
                    done += 1
            except (NotSupported, ValueError, TypeError, IndexError, ArithmeticError) as error:
                raise ValueError(f"{printable(self.network.label(calls[done].step))}: {error}") from error
        made = tuple(copy() for copy in outputs)
        return made[0] if len(made) == 1 else made

    def _told(self):
        """What is said where a call has to wait for the compiler."""
        variants = set()
        for made in self.schedule.calls:
            dtype = self.schedule.tensors[made.out].dtype
            variants |= {(call.kernel.name, signature_of(call, element(dtype))) for call in made.kernel_calls}
            if made.kernel in (ACTIVATED, CONVERT, GATED, POOLED):
                variants.add((made.kernel, dtype, made.step.attributes.get("kind"), type(made.run)))
        return (
            f"refconv: compiling kernels for this CPU, of this network {len(variants)} at most, 1 to 15 s each, once; they are kept. "
            "Ahead of the first call: python -m refconv.warm --model, or net.compile(shape)"
        )

    def call_times(self, given):
        """CallTimes for {name: array}."""
        self.run(given)
        inputs, calls, runs, _ = self.bound()
        for name, copy in inputs:
            copy(given[name])
        marks = [time.perf_counter()]
        with np.errstate(all="ignore"):
            for run in runs:
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
        """(functions for the inputs, calls that make something, functions for these, functions for the outputs), on an arena of this thread."""
        schedule = self.schedule
        arena = scratch("network", schedule.arena_bytes, np.uint8)  # of all networks of this thread: each call fills it anew
        arrays = {name: self._view(arena, name, tensor) for name, tensor in schedule.tensors.items()}
        inputs = [(name, _entering(arrays[name], schedule.tensors[name].order)) for name in schedule.inputs]
        numbers = [i for i, call in enumerate(schedule.calls) if arrays[call.out].size]
        calls = [schedule.calls[i] for i in numbers]
        runs = [self._bound(i, call, arrays) for i, call in zip(numbers, calls, strict=True)]
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
        """A function of no arguments that makes a call."""
        sources, out = [arrays[name] if name else None for name in call.sources], arrays[call.out]
        order = self.schedule.tensors[call.out].order
        if call.kernel == CONVERT:
            return functools.partial(_copier(out, self.schedule.tensors[call.sources[0]].order, order), sources[0], out)
        if call.kernel == ACTIVATED:
            return activator(_flat(sources[0], order), _flat(out, order), call.step.attributes["kind"])
        if call.kernel in (GATED, POOLED):
            x, *gates = (_flat(source, self.schedule.tensors[name].order) for source, name in zip(sources, call.sources, strict=True) if name)
            return pooler(x, _flat(out, order), call.run, *gates[: call.kernel == GATED])  # a mean's second source is its axes
        if call.kernel == NUMPY:
            function, writes = call.run
            return functools.partial(_written if writes else _computed, function, sources, out)
        runs = self._block(i, call, sources, out, arrays) if call.block else self._kernel(i, call, sources, out)
        return runs[0] if len(runs) == 1 else functools.partial(_all, runs)

    def _block(self, i, call, sources, out, arrays):
        """Functions that make a block's calls one after another, and passes of what comes after its own sum."""
        record, order = call.step.attributes["record"], self.schedule.tensors[call.out].order
        program = self._plans.get(i)
        if program is None:
            program = self._plans[i] = block_program(record, call.block)
        between = {name: arrays[tensor] for name, tensor in call.between.items()}
        bound = program._replace(parameters=program.parameters | between)
        last = call.block.calls[-1].problem
        mark = block_border_marker(record, (last.h, last.w))
        flat, given = _flat(out, order), call.step.attributes
        runs = [functools.partial(bound.run, _flat(sources[0], self.schedule.tensors[call.sources[0]].order), flat)]
        if mark is not None:
            runs.append(functools.partial(mark, flat.reshape(program.out_shape)))
        for op in call.after:
            runs.append(functools.partial(np.add, out, sources[1], out=out) if op == SUM else activator(flat, flat, given[op]))
        return runs

    def _kernel(self, i, call, sources, out):
        """Functions that make a layer's call."""
        plan = self._plans.get(i)
        if plan is None:
            plan = self._plans[i] = plan_of(call.call, element(out.dtype))
        weight, bias = (self.network.parameters.get(call.step.parameters.get(role)) for role in ("weight", "bias"))
        packed = self._packed_weight(weight, call.call.problem.groups)
        order, problem = self.schedule.tensors[call.out].order, call.call.problem
        residual = _flat(sources[1], order) if len(sources) > 1 else plan.no_bias
        program = LayerProgram(plan, packed.data, plan.no_bias if bias is None else np.ascontiguousarray(bias), residual)
        mark = border_marker(problem, packed.not_finite)
        runs = [functools.partial(program.run, _flat(sources[0], order), _flat(out, order))]
        return [*runs, functools.partial(mark, _flat(out, order).reshape(plan.out_shape))] if mark is not None else runs

    def _packed_weight(self, weight, groups):
        """The PackedWeight of an array, packed once for all schedules of the network; an entry holds its array, so that no other has its id."""
        known = self.packed.get((id(weight), groups))
        if known is None:
            shape = {2: (*weight.shape, 1, 1), 3: (*weight.shape[:2], 1, weight.shape[-1])}.get(weight.ndim, weight.shape)
            known = self.packed[id(weight), groups] = weight, PackedWeight(np.ascontiguousarray(weight).reshape(shape), groups)
        return known[1]


def _all(runs):
    for run in runs:
        run()


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


def _copier(like, source_order, out_order):
    """copy(source, out): the elements of a tensor in one order to one in another, both of `like`'s shape and dtype; its kernel is compiled here."""
    kernels, plain = orders.channels_last(like.ndim), orders.plain(like.ndim)
    if like.ndim != 4 or not like.size or like.dtype.name not in ELEMENTS or {source_order, out_order} != {kernels, plain}:
        return lambda source, out: np.copyto(out, source)
    n, c = like.shape[:2]
    of_map = lambda array, order: array.reshape(n, -1, c) if order == kernels else array.reshape(n, c, -1)

    def copy(source, out):
        rows, columns = source.transpose(source_order), out.transpose(out_order)
        if not (rows.flags.c_contiguous and columns.flags.c_contiguous):
            return np.copyto(out, source)
        return copy_transposed(of_map(rows, source_order), of_map(columns, out_order))

    ready(like.dtype)
    return copy


def _entering(out, order):
    """A function that copies an array given to a tensor, which lies in that order."""
    copy = _copier(out, orders.plain(out.ndim), order)
    return lambda array: copy(array, out)


def _leaving(source, order):
    """A function that makes an array of a tensor, which lies in that order."""
    copy = _copier(source, order, orders.plain(source.ndim))

    def leave():
        copy(source, out := np.empty(source.shape, source.dtype))
        return out

    return leave
