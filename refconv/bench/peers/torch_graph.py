"""An ONNX graph as a torch module: a node is a call of torch, in place where nothing else reads what it takes, as authors of networks write it.

x * Sigmoid(x) is torch's silu. A tensor is let go after the last call that takes it. Only operators of the table below, on tensors of one type.
"""

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch.nn import Module, Parameter, functional

from refconv.graph.onnx_values import attributes, is_plain, named


class NotInTorch(ValueError):
    """A node that is not of the table."""


class Node(NamedTuple):
    """What a maker of the table is told of a node. constants: an array for each input that is one, else None; in_place: whether the first input
    may be written to; linear: whether 1x1 convolutions are to be torch's linear layers."""

    attributes: dict
    constants: tuple
    in_place: bool
    linear: bool


class Call(NamedTuple):
    """run: a function of tensors; sources: (whether it is one of the module's own, its name); makes: names; drops: names of tensors let go."""

    run: Any
    sources: tuple
    makes: tuple
    drops: tuple


class TorchGraph(Module):
    """A ModelProto of one input and one output. linear: whether 1x1 convolutions run as linear layers on channels that come last.

    NotInTorch names a node that cannot be.
    """

    def __init__(self, model, dtype=torch.float32, linear=False):
        super().__init__()
        from onnx import numpy_helper

        graph = model.graph
        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.given, self.result = next(value.name for value in graph.input if value.name not in self.arrays), graph.output[0].name
        self.calls, self.own, made_anew = [], {}, set()
        self.arrays |= {node.output[0]: numpy_helper.to_array(attributes(node)["value"]) for node in graph.node if node.op_type == "Constant"}
        nodes = self._with_silu([node for node in graph.node if node.op_type != "Constant"])
        uses = Counter([self.result, *(name for _, inputs, _, _ in nodes for name in inputs)])
        last = {name: i for i, (_, inputs, _, _) in enumerate(nodes) for name in inputs}
        for i, (op, inputs, outputs, node) in enumerate(nodes):
            if op not in TABLE:
                raise NotInTorch(f"{named(node)} ({op}): not among the operators that are put to torch")
            make, count = TABLE[op]
            constants = tuple(self.arrays.get(name) for name in inputs)
            in_place = uses[inputs[0]] == 1 and inputs[0] in made_anew
            run = make(Node(attributes(node), constants, in_place, linear))
            sources = tuple(self._source(name, dtype) for name in inputs[:count])
            drops = tuple(name for name in dict.fromkeys(inputs) if last[name] == i and name not in (self.result, *self.arrays))
            self.calls.append(Call(run, sources, outputs, drops))
            made_anew.update(outputs if op not in VIEWS else ())

    def forward(self, x):
        """The output for an input, NCHW."""
        tensors = {self.given: x}
        for call in self.calls:
            made = call.run(*[getattr(self, name) if own else tensors[name] for own, name in call.sources])
            for name in call.drops:
                del tensors[name]
            tensors.update(zip(call.makes, made if len(call.makes) > 1 else (made,), strict=True))
        return tensors[self.result]

    def _with_silu(self, nodes):
        """[(operator, inputs, outputs, node)], a Sigmoid and the Mul of it by what it takes as one."""
        gates = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Sigmoid"}
        uses, found = Counter(name for node in nodes for name in node.input), []
        silus = {}
        for node in nodes:
            pairs = ((node.input[i], node.input[1 - i]) for i in range(2)) if node.op_type == "Mul" else ()
            silus.update({gate: node for gate, x in pairs if gates.get(gate) == x and uses[gate] == 1})
        for node in nodes:
            op, inputs = node.op_type if is_plain(node) else f"{node.domain}.{node.op_type}", tuple(node.input)
            if node.output[0] in silus and op == "Sigmoid":
                continue
            gate = next((name for name in inputs if silus.get(name) is node), None)
            found.append(("Silu", (gates[gate],), tuple(node.output), node) if gate else (op, inputs, tuple(node.output), node))
        return found

    def _source(self, name, dtype):
        """(whether it is a parameter of the module, its name there)."""
        if name not in self.arrays:
            return False, name
        if name not in self.own:
            self.own[name] = f"p{len(self.own)}"
            self.register_parameter(self.own[name], Parameter(torch.tensor(self.arrays[name], dtype=dtype)))
        return True, self.own[name]


