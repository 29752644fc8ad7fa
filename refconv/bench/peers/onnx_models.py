"""A layer and a residual block as ONNX graphs, made by hand, for the peers that read those."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refconv.bench.peers.steps import PeerBlock
from refconv.problem.conv import PartialConv2d

OPSET = 20
"""The first operator set that has Gelu; LayerNormalization came with 17."""

ACTIVATIONS = {"relu": "Relu", "gelu": "Gelu", "sigmoid": "Sigmoid"}


class OnnxBlock(PeerBlock):
    """The nodes and constants of a block; a tensor is given by its name, and is NCHW.

    Matrix products are 1x1 convolutions: with MatMul on channels that come last, onnxruntime is 7 to 10 % slower on ConvNeXt and FFN (measured).
    """

    def __init__(self, record):
        self.settle(record)
        self.nodes, self.constants, self.arrays = [], {}, record.arrays

    def node(self, kind, *inputs, **attributes):
        """The name of the output of a new node; an input that is None is left out."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [given for given in inputs if given is not None], [name], **attributes))
        return name

    def constant(self, name, array=None):
        """Make an array a constant of the graph and return its name: the record's array of that name, if no other is given; None for None."""
        if name is not None:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(self.arrays[name] if array is None else array), name)
        return name

    def conv(self, x, weight, bias, groups=1):
        """A convolution; weight and bias are names of arrays of the record."""
        array = self.arrays[weight]
        array = array[:, :, None, None] if array.ndim == 2 else array
        sides = [size // 2 for size in array.shape[2:]] * 2
        return self.node("Conv", x, self.constant(weight, array), self.constant(bias), pads=sides, group=groups)

    def matrix(self, x, weight, bias):
        """A matrix product for each pixel."""
        return self.conv(x, weight, bias)

    def partial_conv(self, x, weight, bias):
        """The first channels convolved, the others as they are."""
        convolved, channels = self.arrays[weight].shape[0], self.arrays["expand_weight"].shape[1]
        sizes = self.constant("sizes", np.array([convolved, channels - convolved]))
        self.nodes.append(helper.make_node("Split", [x, sizes], ["first", "rest"], axis=1))
        return self.node("Concat", self.conv("first", weight, bias), "rest", axis=1)

    def norm(self, x, weight, bias, eps):
        """LayerNorm over the channels of each pixel."""
        return self.node("LayerNormalization", x, self.constant(weight), self.constant(bias), axis=-1, epsilon=eps)

    def scaled(self, x, weight):
        """Each channel times its factor."""
        return self.multiply(x, self.constant(weight, self.arrays[weight][:, None, None]))

    def activation(self, x, kind):
        """The activation of every element."""
        if kind == "silu":
            return self.multiply(x, self.node("Sigmoid", x))
        if kind == "relu6":
            least, most = (self.constant(f"clip_{bound}", np.array(bound, np.float32)) for bound in (0, 6))
            return self.node("Clip", x, least, most)
        return self.node(ACTIVATIONS[kind], x)

    def mean(self, x):
        """The mean over the map."""
        return self.node("GlobalAveragePool", x)

    def to_last(self, x):
        """The tensor with channels last."""
        return self.node("Transpose", x, perm=[0, 2, 3, 1])

    def to_first(self, x):
        """The tensor with channels first."""
        return self.node("Transpose", x, perm=[0, 3, 1, 2])

    def multiply(self, x, gates):
        """Times the gates."""
        return self.node("Mul", x, gates)

    def add(self, x, y):
        """The sum."""
        return self.node("Add", x, y)


def layer_model(operands):
    """The serialised graph of a layer alone, from "x" to "y", NCHW: its weights are constants."""
    problem, conv = operands.problem, operands.conv
    constants = [numpy_helper.from_array(operands.weight, "w")]
    attributes = {
        "kernel_shape": [conv.r, conv.s],
        "strides": [conv.stride_h, conv.stride_w],
        "dilations": [conv.dilation_h, conv.dilation_w],
        "pads": list(operands.sides),
        "group": conv.groups,
    }
    if isinstance(problem, PartialConv2d) and problem.c > conv.c:
        constants.append(numpy_helper.from_array(np.array([conv.c, problem.c - conv.c]), "sizes"))
        nodes = [
            helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
            helper.make_node("Conv", ["a", "w"], ["c"], **attributes),
            helper.make_node("Concat", ["c", "b"], ["y"], axis=1),
        ]
    else:
        nodes = [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)]
    return _serialised(nodes, constants, operands.x.shape, (problem.n, problem.k, problem.p, problem.q))


def block_model(record, shape):
    """The serialised graph of a block, a record of refconv/problem/blocks.py, on an input of `shape`, from "x" to "y", NCHW."""
    n, _, h, w = shape
    block = OnnxBlock(record)
    block.forward("x")
    block.nodes[-1].output[0] = "y"
    n, p, q, k = record.out_shape(n, h, w)
    return _serialised(block.nodes, list(block.constants.values()), shape, (n, k, p, q))


def _serialised(nodes, constants, shape, out_shape):
    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
    graph = helper.make_graph(nodes, "layer", [value("x", shape)], [value("y", out_shape)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()
