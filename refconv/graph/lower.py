"""Steps of a Network turned into calls: which kernel, on which tensors, in which order in memory. Nothing runs or is compiled."""

import math

import numpy as np

from refconv import host
from refconv.elements import ELEMENTS, element
from refconv.graph import orders
from refconv.graph.calls import ACTIVATED, CONVERT, MISSING, NUMPY, NetworkCall, Tensor
from refconv.graph.lower_blocks import add_block, block_fits, block_shape, reads_channels_last, steps_within
from refconv.graph.lower_pools import of_map
from refconv.graph.model import OtherNode, printable, sizes_text
from refconv.graph.operands import Sizes, conv_fault, vector_fault
from refconv.kernels import kernel_for
from refconv.operators import OPERATORS, VALUES_NEEDED, bound
from refconv.operators.types import NotSupported, axis_in
from refconv.operators.windows import axes_of
from refconv.plan import MOST_WORKSPACE_BYTES, call_of
from refconv.problem.activations import ACTIVATIONS, Activations
from refconv.problem.conv import Conv2d
from refconv.problem.steps import Step
from refconv.schedule import prepared

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
SAME = ("Identity", "Dropout")
MOST_TRIED = 1 << 20
"""Elements of sources up to which an operator is tried on zeros, to say what is wrong with their sizes."""


