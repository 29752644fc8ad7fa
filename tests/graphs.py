"""Small ONNX graphs for tests; without the package onnx the tests that import this are skipped."""

import math

import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def save(path, nodes, inputs, constants=(), outputs=("y",), **options):
    """Write a graph; inputs: {name: sizes}; constants: {name: sizes of zeros, or a list of integers}."""
    values = [helper.make_tensor_value_info(name, FLOAT, sizes) for name, sizes in inputs.items()]
    tensors = []
    for name, given in dict(constants).items():
        if isinstance(given, tuple):
            tensors.append(helper.make_tensor(name, FLOAT, given, [0.0] * math.prod(given)))
        else:
            tensors.append(helper.make_tensor(name, INT64, [len(given)], given))
    graph = helper.make_graph(nodes, "g", values, [helper.make_empty_tensor_value_info(name) for name in outputs], tensors)
    for value in graph.output:
        value.type.tensor_type.elem_type = FLOAT
    for value in graph.output:  # a shape of unknown sizes is what makes the file valid without saying anything
        value.CopyFrom(helper.make_tensor_value_info(value.name, FLOAT, options.get("rank", [None] * 4)))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", options.get("opset", 17))])
    model.ir_version = 8
    onnx.save(model, path)
    return str(path)


def conv(out="y", x="x", w="w", **attributes):
    """A Conv node."""
    return helper.make_node("Conv", [x, w], [out], name="c", **attributes)


def info(name, sizes=None, kind=FLOAT):
    """A value of a graph; sizes: None for a value that the file gives no shape."""
    return helper.make_tensor_value_info(name, kind, sizes)


def branch(name, nodes, outputs, constants=()):
    """A subgraph without inputs, whose outputs have no shape in the file; constants: {name: a list of integers}."""
    tensors = [helper.make_tensor(key, INT64, [len(given)], given) for key, given in dict(constants).items()]
    return helper.make_graph(nodes, name, [], [info(output) for output in outputs], tensors)


def write(path, nodes, inputs, constants=(), outputs=("y",), **options):
    """Write a graph as it is, shapes of the outputs left out; inputs: values of `info`; constants as of `save`, or TensorProtos."""
    tensors = []
    for name, given in dict(constants).items():
        if isinstance(given, TensorProto):
            tensors.append(given)
        elif isinstance(given, tuple):
            tensors.append(helper.make_tensor(name, FLOAT, given, [0.0] * math.prod(given)))
        else:
            tensors.append(helper.make_tensor(name, INT64, [len(given)], given))
    graph = helper.make_graph(nodes, "g", inputs, [info(name) for name in outputs], tensors)
    domains = {"": options.get("opset", 17)} | dict.fromkeys(options.get("domains", ()), 1)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()])
    model.ir_version = options.get("ir_version", 8)
    onnx.save(model, path)
    return str(path)
