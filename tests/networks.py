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


BLOCKS = """
    c0 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, stem)
    h0 = Sigmoid (c0)
    s0 = Mul (c0, h0)
    e1 = Conv (s0, up)
    e2 = HardSwish (e1)
    d1 = Conv <group = 32, pads = [2, 2, 2, 2]> (e2, dw)
    d2 = BatchNormalization (d1, scale, shift, mean, var)
    d3 = Clip (d2, low, high)
    g1 = GlobalAveragePool (d3)
    g2 = Conv (g1, squeeze)
    g3 = Relu (g2)
    g4 = Conv (g3, excite)
    g5 = HardSigmoid <alpha = 0.16666667, beta = 0.5> (g4)
    d4 = Mul (d3, g5)
    p1 = Conv (d4, down)
    s1 = Add (p1, s0)
    t1 = Conv <group = 8, pads = [3, 3, 3, 3]> (s1, wide)
    t2 = Transpose <perm = [0, 2, 3, 1]> (t1)
    t3 = LayerNormalization <axis = -1> (t2, ln, ln)
    t4 = MatMul (t3, m1)
    t5 = Add (t4, b1)
    t6 = Div (t5, root)
    t7 = Erf (t6)
    t8 = Add (t7, one)
    t9 = Mul (t5, t8)
    ta = Mul (t9, half)
    tb = MatMul (ta, m2)
    tc = Transpose <perm = [0, 3, 1, 2]> (tb)
    td = Mul (tc, gamma)
    s2 = Add (td, s1)
    u1 = Resize <mode = "linear"> (s2, none, twice)
    u2 = ConvTranspose <strides = [2, 2]> (s2, deconv)
    s3 = Concat <axis = 1> (u1, u2)
    q1 = AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1, pads = [1, 1, 1, 1]> (s3)
    q2 = ReduceMean <axes = [2, 3], keepdims = 0> (q1)
    q3 = Gemm <transB = 1> (q2, fc, fcb)
    y = Softmax (q3)
"""


def blocks():
    """A stem, an MBConv with squeeze-excitation, a ConvNeXt block, upsampling two ways, and a head."""
    random = np.random.default_rng(3)
    weight = lambda *shape: (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    vector = lambda size: random.uniform(0.5, 1.5, size).astype(np.float32)
    arrays = {"stem": weight(8, 3, 3, 3), "up": weight(32, 8, 1, 1), "dw": weight(32, 1, 5, 5), "squeeze": weight(8, 32, 1, 1)}
    arrays |= {"excite": weight(32, 8, 1, 1), "down": weight(8, 32, 1, 1), "wide": weight(8, 1, 7, 7), "m1": weight(8, 32), "m2": weight(32, 8)}
    arrays |= {name: vector(32) for name in ("scale", "shift", "mean", "var", "b1")} | {"ln": vector(8), "gamma": vector((8, 1, 1))}
    arrays |= {"low": np.float32(0), "high": np.float32(6), "root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    arrays |= {
        "none": np.zeros(0, np.float32),
        "twice": np.float32([1, 1, 2, 2]),
        "deconv": weight(8, 4, 2, 2),
        "fc": weight(10, 12),
        "fcb": vector(10),
    }
    return network("float[N,3,H,W] x", "float[a,b] y", BLOCKS, arrays)