class Calls:
    """Steps turned into calls, one after another. target: as of network_schedule; missing: OtherNodes of what has been left out."""

    def __init__(self, sized, threads, target=None):
        self.network, self.shapes, self.dtypes, self.values, self.faults = sized
        self.threads, self.target, self.calls, self.tensors, self.constants, self.wrong, self.missing = threads, target, [], {}, {}, [], []
        self.made = {step.name for whole in self.network.steps for step in (whole, *steps_within(whole))}

    def build(self, strict=True):
        """Add a call for each step that outputs need; ValueError where one cannot be run, or where not strict, none can."""
        needed = self._needed()
        takers = self.network.takers()
        for given in self.network.inputs:
            shape = self.shapes[given.name]
            for_kernels = len(shape) in (3, 4) and any(taker is not None and reads_channels_last(taker) for taker in takers.get(given.name, ()))
            order = orders.channels_last(len(shape)) if for_kernels else orders.plain(len(shape))
            self.tensors[given.name] = Tensor(shape, given.dtype, order, given.name)
        for whole in self.network.steps:
            if whole.name not in needed:
                continue
            for step in self._as_run(whole):
                try:
                    self._add(step)
                except (NotSupported, ValueError, TypeError, IndexError) as error:
                    shapes = ", ".join(f"{printable(name)} [{self._sizes(name)}]" for name in step.sources if name)
                    self.wrong.append(f"{printable(self.network.label(step))} of {shapes}: {error}")
                    self._leave_out(step, str(error))
        missing = [name for name in self.network.outputs if self._tensor(name) is None]
        if (self.wrong or missing) and (strict or all(call.kernel == MISSING for call in self.calls)):
            raise ValueError(f"cannot be run: {'; '.join(self.wrong) or f'nothing makes {printable(missing[0])}'}")

    def _leave_out(self, step, why):
        """Note that a step cannot be run; what it makes has memory where its sizes are known, so that steps after it can be."""
        shape, dtype = self.shapes.get(step.name), self.dtypes.get(step.name)
        known = shape is not None and None not in shape and dtype is not None
        sources = [name for name in step.sources if name and self._tensor(name) is not None]
        tensors, macs, elements = [self.tensors[name] for name in sources], None, None
        if known:
            elements = math.prod(shape) + sum(math.prod(tensor.shape) for tensor in tensors)
            if step.op in OPERATORS:
                macs = _MACS.get(step.op, lambda *shapes: 0)([tensor.shape for tensor in tensors], shape)
            self.call(step, MISSING, sources, _as_its_sources(tensors, Tensor(shape, dtype, orders.plain(len(shape)), step.name)))
        self.missing.append(OtherNode(printable(self.network.label(step)), step.op, elements, why, macs))

    def _as_run(self, step):
        """A step; instead of a block whose kernel cannot run on its sources, the steps that it was, which also say what is wrong with these."""
        if step.op != "block" or block_fits(self, step):
            return [step]
        return [inner for inner in steps_within(step) if inner.name not in self.tensors]

    def _needed(self):
        """Names of the steps whose tensors must be made: those that outputs need, what is known left out."""
        makers, waiting, needed = self.network.makers, list(self.network.outputs), set()
        while waiting:
            name = waiting.pop()
            if name in makers and name not in needed and name not in self.values:
                needed.add(name)
                waiting.extend(filter(None, makers[name].sources))
        return needed

    def _sizes(self, name):
        array = self.constant(name)
        shape = self.shapes.get(name) if array is None else array.shape
        return "?" if shape is None else sizes_text(shape)

    def constant(self, name):
        array = self.network.parameters.get(name)
        return self.values.get(name) if array is None else array

    def _tensor(self, name):
        """The Tensor called `name`; None where there is none."""
        if name not in self.tensors:
            array = self.constant(name)
            if array is None:
                return None
            self.constants[name] = array
            self.tensors[name] = Tensor(array.shape, array.dtype, orders.plain(array.ndim), None)
        return self.tensors[name]

    def _add(self, step):
        sources = [self._tensor(name) if name else None for name in step.sources]
        for name, tensor in zip(step.sources, sources, strict=True):
            if name and tensor is None:
                if name in self.made or name in self.values:  # what makes it is at fault, and has been told
                    return self._leave_out(step, f"needs the sizes of {printable(name)}, which is missing")
                raise ValueError(f"nothing makes {printable(name)}")
        if step.name in self.faults:
            raise ValueError(self.faults[step.name])
        shape, dtype = self.shapes.get(step.name), self.dtypes.get(step.name)
        if step.name not in self.shapes and step.op in _SHAPES:
            shape, dtype = _SHAPES[step.op](self, step, *(source.shape for source in sources if source)), sources[0].dtype
        if shape is None or None in shape or dtype is None:
            told = f"the shape of {printable(step.name)} ({sizes_text(shape) if shape else '?'}) does not follow from what it reads"
            raise ValueError(self._fault(step, sources) or told)
        return _ADD.get(step.op, _numpy)(self, step, sources, Tensor(shape, dtype, orders.plain(len(shape)), step.name))

    def _fault(self, step, sources):
        """What is wrong with a step whose shape onnx leaves open: what its kernel needs, or what NumPy says of arrays of zeros; else nothing."""
        if step.op == "conv":
            conv_problem(self, step, sources[0].shape)
        if step.op in _ADD or sum(math.prod(source.shape) for source in sources if source) > MOST_TRIED:
            return ""
        arrays = [
            source and self.constants.get(name, np.zeros(source.shape, source.dtype)) for name, source in zip(step.sources, sources, strict=True)
        ]
        try:
            with np.errstate(all="ignore"):
                _bound(self, step)[0](*arrays)
        except NotSupported as error:
            return str(error)
        except Exception as error:  # whatever NumPy raises where sizes do not fit
            return f"does not take operands of these sizes (NumPy: {str(error).partition(chr(10))[0]})"
        return ""

    def call(self, step, kernel, sources, out, **more):
        """Add a call that makes a tensor."""
        self.tensors[step.name] = out
        self.calls.append(NetworkCall(step, kernel, tuple(sources), step.name, **more))

    def in_order(self, name, order):
        """The name of a tensor with the elements of `name`, in that order in memory: itself, or converted."""
        tensor = self.tensors[name]
        if orders.same(tensor.order, order, tensor.shape):
            return name
        converted = f"{name} as {orders.name(order, tensor.shape) or 'rows'}"
        if converted not in self.tensors:
            self.call(Step(converted, "Identity", (name,)), CONVERT, (name,), tensor._replace(order=order, buffer=converted))
        return converted

    def alias(self, step, name, shape, order):
        """Let a step's tensor be what lies in another's memory."""
        source = self.tensors[name]
        self.tensors[step.name] = Tensor(tuple(shape), source.dtype, order, source.buffer)
        if source.buffer is None:
            self.constants[step.name] = self.constants[name].reshape(shape)


