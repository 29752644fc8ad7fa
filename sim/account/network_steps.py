"""A network's schedule made ready for a simulated machine: where everything lies in its memory, and the passes of every call.

The calls are those of a NetworkSchedule (refconv/graph/calls.py). Tensors lie in one arena, where the schedule places them; beside it packed
weights, biases and other constants, each in a buffer of its own, and the workspace that all kernels share. A call of a kernel is made as it is;
what NumPy, copies, pools and activations alone do is a pass of its own (sim/trace/streams.py), and so is a sum or activation after a fused block, in
place.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from refconv.elements import element
from refconv.graph.calls import MISSING, NUMPY, SUM
from refconv.schedule import OPERANDS, weight_elements, workspace_of
from refconv.static import Static
from sim.account.layer import call_kernel
from sim.trace.streams import line_events, lines_of

KINDS = INPUT, ACTIVATION, WEIGHT, WORKSPACE, OUTPUT = "input", "activation", "weight", "workspace", "output"
"""What a buffer is to the network: one of its inputs or outputs, a tensor between two calls, a weight, bias or other constant, or workspace."""
TAKES = ("Slice", "Split")
"""Operators that take their elements from places of their first source that are known: only these are read."""
PICKS = ("Gather", "GatherElements", "GatherND")
"""Operators that pick elements of their first source: no more of it is read than is made, from its start on."""


class Operand(NamedTuple):
    """A buffer as a pass takes it: its number, and its first `elements` elements of `itemsize` bytes."""

    number: int
    elements: int
    itemsize: int

    @property
    def bytes(self):
        """Of these elements."""
        return self.elements * self.itemsize

    def of(self, run):
        """The traced buffer."""
        return run.buffers[self.number]._replace(size=self.elements, itemsize=Static(self.itemsize))


class KernelPass(NamedTuple):
    """A Call of refconv/schedule.py, and its Operands in the order of its keys."""

    call: Any
    operands: tuple

    def make(self, run):
        """Make the call."""
        call_kernel(run, self.call, [operand.of(run) for operand in self.operands])


class StreamPass(NamedTuple):
    """sources: Operands that are read; made: the one that is written. places: of the elements of the first source that are read, in that order, a
    function of no arguments; None for all of them."""

    sources: tuple
    made: Operand
    places: Any = None

    def make(self, run):
        """Stream it."""
        buffers = [run.buffers[operand.number] for operand in self.sources]
        reads = [lines_of(buffer, operand.bytes) for buffer, operand in zip(buffers, self.sources, strict=True)]
        if self.places is not None:
            lines = reads[0].start + (self.places() * self.sources[0].itemsize >> int(buffers[0].line_shift))
            reads[0] = lines[np.flatnonzero(np.diff(lines, prepend=-1))]  # elements side by side in a line are one access
        for events in line_events(reads, lines_of(run.buffers[self.made.number], self.made.bytes)):
            run.stream(events)


class NetworkStep(NamedTuple):
    """A NetworkCall made ready. begins: numbers of the buffers that come to lie where others did; work: numbers of its workspace.

    reads: {number: bytes that the call alone must read}; made: (number, bytes that it must write).
    """

    call: Any
    passes: tuple
    begins: tuple
    work: tuple
    reads: dict
    made: tuple

    @property
    def numbers(self):
        """Of all its buffers."""
        return {*self.reads, self.made[0], *self.work}


class Ready:
    """The steps of a NetworkSchedule and their memory, for a host.Target.

    buffers, overlaid: as of sim.trace.run.Run, the arena first; kinds: of KINDS, of each of both, by number; steps: NetworkSteps in order, those that
    make nothing left out; inputs, outputs: numbers of the network's own.
    """

    def __init__(self, schedule, target):
        self._schedule, self._target, self._numbers, self._names = schedule, target, {}, set()
        self.buffers, self.kinds, self.overlaid = [], [], []
        self._add("arena", "arena", schedule.arena_bytes, ACTIVATION)
        self._nothing = Operand(self._add("nothing", "nothing", 0, WORKSPACE), 0, 1)
        calls = [call for call in schedule.calls if call.kernel != MISSING and math.prod(schedule.tensors[call.out].shape)]
        for made in calls:
            self._add_constants(made)
        self._add_workspace(calls)
        self.inputs, self.outputs = self._buffers_of(schedule.inputs), self._buffers_of(schedule.outputs)
        for buffer, at in schedule.offsets.items():
            self._numbers["tensor", buffer] = len(self.buffers) + len(self.overlaid)
            self.overlaid.append((self._named(buffer), schedule.tensors[buffer].nbytes, 1, at))
            self.kinds.append(INPUT if buffer in self.inputs else OUTPUT if buffer in self.outputs else ACTIVATION)
        self.inputs, self.outputs = ([self._numbers["tensor", buffer] for buffer in buffers] for buffers in (self.inputs, self.outputs))
        lying, self.steps = set(self.inputs), []
        for made in calls:
            self.steps.append(self._step(made, lying))
            lying.update(self.steps[-1].begins)

    @property
    def every(self):
        """[(name, elements, itemsize)] of both, by number."""
        return [*self.buffers, *(buffer[:3] for buffer in self.overlaid)]

    def of_kind(self, kind):
        """Numbers of the buffers of a kind."""
        return [number for number, own in enumerate(self.kinds) if own == kind]

    def _buffers_of(self, names):
        """The buffers, by name, in which tensors lie; those of constants left out."""
        return list(dict.fromkeys(filter(None, (self._schedule.tensors[name].buffer for name in names))))

    def _named(self, name):
        """A name that no other buffer has: that one, or one like it."""
        while name in self._names:
            name += "'"
        self._names.add(name)
        return name

    def _add(self, key, name, size_bytes, kind):
        """The number of the buffer with that key, a new one where there is none."""
        if key not in self._numbers:
            self._numbers[key] = len(self.buffers)
            self.buffers.append((self._named(name), size_bytes, 1))
            self.kinds.append(kind)
        return self._numbers[key]

    def _element(self, made):
        """The Element of what a call makes."""
        return element(self._schedule.tensors[made.out].dtype)

    def _parameters(self, made):
        """{key of a kernel's Call: (key here, name, Operand without its number)} of the weights and biases of a call.

        A weight that several calls take alike is packed once, and so is one buffer.
        """
        if made.block is not None:
            return self._block_parameters(made)
        found, stored = {}, self._element(made) if made.kernel_calls else None
        for call in made.kernel_calls:
            for role in ("weight", "bias"):
                name = made.step.parameters.get(role)
                array = self._schedule.parameters.get(name)
                if array is None:
                    continue
                elements, packed = array.size, ()
                if role == "weight":
                    elements = weight_elements(call.kernel, call.problem, self._target.lanes(stored.work.itemsize))
                    packed = call.kernel.order, call.problem.groups
                found[role] = (role, id(array), packed), name, Operand(0, elements, stored.itemsize)
        return found

    def _block_parameters(self, made):
        """As of _parameters, of a block: a record is packed once."""
        record, tensors, stored = made.step.attributes["record"], made.block.tensors, self._element(made)
        names = dict.fromkeys(key for call in made.kernel_calls for key in call.inputs if isinstance(key, str))
        own = [key for key in names if key not in ("input", *made.between) and tensors[key]]
        return {key: ((id(record), key), f"{made.out} {key}", Operand(0, tensors[key], stored.itemsize)) for key in own}

    def _add_constants(self, made):
        """Buffers for the parameters of a kernel, and for the constants that a call reads."""
        for key, name, operand in self._parameters(made).values():
            self._add(key, name, operand.bytes, WEIGHT)
        for name in filter(None, made.sources):
            if self._schedule.tensors[name].buffer is None:
                array = self._schedule.constants[name]
                self._add(("constant", id(array)), name, array.nbytes, WEIGHT)

    def _add_workspace(self, calls):
        """Buffers for the workspace of all kernels, by place, each as large as its largest user's."""
        by_type, places = {}, {}
        for made in calls:
            if made.kernel_calls:
                by_type.setdefault(self._element(made).work, (self._element(made), []))[1].extend(made.kernel_calls)
        for stored, of_type in by_type.values():
            for place, buffer in workspace_of(of_type, stored).items():
                places.setdefault(place, []).append(buffer)
        for place, users in places.items():
            largest = max(buffer.elements * buffer.itemsize for buffer in users)
            self._add(place, "+".join(dict.fromkeys(buffer.name for buffer in users)), largest, WORKSPACE)

    def _tensor(self, name):
        """The Operand of a tensor by name."""
        tensor = self._schedule.tensors[name]
        key = ("constant", id(self._schedule.constants[name])) if tensor.buffer is None else ("tensor", tensor.buffer)
        return Operand(self._numbers[key], math.prod(tensor.shape), tensor.dtype.itemsize)

    def _step(self, made, lying):
        """The NetworkStep of a call; lying: numbers of the tensors that have been made."""
        out, sources = self._tensor(made.out), [self._tensor(name) for name in made.sources if name]
        sources = list(dict.fromkeys(sources))
        passes, work = [], ()
        for call in made.kernel_calls:
            # an activation moves nothing: the kernel compiled without one makes the same accesses
            alike = call._replace(statics=call.kernel.statics)
            passes.append(KernelPass(alike, tuple(self._operand(made, call, key) for key in call.keys)))
            work += tuple(self._numbers[place] for place, elements in zip(call.places, call.sizes, strict=True) if elements)
        if not passes:
            passes.append(self._stream(made, sources, out))
        for op in made.after:
            passes.append(StreamPass((out, self._tensor(made.sources[1])) if op == SUM else (out,), out))
        lie = [*sources, out, *map(self._tensor, made.between.values())]  # a source, where what makes it cannot be run
        begins = tuple(dict.fromkeys(n for n, *_ in lie if n not in lying and n >= len(self.buffers)))
        return NetworkStep(made, tuple(passes), begins, work, self._least(made, sources), (out.number, out.bytes))

    def _operand(self, made, call, key):
        """The Operand of one of a Call's keys."""
        for user in (call, *made.kernel_calls):  # a kernel may read the workspace of another
            if key in user.places:
                return Operand(self._numbers[key], user.sizes[user.places.index(key)], self._element(made).work.itemsize)
        if key in made.between:
            return self._tensor(made.between[key])
        if key == OPERANDS[-1]:
            return self._tensor(made.out)
        parameters = self._parameters(made)
        if key in parameters:
            number, _, operand = parameters[key]
            return operand._replace(number=self._numbers[number])
        source = {"input": 0, "residual": 1}.get(key, len(made.sources))
        if source < len(made.sources):
            return self._tensor(made.sources[source])
        return self._nothing._replace(itemsize=self._element(made).itemsize)

    def _stream(self, made, sources, out):
        """The StreamPass of a call that no kernel makes."""
        if made.kernel == NUMPY and made.step.op in PICKS:
            first = sources[0]._replace(elements=min(sources[0].elements, out.bytes // sources[0].itemsize))
            return StreamPass((first, *sources[1:]), out)
        rest = made.sources[1:]
        if made.kernel == NUMPY and made.step.op in TAKES and all(not name or self._schedule.tensors[name].buffer is None for name in rest):
            return StreamPass(tuple(sources), out, functools.partial(places_taken, made, self._schedule))
        return StreamPass(tuple(sources), out)

    def _least(self, made, sources):
        """{number: bytes} that a call must read: of a convolution's input what outputs depend on, of a Slice's what it takes, of others all."""
        least, tensors, names = {}, self._schedule.tensors, [name for name in made.sources if name]
        for operand in sources:
            least[operand.number] = least.get(operand.number, 0) + operand.bytes
        for key, _, operand in self._parameters(made).values():
            least[self._numbers[key]] = operand.bytes
        if made.call is not None:
            needed, itemsize = made.call.problem.compulsory, self._element(made).itemsize
            least[sources[0].number] = needed["input"] * itemsize
            weight, *_ = self._parameters(made)["weight"]
            least[self._numbers[weight]] = needed["weight"] * itemsize
        elif made.block is not None:
            self._least_of_block(made, sources[0], least)
        elif made.kernel == NUMPY and made.step.op in (*TAKES, *PICKS):
            first = self._tensor(names[0])
            taken = math.prod(tensors[made.out].shape) if made.step.op in TAKES else 0
            least[first.number] = min(first.bytes, taken * first.itemsize)
        return least

    def _least_of_block(self, made, x, least):
        """Put what a block must read of its input and parameters into `least`: all weights together where the first lies, and all biases."""
        first, itemsize = made.kernel_calls[-1].problem, self._element(made).itemsize
        needed = {name: elements * itemsize for name, elements in made.step.attributes["record"].compulsory(first.n, first.h, first.w).items()}
        least[x.number] = needed["input"]
        for role in ("weight", "bias"):
            for key, (own, _, _) in self._parameters(made).items():
                if key.partition(".")[0] == role:
                    least[self._numbers[own]] = needed.pop(role, 0)


def places_taken(made, schedule):
    """The places in the memory of a call's first source, in elements, of the elements that it makes, in the order in which these lie.

    For an operator that moves elements and looks at none: it is given their places instead.
    """
    first, *rest = made.sources
    source, out = schedule.tensors[first], schedule.tensors[made.out]
    lying = np.arange(math.prod(source.shape)).reshape([source.shape[axis] for axis in source.order])
    places = lying.transpose(np.argsort(source.order).tolist()) if source.order else lying
    function, writes = made.run
    constants = [schedule.constants[name] if name else None for name in rest]
    taken = function(places, *constants, out=np.empty(out.shape, places.dtype)) if writes else function(places, *constants)
    return np.asarray(taken).transpose(out.order).reshape(-1)
