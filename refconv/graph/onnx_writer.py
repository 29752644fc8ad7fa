"""A graph of steps (refconv/problem/steps.py) written as an ONNX model: the same one for this project and for every peer of the benchmark.

Tensors are NCHW and float32, batch norms folded, as exporters write networks for inference. Products with a matrix for each pixel are 1x1
convolutions (with MatMul on channels that come last, onnxruntime is 7 to 10 % slower on ConvNeXt and FFN, measured); a LayerNormalization has
its channels last, between Transposes. A partial convolution is Split, Conv, Concat; a blur pool a depthwise Conv by its constant filter.
"""

import functools

import numpy as np

from refconv.problem.conv import same_pads
from refconv.problem.steps import BLUR, INPUT, matrix_shape

OPSET = 20
"""The first operator set that has Gelu; LayerNormalization came with 17, HardSwish with 14."""
IR_VERSION = 9
"""Of files: the one that came with that set."""
OUTPUT = "output"
"""The name of what a model makes; its input is the steps' INPUT."""
CHANNELS = 1
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "hardswish": "HardSwish"}


def written(graph, shape, *, classifies=False, tensor=None):
    """The onnx.ModelProto of a Graph on an input of `shape`, (n, h, w, c) as steps have it: NCHW tensors from "input" to "output".

    classifies: whether the last step is a product of the one pixel that is left, to be written as Flatten and Gemm, with an output (n, K).
    tensor: makes the TensorProto of (array, name); by default one with the array's data. ImportError without the package onnx.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ImportError("writing ONNX graphs needs the package onnx; legal: pip install onnx (the extra onnx)") from None
    return _Writer(graph, shape, tensor or _tensor).model(classifies)


def _tensor(array, name):
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(array, order="C"), name)  # of a scalar, too, the number of axes stays


class _Writer:
    """Nodes and constants so far; where a tensor has its channels last, too, the name of that one."""

    def __init__(self, graph, shape, tensor):
        self.graph, self.sized, self.tensor = graph, graph.sized(*shape), tensor
        self.shapes = {INPUT: shape, **{name: sized.shape for name, sized in self.sized.items()}}
        self.nodes, self.constants, self.last = [], {}, {}

    def model(self, classifies):
        """The model, after every step has been written."""
        from onnx import TensorProto, helper

        *steps, final = self.graph.steps
        for step in steps:
            _WRITE[step.op](self, step)
        n, h, w, k = self.shapes[final.name]
        (_gemm if classifies else _WRITE[final.op])(self, final)
        self.rename(final.name)
        value = lambda name, sizes: helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
        rows, columns, channels = self.shapes[INPUT][1:]
        ends = [value(INPUT, [n, channels, rows, columns])], [value(OUTPUT, [n, k] if classifies else [n, k, h, w])]
        graph = helper.make_graph(self.nodes, "network", *ends, list(self.constants.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="refconv")

    def rename(self, name):
        """Call a tensor the model's output; nothing reads it."""
        (node,) = (node for node in self.nodes if name in node.output)
        node.output[0] = OUTPUT

    def node(self, op, sources, name, outputs=None, **attributes):
        """Add a node called `name`, which makes the tensor of that name, or `outputs`."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(sources), outputs or [name], name, **attributes))

    def constant(self, name, array):
        """Make an array a constant of the model, once, and return its name."""
        if name not in self.constants:
            self.constants[name] = self.tensor(array, name)
        return name

    def array(self, step, role, reshaped=lambda array: array):
        """[name] of a step's parameter as a constant; [] where there is none."""
        array = self.graph.array(step, role)
        return [] if array is None else [self.constant(step.parameters[role], reshaped(array))]

    def channels_last(self, name):
        """The name of a tensor with its channels last."""
        if name not in self.last:
            self.last[name] = f"{name}.channels_last"
            self.node("Transpose", [name], self.last[name], perm=TO_LAST)
        return self.last[name]


def _convolution(writer, step, source, name):
    """A Conv node, called `name`, of a step whose weight is (K, C/groups, R, S) or (K, C)."""
    weight, attributes = writer.graph.array(step, "weight"), step.attributes
    kernel = matrix_shape(weight)[2:]
    stride = attributes.get("stride", 1)
    (top, bottom), (left, right) = (same_pads(size, 1) for size in kernel)
    writer.node(
        "Conv",
        [source, *writer.array(step, "weight", lambda array: array.reshape(matrix_shape(array))), *writer.array(step, "bias")],
        name,
        kernel_shape=kernel,
        strides=stride if isinstance(stride, tuple) else (stride, stride),
        pads=attributes.get("pads", (top, left, bottom, right)),
        group=attributes.get("groups", 1),
    )