def _sides(node):
    """(symmetric padding as torch takes it, four sides for functional.pad or None) of a Conv or pool."""
    if node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or node.attributes.get("ceil_mode", 0):
        raise NotInTorch("auto_pad or ceil_mode: not put to torch")
    top, left, bottom, right = node.attributes.get("pads", (0, 0, 0, 0))
    return ((top, left), None) if (top, left) == (bottom, right) else ((0, 0), (left, right, top, bottom))


def _conv(node):
    weight, (padding, sides) = node.constants[1], _sides(node)
    if weight is None or weight.ndim != 4:
        raise NotInTorch("Conv without a constant weight of four axes: not put to torch")
    stride, dilation = (node.attributes.get(name, (1, 1)) for name in ("strides", "dilations"))
    groups = node.attributes.get("group", 1)
    if node.linear and weight.shape[2:] == (1, 1) and (tuple(stride), padding, sides, groups) == ((1, 1), (0, 0), None, 1):
        return lambda x, w, b=None: functional.linear(x.permute(0, 2, 3, 1), w[:, :, 0, 0], b).permute(0, 3, 1, 2)
    if sides:
        return lambda x, w, b=None: functional.conv2d(functional.pad(x, sides), w, b, stride, 0, dilation, groups)
    return lambda x, w, b=None: functional.conv2d(x, w, b, stride, padding, dilation, groups)


def _max_pool(node):
    (padding, sides), size, stride = _sides(node), node.attributes["kernel_shape"], node.attributes.get("strides", (1, 1))
    if sides:
        return lambda x: functional.max_pool2d(functional.pad(x, sides, value=float("-inf")), size, stride)
    return lambda x: functional.max_pool2d(x, size, stride, padding)


def _average_pool(node):
    (padding, sides), size, stride = _sides(node), node.attributes["kernel_shape"], node.attributes.get("strides", (1, 1))
    if sides:
        raise NotInTorch("AveragePool of unequal padding: not put to torch")
    return lambda x: functional.avg_pool2d(x, size, stride, padding, count_include_pad=bool(node.attributes.get("count_include_pad", 0)))


def _batch_norm(node):
    eps = node.attributes.get("epsilon", 1e-5)
    return lambda x, weight, bias, mean, var: functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def _layer_norm(node):
    eps, shape = node.attributes.get("epsilon", 1e-5), node.constants[1].shape
    if node.attributes.get("axis", -1) != -1:
        raise NotInTorch("LayerNormalization of more than the last axis: not put to torch")
    return lambda x, weight, bias=None: functional.layer_norm(x, shape, weight, bias, eps)


def _gemm(node):
    given = node.attributes
    if given.get("transA", 0) or (given.get("alpha", 1.0), given.get("beta", 1.0)) != (1, 1):
        raise NotInTorch("Gemm with transA, alpha or beta: not put to torch")
    if given.get("transB", 0):
        return functional.linear
    return lambda x, w, b=None: functional.linear(x, w.t(), b)


def _clip(node):
    low, high = (None if array is None else array.item() for array in (*node.constants[1:], None, None)[:2])
    return lambda x: (x.clamp_ if node.in_place else x.clamp)(low, high)


def _pad(node):
    mode = node.attributes.get("mode", b"constant").decode()
    if node.constants[1] is None or mode not in ("constant", "reflect") or len(node.constants) > 2:
        raise NotInTorch(f"Pad of mode {mode}, or with more than its sizes: not put to torch")
    before, after = node.constants[1].reshape(2, -1).tolist()
    sides = [size for pair in zip(before[::-1], after[::-1], strict=True) for size in pair][: 4 if mode == "reflect" else None]
    return lambda x: functional.pad(x, sides, mode)