def _reshape(builder, step, sources, out):
    """A reshape sees the same memory where that is in NumPy's order."""
    name = builder.in_order(step.sources[0], orders.plain(len(sources[0].shape)))
    if math.prod(sources[0].shape) != math.prod(out.shape):
        raise ValueError(f"has {math.prod(sources[0].shape)} elements: must have those of {list(out.shape)}")
    builder.alias(step, name, out.shape, out.order)


def _transpose(builder, step, sources, out):
    """A transpose sees the same memory with its axes in another order."""
    rank = len(sources[0].shape)
    perm = [axis_in(axis, rank) for axis in step.attributes.get("perm") or reversed(range(rank))] if rank else []
    if sorted(perm) != list(range(rank)):
        raise ValueError(f"perm = {perm}: must have each of {rank} axes once")
    if sources[0].buffer is None:
        _numpy(builder, step, sources, out)
    else:
        builder.alias(step, step.sources[0], [sources[0].shape[axis] for axis in perm], orders.transposed(sources[0].order, perm))


def _same(builder, step, sources, out):
    """The tensor itself; of a Dropout that drops nothing, the first output."""
    function, _ = _bound(builder, step)
    if step.op == "Dropout":
        function(np.zeros(0, np.float32), *(builder.constant(name) for name in step.sources[1:]))  # refuses one that trains
    if step.attributes.get("output"):
        _numpy(builder, step, sources, out)
    else:
        builder.alias(step, step.sources[0], sources[0].shape, sources[0].order)


def _bound(builder, step):
    """(function, whether it takes `out`) of a step's operator, its values checked that must be known."""
    if step.op not in OPERATORS:
        raise NotSupported("there is no such operator")
    for i in VALUES_NEEDED.get(step.op, ()):
        if i < len(step.sources) and step.sources[i] and builder.constant(step.sources[i]) is None:
            raise ValueError(f"the value of {printable(step.sources[i])} is not known before it runs")
    given = dict(step.attributes)
    which, outputs = given.pop("output", 0), given.pop("outputs", 1)
    function, writes = bound(step.op, given, builder.network.opset, outputs)
    if outputs > 1:
        return (lambda *arrays: function(*arrays)[which]), False
    return (lambda *arrays: _first(function(*arrays))) if not writes else function, writes


def _first(made):
    return made[0] if isinstance(made, tuple) else made


def _numpy(builder, step, sources, out):
    """An operator by NumPy, or by a kernel of maps where there is one for it."""
    run = _bound(builder, step)
    if found := of_map(builder, step, sources, out):
        kernel, names, made, order = found
        return builder.call(step, kernel, names, out._replace(order=order), run=made)
    macs = _MACS.get(step.op, lambda *shapes: 0)([source.shape for source in sources if source is not None], out.shape)
    builder.call(step, NUMPY, step.sources, _as_its_sources(sources, out), run=run, macs=macs)
    return None


def _as_its_sources(sources, out):
    """What an operator makes: it lies as the largest of its sources that has as many axes."""
    alike = [source for source in sources if source is not None and source.buffer is not None and len(source.shape) == len(out.shape)]
    return out._replace(order=max(alike, key=lambda source: math.prod(source.shape)).order) if alike else out


