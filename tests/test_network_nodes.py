"""Cases nobody here wrote: every node test of onnx whose operators there are, run as a network of its own.

Left out are cases with element types that there is no arithmetic for, and those of LEFT_OUT. What is left must pass, and is counted.
"""

import numpy as np
import pytest

import refconv
from refconv.operators import OPERATORS
from refconv.operators.types import NotSupported, numpy_type

onnx = pytest.importorskip("onnx", reason="extra: test")
from onnx import numpy_helper  # noqa: E402
from onnx_cases import node_cases  # noqa: E402

LEFT_OUT = {
    "training": ("test_training_dropout", "test_batchnorm_epsilon_training", "test_batchnorm_example_training"),
    "windows of signals, whose sizes follow from numbers that are no integers": ("test_hannwindow", "test_hammingwindow", "test_blackmanwindow"),
    "lengths of floor(scale * size), which onnx does not use for the places of align_corners, and torch and onnxruntime do": (
        "test_resize_downsample_scales_linear_align_corners",
        "test_resize_downsample_scales_cubic_align_corners",
    ),
    "no tensors": ("test_identity_sequence", "test_identity_opt"),
}
LEAST_COVERED = 1230
"""Cases that pass with onnx 1.23; earlier versions have fewer."""


def covered(case):
    """Whether there are the operators and the element types of a case."""
    if any(case.name.startswith(names) for names in LEFT_OUT.values()):
        return False
    graph = case.model.graph
    types = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    types += [tensor.data_type for tensor in graph.initializer]
    types += [attribute.i for node in graph.node for attribute in node.attribute if node.op_type == "Cast" and attribute.name == "to"]
    return {node.op_type for node in graph.node} <= {*OPERATORS, "Constant"} and all(map(known, types))


def known(number):
    try:
        return numpy_type(number) is not None
    except NotSupported:
        return False


def as_arrays(values):
    """Values of a data set: some are TensorProtos."""
    return [numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value) for value in values]


CASES = {case.name: case for case in node_cases() if covered(case)}


def test_the_cases_are_there():
    operators = {node.op_type for case in CASES.values() for node in case.model.graph.node}
    assert set(OPERATORS) - operators <= {"Scatter", "CumProd"}, "every operator of the table has a case"
    if tuple(map(int, onnx.__version__.split(".")[:2])) >= (1, 23):
        assert len(CASES) >= LEAST_COVERED


@pytest.mark.parametrize("name", CASES)
def test_node(name):
    """The tolerance is the case's own; of halves, one unit in the last place, or two where several operators round one after another."""
    case = CASES[name]
    net = refconv.load(case.model, threads=1)
    assert case.data_sets
    for inputs, outputs in case.data_sets:
        made = net(*as_arrays(inputs))
        made = made if isinstance(made, tuple) else (made,)
        for array, expected in zip(made, as_arrays(outputs), strict=True):
            assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
            unit = 2.0**-7 if expected.dtype.name == "bfloat16" else 2.0**-10 if expected.dtype == np.float16 else 0
            units = 1 if len(case.model.graph.node) == 1 else 2
            if expected.dtype.kind not in "b":
                array, expected = array.astype(np.float64), expected.astype(np.float64)
            np.testing.assert_allclose(array, expected, rtol=max(case.rtol, units * unit), atol=case.atol)
