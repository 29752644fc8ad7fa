"""Nine real networks, with weights drawn at random, against onnx's own reference; a small one of today's blocks against onnxruntime, where that is.

The tolerance is one rounding of float32 a layer, relative to the largest output: depth * 2**-23.
"""

import numpy as np
import pytest
from light import FOLDER, NAMES, by_reference, light
from networks import by_onnx, network

import refconv
from refconv.graph.read import read_model

LARGE = ("bvlc_alexnet", "vgg19", "zfnet512")
"""Of 60 to 144 million weights, nearly all in their last matrices: their schedules are made, and they are not run."""


def within(made, expected, depth):
    """Whether an output has at most a rounding error a layer, relative to its largest."""
    assert np.ptp(expected) > 0
    return np.abs(made - expected).max() <= depth * np.finfo(np.float32).eps * np.abs(expected).max()


def layers(net):
    return sum(call.macs > 0 for call in net.schedule.calls)


def test_the_networks_are_there():
    assert len(NAMES) == 9
    assert set(LARGE) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_light(name):
    """What multiplies is what the reader of shapes counts, by a way of its own."""
    path = FOLDER / f"light_{name}.onnx"
    assert refconv.load(path).schedule.macs == read_model(str(path)).macs
    if name in LARGE:
        return
    model = light(name)
    net = refconv.load(model, threads=1)
    x = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    made = net(x)
    assert within(made, by_reference(model, **{net.inputs[0]: x})[0], layers(net))


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


@pytest.mark.parametrize("sizes", [(1, 17, 22), (2, 32, 32)])
def test_blocks_of_today(sizes):
    model, (n, h, w) = blocks(), sizes
    x = np.random.default_rng(1).standard_normal((n, 3, h, w)).astype(np.float32)
    net = refconv.load(model, threads=1)
    made = net(x)
    assert within(made, by_onnx(model, x=x)[0], layers(net))
    ops = [call.step.op for call in net.schedule.calls]
    assert [call.step.attributes.get("activation") for call in net.schedule.calls if call.step.op in ("conv", "product")] == [
        *("silu", "hardswish", "relu6", "relu", "hardsigmoid", None, None, "gelu", None, None),
    ]
    assert not {"BatchNormalization", "Add", "Erf", "Sigmoid"} & set(ops)
    runtime = pytest.importorskip("onnxruntime", reason="extra: bench")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert within(made, session.run(None, {"x": x})[0], layers(net))