_MACS = {
    "MatMul": lambda sources, out: math.prod(out) * sources[0][-1],
    "Gemm": lambda sources, out: math.prod(sources[0]) * out[-1],
    "MatMulInteger": lambda sources, out: math.prod(out) * sources[0][-1],
    "QLinearMatMul": lambda sources, out: math.prod(out) * sources[0][-1],
    "Conv": lambda sources, out: math.prod(out) * math.prod(sources[1][1:]),
    "ConvInteger": lambda sources, out: math.prod(out) * math.prod(sources[1][1:]),
    "QLinearConv": lambda sources, out: math.prod(out) * math.prod(sources[3][1:]),
    "ConvTranspose": lambda sources, out: math.prod(sources[0]) * math.prod(sources[1][1:]),
}
"""Multiply-adds of products that NumPy computes, of the shapes of the sources and of the output."""


def _conv(builder, step, sources, out):
    x = sources[0].shape
    problem = conv_problem(builder, step, x)
    _kernel(builder, step, problem, conv_shape(problem, x), orders.channels_last(len(x)), out)


def conv_shape(problem, x):
    """The output of a Conv2d on an input of shape x, which may be lines."""
    return (problem.n, problem.k, *((problem.p, problem.q) if len(x) == 4 else (problem.q,)))


def conv_problem(builder, step, x):
    """The Conv2d of a "conv" on an input of shape x; ValueError says what does not fit."""
    weight, bias = (_parameter(builder, step, role) for role in ("weight", "bias"))
    given, kernel = step.attributes, list(weight.sizes[2:])
    fault = conv_fault(Sizes(step.sources[0], x), weight, bias, groups := given["group"], given["kernel_shape"])
    if fault:
        raise ValueError(fault)
    axes = axes_of(x[2:], kernel, given["strides"], given["pads"], given["dilations"], given["auto_pad"])
    if len(axes) == 1:  # a line is a map of one row
        axes = [axes[0]._replace(size=1, taps=1, stride=1, dilation=1, before=0, after=0, count=1), *axes]
    rows, columns = axes
    if min(rows.count, columns.count) < 1:
        raise ValueError(f"a window of {list(kernel)} is larger than the map: must fit into it and its padding")
    return Conv2d(
        *(x[0], x[1], rows.size, columns.size, weight.sizes[0], rows.taps, columns.taps, rows.stride, columns.stride),
        *(rows.before, columns.before, rows.after, columns.after, rows.dilation, columns.dilation, groups),
    )


def _parameter(builder, step, role):
    """The Sizes of a step's weight or bias."""
    array = builder.network.parameters.get(step.parameters.get(role))
    return Sizes(step.parameters.get(role, role), None if array is None else array.shape)


def _product(builder, step, sources, out):
    x, weight = sources[0].shape, builder.network.parameters[step.parameters["weight"]]
    if not x or x[-1] != weight.shape[1]:
        raise ValueError(f"a matrix of {weight.shape[1]} rows: must have those of the last axis of its input, {x[-1] if x else 'none'}")
    problem = Conv2d(1, x[-1], 1, math.prod(x[:-1]), len(weight), 1, 1)
    _kernel(builder, step, problem, (*x[:-1], len(weight)), orders.plain(len(x)), out)


