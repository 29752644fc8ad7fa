"""Networks for tests, written in onnx's text format; without the package onnx the tests that import this are skipped."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="extra: test")
from onnx import numpy_helper, parser  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402


def network(inputs, outputs, body, arrays=(), opset=17):
    """A ModelProto; inputs, outputs: such as "float[1,8,N,N] x"; body: nodes as text; arrays: {name: array} of the initializers."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in dict(arrays).items())
    return model


def whole(shape, seed=0, low=-3, high=4):
    """An array of float32 of whole numbers."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def by_onnx(model, **inputs):
    """The outputs by onnx's reference implementation."""
    return ReferenceEvaluator(model).run(None, inputs)
