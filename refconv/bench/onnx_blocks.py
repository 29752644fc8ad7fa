"""A residual block as an ONNX graph, made by hand, for onnxruntime."""

import numpy as np
from onnx import helper, numpy_helper

from refconv.bench.blocks import CHAINS, Chain, Entry
from refconv.bench.peers import bound

OPSET = 20
"""The first that has Gelu; LayerNormalization is of 17."""

ACTIVATIONS = {"relu": "Relu", "gelu": "Gelu", "sigmoid": "Sigmoid"}


class OnnxBlock(Chain):
    """The nodes and constants of a block; a tensor is its name, NCHW.

    All with 1x1 convolutions: onnxruntime has ConvNeXt and FFN 7 to 10 % slower with MatMul on channels that come last (measured).
    """

    def __init__(self, record):
        self.settle(record, CHAINS[type(record)])
        self.nodes, self.constants, self.arrays = [], {}, record.arrays

    def node(self, kind, *inputs, **attributes):
        """The name of the output of a new node."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, name, array):
        """The name, of an array that is now a constant of the graph."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def vector(self, name):
        """[the name of a vector of the record], which is now a constant; [] if the record has none of that name."""
        return [self.constant(name, self.arrays[name])] if name in self.arrays else []

    def convolve(self, y, name, groups=1):
        weight = self.arrays[f"{name}_weight"]
        weight = weight[:, :, None, None] if weight.ndim == 2 else weight
        sides = [size // 2 for size in weight.shape[2:]] * 2
        return self.node("Conv", y, self.constant(f"{name}_weight", weight), *self.vector(f"{name}_bias"), pads=sides, group=groups)

    def conv(self, y):
        return self.convolve(y, "conv", self.groups)

    def partial(self, y):
        sizes = self.constant("sizes", np.array([self.convolved, self.c - self.convolved]))
        self.nodes.append(helper.make_node("Split", [y, sizes], ["first", "rest"], axis=1))
        return self.node("Concat", self.convolve("first", "conv"), "rest", axis=1)

    def matrix(self, y, name):
        return self.convolve(y, name)

    def norm(self, y):
        return self.node("LayerNormalization", y, *self.vector("norm_weight"), *self.vector("norm_bias"), axis=-1, epsilon=self.eps)

    def layer_scale(self, y):
        return self.multiply(y, self.constant("scale", self.arrays["scale"][:, None, None]))

    def activation(self, y, kind):
        if kind == "silu":
            return self.multiply(y, self.node("Sigmoid", y))
        return self.node(ACTIVATIONS[kind], y)

    def pool(self, y):
        return self.node("GlobalAveragePool", y)

    def to_last(self, y):
        return self.node("Transpose", y, perm=[0, 2, 3, 1])

    def to_first(self, y):
        return self.node("Transpose", y, perm=[0, 3, 1, 2])

    def multiply(self, y, gates):
        return self.node("Mul", y, gates)

    def add(self, x, y):
        return self.node("Add", x, y)


def onnxruntime_entries(record, x, threads):
    """{form: Entry}: the block's graph alone, weights constant (prepacked at load), input and output bound in place; float32 only."""
    if x.dtype != np.float32:
        return {}  # its CPU provider has no Conv of other widths
    n, _, h, w = x.shape
    n, p, q, k = record.out_shape(n, h, w)
    block = OnnxBlock(record)
    block.forward("x")
    block.nodes[-1].output[0] = "y"
    run = bound(block.nodes, list(block.constants.values()), x, (n, k, p, q), threads, OPSET)

    def result():
        run()
        return run.result()

    return {"bound": Entry(run, result)}
