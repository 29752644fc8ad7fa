"""Cases nobody here wrote: onnx's node tests for Conv, and convolutions recorded from PyTorch in the onnx wheel.

All that are 2-D convolutions; a 1-D or 3-D one must be refused by its rank.
"""

import pathlib

import numpy as np
import pytest

import refconv

onnx = pytest.importorskip("onnx", reason="extra: test")

import onnx.backend.test as backend_test  # noqa: E402
import onnx_cases  # noqa: E402
from onnx import numpy_helper  # noqa: E402

RECORDED = pathlib.Path(backend_test.__file__).parent / "data" / "pytorch-converted"


def attributes_of(node, kernel, size):
    """(stride, four-sided padding, dilation, groups) of an ONNX Conv node."""
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    stride, dilation = tuple(given.get("strides", (1, 1))), tuple(given.get("dilations", (1, 1)))
    auto = given.get("auto_pad", b"NOTSET").decode()
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        needed = [
            max(0, (-(-n // step) - 1) * step + (taps - 1) * gap + 1 - n) for n, taps, step, gap in zip(size, kernel, stride, dilation, strict=True)
        ]
        small, large = [n // 2 for n in needed], [n - n // 2 for n in needed]
        pads = (*small, *large) if auto == "SAME_UPPER" else (*large, *small)
    else:
        pads = tuple(given.get("pads", (0, 0, 0, 0)))
    return stride, pads, dilation, given.get("group", 1)


def run_conv(node, operands):
    """The node through refconv."""
    x, weight, *bias = operands
    stride, pads, dilation, groups = attributes_of(node, weight.shape[2:], x.shape[2:])
    return refconv.conv2d(x, weight, bias[0] if bias else None, stride, pads, dilation, groups, threads=1)


def node_cases():
    """{name: (node, inputs, output)} of every float Conv node case."""
    cases = {}
    for case in onnx_cases.node_cases():
        graph = case.model.graph
        if len(graph.node) == 1 and graph.node[0].op_type == "Conv":
            for inputs, outputs in case.data_sets:
                cases[case.name] = graph.node[0], [np.asarray(value) for value in inputs], np.asarray(outputs[0])
    return cases


def recorded_cases():
    """{name: (node, operands, output)} of every recorded PyTorch convolution, 1-D and 3-D included."""
    cases = {}
    for folder in sorted(RECORDED.glob("test_Conv[123]d*")):
        model = onnx.load(folder / "model.onnx")
        (node,) = model.graph.node
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        read = lambda name, folder=folder: numpy_helper.to_array(onnx.TensorProto.FromString((folder / "test_data_set_0" / name).read_bytes()))
        values[model.graph.input[0].name] = read("input_0.pb")
        cases[folder.name] = node, [values[name] for name in node.input], read("output_0.pb")
    return cases


CASES = {**node_cases(), **recorded_cases()}


def test_the_cases_are_there():
    """Eleven recorded 2-D convolutions, and the node tests with and without padding, strides and automatic padding."""
    flat = [name for name in recorded_cases() if name.startswith("test_Conv2d")]
    assert len(flat) >= 11
    assert {"test_basic_conv_with_padding", "test_basic_conv_without_padding", "test_conv_with_autopad_same"} <= set(node_cases())


@pytest.mark.parametrize("name", CASES)
def test_conv(name):
    node, operands, expected = CASES[name]
    operands = [np.asarray(value) for value in operands]
    if operands[1].ndim != 4:
        with pytest.raises(ValueError, match=r"weight of shape|x of shape"):
            run_conv(node, operands)
        return
    result = run_conv(node, operands)
    assert result.dtype == expected.dtype
    depth = operands[1][0].size + 1
    scale = abs(operands[0]).max() * abs(operands[1]).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=depth * np.finfo(np.float32).eps * scale)
