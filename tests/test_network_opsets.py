"""Operator sets 11 to 23: what an operator has as an attribute in one and as an input in another, or means otherwise."""

import numpy as np
import pytest
from networks import by_onnx, network, whole

import refconv

AXES = {
    "last": np.array([-1]),
    "map": np.array([2, 3]),
    "first": np.array([0]),
    "sizes": np.array([3, 5]),
    "some": np.array([0, 0, 1, 0, 0, 0, 0, 2]),
}
CASES = {
    "axes of a sum are an attribute": (11, "y = ReduceSum <axes = [2, 3]> (x)"),
    "axes of a sum are an input": (13, "y = ReduceSum (x, map)"),
    "axes of a mean are an attribute": (17, "y = ReduceMean <axes = [2, 3], keepdims = 0> (x)"),
    "axes of a mean are an input": (18, "y = ReduceMean <keepdims = 0> (x, map)"),
    "axes of a squeeze are an attribute": (11, "a = Unsqueeze <axes = [0, 5]> (x)  b = Squeeze <axes = [0, -1]> (a)  y = Neg (b)"),
    "axes of a squeeze are an input": (13, "a = Unsqueeze (x, first)  b = Squeeze (a, first)  y = Neg (b)"),
    "sizes of a split are an attribute": (11, "a, b = Split <axis = 1, split = [3, 5]> (x)  y = Concat <axis = 1> (b, a)"),
    "sizes of a split are an input": (13, "a, b = Split <axis = 1> (x, sizes)  y = Concat <axis = 1> (b, a)"),
    "pieces of a split are counted": (18, "a, b = Split <axis = 1, num_outputs = 2> (x)  y = Concat <axis = 1> (b, a)"),
    "a softmax along an axis": (13, "y = Softmax <axis = 2> (x)"),
    "a softmax along an axis by default": (13, "y = LogSoftmax (x)"),
    "a pad": (11, 'y = Pad <mode = "reflect"> (x, some)'),
    "a resize": (11, 'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, none, none, larger)'),
    "a resize without a place for regions": (13, 'y = Resize <mode = "nearest", nearest_mode = "floor"> (x, , , larger)'),
    "a resize of two axes": (18, 'y = Resize <mode = "linear", axes = [2, 3]> (x, , twice)'),
    "a dropout": (12, "a = Dropout (x)  y = Neg (a)"),
    "a scale for each channel": (21, "y = GroupNormalization <num_groups = 4> (x, vector, vector)"),
    "a gelu": (20, "y = Gelu (x)"),
    "a root mean square": (23, "y = RMSNormalization (x, row)"),
}


@pytest.mark.parametrize("case", CASES)
def test_operator_set(case):
    opset, body = CASES[case]
    arrays = {**AXES, "none": np.zeros(0, np.float32), "larger": np.array([2, 8, 9, 7]), "twice": np.float32([2, 1.5])}
    model = network("float[2,8,5,4] x", "float y", body, {**arrays, "vector": whole((8,), 1), "row": whole((4,), 2)}, opset)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    x = whole((2, 8, 5, 4), 3)
    np.testing.assert_allclose(refconv.load(model)(x), by_onnx(model, x=x)[0], rtol=0, atol=4e-6)


@pytest.mark.parametrize("axis", [None, 1, 2, -1])
def test_a_softmax_of_a_matrix(axis):
    """Before version 13 its input is a matrix: the axes before `axis` (1 by default), and all others. onnx's reference does not know it."""
    given = "" if axis is None else f"<axis = {axis}>"
    model, x = network("float[2,8,5,4] x", "float[2,8,5,4] y", f"y = Softmax {given} (x)", opset=11), whole((2, 8, 5, 4), 3)
    raised = np.exp(x.astype(np.float64))
    over = tuple(range((1 if axis is None else axis) % 4, 4))
    np.testing.assert_allclose(refconv.load(model)(x), raised / raised.sum(axis=over, keepdims=True), rtol=1e-6)