def _partial(writer, step):
    convolved, channels = len(writer.graph.array(step, "weight")), writer.shapes[step.name][3]
    if convolved == channels:
        _convolution(writer, step, step.sources[0], step.name)
        return
    first, rest, made = (f"{step.name}.{part}" for part in ("first", "rest", "convolved"))
    sizes = writer.constant(f"{step.name}.sizes", np.array([convolved, channels - convolved]))
    writer.node("Split", [step.sources[0], sizes], f"{step.name}.split", [first, rest], axis=CHANNELS)
    _convolution(writer, step, first, made)
    writer.node("Concat", [made, rest], step.name, axis=CHANNELS)


def _norm(writer, step):
    source, made = writer.channels_last(step.sources[0]), f"{step.name}.channels_last"
    vectors = [*writer.array(step, "weight"), *writer.array(step, "bias")]
    writer.node("LayerNormalization", [source, *vectors], made, axis=-1, epsilon=step.attributes["eps"])
    writer.last[step.name] = made
    writer.node("Transpose", [made], step.name, perm=TO_FIRST)


def _max_pool(writer, step):
    size, stride = step.attributes["size"], step.attributes["stride"]
    writer.node("MaxPool", step.sources, step.name, kernel_shape=(size, size), strides=(stride, stride), pads=step.attributes["pads"])


def _blur_pool(writer, step):
    channels = writer.shapes[step.name][3]
    filters = writer.constant(f"{step.name}.filter", np.tile(BLUR.astype(np.float32), (channels, 1, 1, 1)))
    writer.node("Conv", [step.sources[0], filters], step.name, kernel_shape=(3, 3), strides=(2, 2), group=channels)


def _pad(writer, step):
    border = step.attributes["border"]
    writer.node("Pad", [step.sources[0], writer.constant(f"{step.name}.border", np.array([0, 0, border, border] * 2))], step.name, mode="reflect")


def _activation(writer, step):
    (x,), kind, scalar = step.sources, step.attributes["kind"], lambda name, number: writer.constant(name, np.float32(number))
    if kind == "silu":
        writer.node("Sigmoid", [x], f"{step.name}.sigmoid")
        writer.node("Mul", [x, f"{step.name}.sigmoid"], step.name)
    elif kind == "relu6":
        writer.node("Clip", [x, scalar("zero", 0), scalar("six", 6)], step.name)
    elif kind == "hardsigmoid":
        writer.node("HardSigmoid", [x], step.name, alpha=1 / 6, beta=0.5)
    elif kind in ("gelu", "gelu_tanh"):
        writer.node("Gelu", [x], step.name, approximate="tanh" if kind == "gelu_tanh" else "none")
    else:
        writer.node(PLAIN.get(kind, "Identity"), [x], step.name)


def _scale(writer, step):
    writer.node("Mul", [*step.sources, *writer.array(step, "weight", lambda array: array[:, None, None])], step.name)


def _shift(writer, step):
    writer.node("Add", [*step.sources, *writer.array(step, "bias", lambda array: array[:, None, None])], step.name)


def _response(writer, step):
    """1 + weight * norm / (mean + eps)"""
    part = lambda role: f"{step.name}.{role}"
    axes = [writer.constant(f"{name}.axes", np.array(axes)) for name, axes in (("map", [2, 3]), ("channels", [CHANNELS]))]
    writer.node("ReduceL2", [*step.sources, axes[0]], part("norm"), keepdims=1)
    writer.node("ReduceMean", [part("norm"), axes[1]], part("mean"), keepdims=1)
    writer.node("Add", [part("mean"), writer.constant(part("eps"), np.float32(step.attributes["eps"]))], part("least"))
    writer.node("Div", [part("norm"), part("least")], part("relative"))
    writer.node("Mul", [part("relative"), *writer.array(step, "weight", lambda array: array[:, None, None])], part("weighted"))
    writer.node("Add", [part("weighted"), writer.constant("one", np.float32(1))], step.name)


def _gemm(writer, step):
    flat = f"{step.name}.flat"
    writer.node("Flatten", step.sources, flat)
    writer.node("Gemm", [flat, *writer.array(step, "weight"), *writer.array(step, "bias")], step.name, transB=1)


def _plain(writer, step, op, **attributes):
    writer.node(op, step.sources, step.name, **attributes)


_WRITE = {
    "conv": lambda writer, step: _convolution(writer, step, step.sources[0], step.name),
    "partial_conv": _partial,
    "norm": _norm,
    "mean": functools.partial(_plain, op="GlobalAveragePool"),
    "max_pool": _max_pool,
    "blur_pool": _blur_pool,
    "pad": _pad,
    "concatenate": functools.partial(_plain, op="Concat", axis=CHANNELS),
    "activation": _activation,
    "scale": _scale,
    "shift": _shift,
    "response": _response,
    "multiply": functools.partial(_plain, op="Mul"),
    "add": functools.partial(_plain, op="Add"),
}
"""How a step is written, by op; what follows a step reads the tensor of its name."""