def _kernel(builder, step, problem, made, order, out):
    """A call of a kernel that reads its first source in an order and makes a tensor of shape `made` in the same."""
    residual = step.sources[1:]
    if residual and not made == out.shape == builder.tensors[residual[0]].shape:  # one of both is broadcast
        inner = {"activation": step.attributes["before_sum"]} if "before_sum" in step.attributes else {}
        alone = step._replace(name=f"{step.name} before the sum", sources=step.sources[:1], attributes={**_without_activations(step), **inner})
        _kernel(builder, alone, problem, made, order, out._replace(shape=made, buffer=alone.name))
        total = Step(step.name, "Add", (alone.name, *residual))
        if "activation" in step.attributes:
            total = total._replace(name=f"{step.name} before the activation")
        tensors = [builder.tensors[alone.name], builder.tensors[residual[0]]]
        _numpy(builder, total, tensors, out._replace(buffer=total.name))
        if "activation" in step.attributes:
            last = Step(step.name, "activation", (total.name,), attributes={"kind": step.attributes["activation"]})
            _activation(builder, last, [builder.tensors[total.name]], out)
        return None
    if made != out.shape:
        raise ValueError(f"makes {list(made)} by its attributes, {list(out.shape)} in the graph: must be the same")
    weight = builder.network.parameters[step.parameters["weight"]]
    bias = builder.network.parameters.get(step.parameters.get("bias"))
    x = builder.tensors[step.sources[0]]
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and array.dtype != x.dtype:
            raise ValueError(f"{name} of {array.dtype}: must be {x.dtype} as its input")
    if fault := vector_fault(_parameter(builder, step, "bias"), len(weight), "output channel"):
        raise ValueError(fault)
    for name in residual:
        if builder.tensors[name].dtype != x.dtype:
            raise ValueError(f"{printable(name)} of {builder.tensors[name].dtype}: must be {x.dtype} as its input")
    if math.prod(out.shape) == 0:
        return builder.call(step, NUMPY, step.sources, out._replace(order=order), run=(lambda *arrays: np.empty(out.shape, out.dtype), False))
    problem, stored = problem.checked(), element(x.dtype)
    codes = Activations(*(ACTIVATIONS[step.attributes.get(name, "identity")] for name in ("before_sum", "activation")))
    call = _call(builder, problem, stored, codes)
    if sum(call.sizes) * stored.work.itemsize > MOST_WORKSPACE_BYTES:
        raise ValueError(f"kernel {call.kernel.name} would stage {sum(call.sizes)} elements: must be less than {MOST_WORKSPACE_BYTES} bytes")
    sources = tuple(builder.in_order(name, order) for name in step.sources)
    builder.call(step, call.kernel.name, sources, out._replace(order=order), call=call, macs=problem.macs)
    return None


def _call(builder, problem, stored, activations):
    """The Call of a layer: with the tiling measured on this computer or its rule's, or with the rule's for the target."""
    lanes = (builder.target or host.target()).lanes(stored.work.itemsize)
    if builder.target is None:
        return call_of(kernel_for(problem, lanes), problem, stored, builder.threads, activations=activations)
    call = prepared(kernel_for(problem, lanes), problem, stored, builder.target._replace(threads=builder.threads))
    return call._replace(statics=(activations,))


def _without_activations(step):
    return {name: value for name, value in step.attributes.items() if name not in ("activation", "before_sum")}


def _activation(builder, step, sources, out):
    """By the kernel of activations, in whatever order the source has."""
    if out.shape != sources[0].shape:
        raise ValueError(f"makes {list(sources[0].shape)}, {list(out.shape)} in the graph: must be the same")
    if sources[0].dtype.name not in ELEMENTS or sources[0].buffer is None:
        raise NotSupported(f"an activation of {sources[0].dtype}: must be of {', '.join(ELEMENTS)}")
    builder.call(step, ACTIVATED, step.sources, out._replace(order=sources[0].order))


_SHAPES = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), lambda builder, step, *shapes: np.broadcast_shapes(*shapes)),
    "Transpose": lambda builder, step, shape: tuple(shape[axis_in(axis, len(shape))] for axis in step.attributes["perm"]),
    **dict.fromkeys(("activation", "LayerNormalization", "RMSNormalization"), lambda builder, step, shape, *parameters: shape),
    "conv": lambda builder, step, shape, *residual: conv_shape(conv_problem(builder, step, shape), shape),
    "product": lambda builder, step, shape, *residual: (*shape[:-1], len(builder.network.parameters[step.parameters["weight"]])),
    "block": lambda builder, step, shape, *residual: block_shape(step, shape),
}
"""The shape of a tensor that passes have made, and the file does not know, of the shapes of its sources."""

_ADD = {
    **dict.fromkeys(RESHAPES, _reshape),
    **dict.fromkeys(SAME, _same),
    "Transpose": _transpose,
    "conv": _conv,
    "product": _product,
    "block": add_block,
    "activation": _activation,
}
"""How a step is added, by op; all others by NumPy."""
