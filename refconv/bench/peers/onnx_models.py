"""A layer and a residual block as ONNX graphs, for the peers that read those."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refconv.graph.onnx_writer import IR_VERSION, OPSET, OUTPUT, written
from refconv.problem.conv import PartialConv2d
from refconv.problem.steps import INPUT


def layer_model(operands):
    """The serialised graph of a layer alone, from "input" to "output", NCHW: its weights are constants."""
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
            helper.make_node("Split", [INPUT, "sizes"], ["a", "b"], axis=1),
            helper.make_node("Conv", ["a", "w"], ["c"], **attributes),
            helper.make_node("Concat", ["c", "b"], [OUTPUT], axis=1),
        ]
    else:
        nodes = [helper.make_node("Conv", [INPUT, "w"], [OUTPUT], **attributes)]
    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
    ends = [value(INPUT, operands.x.shape)], [value(OUTPUT, (problem.n, problem.k, problem.p, problem.q))]
    graph = helper.make_graph(nodes, "layer", *ends, constants)
    return _serialised(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION))


def block_model(record, shape):
    """The serialised graph of a block, a record of refconv/problem/blocks.py, on an input of `shape`, from "input" to "output", NCHW."""
    n, c, h, w = shape
    return _serialised(written(record.graph, (n, h, w, c)))


def _serialised(model):
    onnx.checker.check_model(model)
    return model.SerializeToString()