def _mean(node):
    axes = node.attributes.get("axes") or (node.constants[1].tolist() if len(node.constants) > 1 and node.constants[1] is not None else None)
    if axes is None:
        raise NotInTorch("ReduceMean of all axes: not put to torch")
    return lambda x: x.mean(axes, keepdim=bool(node.attributes.get("keepdims", 1)))


def _split(node):
    if len(node.constants) < 2 or node.constants[1] is None:
        raise NotInTorch("Split without sizes: not put to torch")
    return lambda x: x.split(node.constants[1].tolist(), node.attributes.get("axis", 0))


def _reshape(node):
    if node.constants[1] is None or 0 in node.constants[1]:
        raise NotInTorch("Reshape to sizes that are not constant: not put to torch")
    return lambda x: x.reshape(node.constants[1].tolist())


def _hard_sigmoid(node):
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if abs(6 * alpha - 1) < 1e-6 and beta == 0.5:
        return lambda x: functional.hardsigmoid(x, inplace=node.in_place)
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _in_place(plain, writing):
    """A maker of a function of two tensors with a form that writes to the first, where that has the shape of the result."""
    fits = lambda x, y: x.dim() >= y.dim() and all(b in (1, a) for a, b in zip(x.shape[::-1], y.shape[::-1], strict=False))
    return lambda node: (lambda x, y: writing(x, y) if fits(x, y) else plain(x, y)) if node.in_place else plain


def _flagged(function):
    """A maker of a function of torch.nn.functional with a flag `inplace`."""
    return lambda node: lambda x: function(x, inplace=node.in_place)


def _gelu(node):
    return lambda x: functional.gelu(x, approximate=node.attributes.get("approximate", b"none").decode())


VIEWS = ("Split", "Transpose", "Flatten", "Reshape", "Identity", "Dropout")
"""Operators whose output may be another view of what they take."""
TABLE = {
    "Conv": (_conv, 3),
    "BatchNormalization": (_batch_norm, 5),
    "LayerNormalization": (_layer_norm, 3),
    "Gemm": (_gemm, 3),
    "MatMul": (lambda node: torch.matmul, 2),
    "MaxPool": (_max_pool, 1),
    "AveragePool": (_average_pool, 1),
    "GlobalAveragePool": (lambda node: lambda x: functional.adaptive_avg_pool2d(x, 1), 1),
    "ReduceMean": (_mean, 1),
    "Add": (_in_place(torch.add, torch.Tensor.add_), 2),
    "Sub": (lambda node: torch.sub, 2),
    "Mul": (_in_place(torch.mul, torch.Tensor.mul_), 2),
    "Div": (lambda node: torch.div, 2),
    "Relu": (_flagged(functional.relu), 1),
    "Silu": (_flagged(functional.silu), 1),
    "HardSwish": (_flagged(functional.hardswish), 1),
    "HardSigmoid": (_hard_sigmoid, 1),
    "Sigmoid": (lambda node: torch.sigmoid_ if node.in_place else torch.sigmoid, 1),
    "Clip": (_clip, 1),
    "Gelu": (_gelu, 1),
    "Erf": (lambda node: torch.erf, 1),
    "Tanh": (lambda node: torch.tanh, 1),
    "Sqrt": (lambda node: torch.sqrt, 1),
    "Softmax": (lambda node: lambda x: x.softmax(node.attributes.get("axis", -1)), 1),
    "Split": (_split, 1),
    "Concat": (lambda node: lambda *parts: torch.cat(parts, node.attributes["axis"]), None),
    "Pad": (_pad, 1),
    "Transpose": (lambda node: lambda x: x.permute(node.attributes["perm"]), 1),
    "Flatten": (lambda node: lambda x: x.flatten(1), 1),
    "Reshape": (_reshape, 1),
    "Identity": (lambda node: lambda x: x, 1),
    "Dropout": (lambda node: lambda x: x, 1),
}
"""{operator: (maker of a function of tensors, how many inputs are tensors: the others are settings)}."""
