"""Passes: what each makes of its pattern, what it must leave alone, and that the network computes the same."""

import numpy as np
import pytest
from networks import by_onnx, network, onnx, whole
from onnx import helper

import refconv

C = 8
W = {"w": whole((C, C, 1, 1), 1), "v": whole((C,), 2)}
X, Y = "float[2,8,5,4] x", "float[a,b,c,d] y"


def calls(net):
    """[op with what has joined it] of a network's calls."""
    made = [
        (
            call.step.op,
            call.step.attributes.get("before_sum", ""),
            "residual" if call.call and len(call.sources) > 1 else "",
            call.step.attributes.get("activation", ""),
        )
        for call in net.schedule.calls
    ]
    return ["+".join(filter(None, parts)) for parts in made]


def same(model, net, x, eps=0.0):
    """Whether a network computes what onnx says, up to eps relative to the largest."""
    expected = by_onnx(model, x=x)[0]
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    return np.allclose(net(x), expected, rtol=0, atol=eps * largest, equal_nan=True)


CASES = {
    # body: (calls, tolerance relative to the largest)
    "a = Conv (x, w)  y = Mul (a, cc)": (["conv"], 0),
    "a = Conv (x, w)  y = Add (a, cc)": (["conv"], 0),
    "a = Conv (x, w)  b = Mul (a, infinite)  y = Clip (b, zero, six)": (["conv", "Mul", "activated"], 0),
    "a = Conv (x, w)  b = BatchNormalization (a, infinite, v, v, v2)  y = Clip (b, zero, six)": (["conv", "BatchNormalization", "activated"], 0),
    "a = Conv (x, w, v)  b = Sub (a, cc)  y = Mul (two, b)": (["conv"], 0),
    "a = Conv (x, w, v)  y = Div (a, two)": (["conv"], 0),
    "a = Conv (x, w, v)  y = Div (two, a)": (["conv", "Div"], 1e-6),
    "a = Conv (x, w, v)  y = Sub (two, a)": (["conv", "Sub"], 0),
    "a = Conv (x, w)  b = BatchNormalization (a, v2, v, v, v2)  y = Relu (b)": (["conv+relu"], 4e-7),
    "a = BatchNormalization (x, v2, v, v, v2)  y = Conv (a, w)": (["BatchNormalization", "convert", "conv"], 4e-7),
    "a = Conv (x, w)  b = Add (a, x)  y = Relu (b)": (["conv+residual+relu"], 0),
    "a = Conv (x, w)  b = Relu (a)  y = Add (b, x)": (["conv+relu+residual"], 0),
    "a = Conv (x, w)  b = Relu (a)  c = Add (x, b)  y = Sigmoid (c)": (["conv+relu+residual+sigmoid"], 4e-7),
    "m = GlobalAveragePool (x)  a = Conv (x, w)  b = Relu (a)  c = Add (m, b)  y = Relu (c)": (
        ["conv+relu", "Add", "GlobalAveragePool", "activated"],
        4e-7,
    ),
    "t = Relu (x)  a = Conv (x, w)  b = Conv (a, w)  c = Add (b, t)  y = Add (c, a)": (
        ["activated", "conv", "conv+residual", "Add"],
        0,
    ),
    "a = Conv (x, w)  b = Sum (x, a)  y = Clip (b, zero, six)": (["conv+residual+relu6"], 0),
    "a = Conv (x, w)  b = Relu (a)  y = Sub (b, a)": (["conv", "activated", "Sub"], 0),
    "a = Conv (x, w)  y = Add (a, a)": (["conv", "Add"], 0),
    "a = Conv (x, w)  b = Sigmoid (a)  y = Mul (b, a)": (["conv+silu"], 4e-7),
    "a = Conv (x, w)  b = Sigmoid (x)  y = Mul (b, a)": (["conv", "activated", "Mul"], 4e-7),
    "a = Conv (x, w)  b = Add (a, three)  c = Clip (b, zero, six)  d = Mul (a, c)  y = Div (d, six)": (["conv+hardswish"], 4e-7),
    "a = Conv (x, w)  b = Add (a, three)  c = Clip (b, zero, six)  d = Div (c, six)  y = Mul (a, d)": (["conv+hardswish"], 4e-7),
    "d = Div (x, root)  e = Erf (d)  f = Add (e, one)  g = Mul (x, f)  y = Mul (g, half)": (["activated"], 4e-7),
    "h = Mul (x, half)  d = Div (x, root)  e = Erf (d)  f = Add (e, one)  y = Mul (h, f)": (["activated"], 4e-7),
    "d = Div (x, two)  e = Erf (d)  f = Add (e, one)  g = Mul (x, f)  y = Mul (g, half)": (["Div", "Erf", "Add", "Mul", "Mul"], 0),
    "p = Pow (x, three)  q = Mul (p, k)  s = Add (x, q)  u = Mul (s, r)  t = Tanh (u)  f = Add (t, one)  g = Mul (x, f)  y = Mul (g, half)": (
        ["activated"],
        1e-6,
    ),
    "a = Conv (x, w)  m = GlobalAveragePool (x)  y = Add (m, a)": (["conv", "Add", "GlobalAveragePool"], 4e-7),
    "m = GlobalAveragePool (x)  a = Conv (m, w)  b = Add (a, x)  y = Relu (b)": (["GlobalAveragePool", "conv", "Add", "activated"], 4e-7),
    "k2 = Mul (cc, cc)  k3 = Neg (k2)  y = Add (x, k3)": (["Add"], 0),
}


@pytest.mark.parametrize("body", CASES)
def test_patterns(body):
    wanted, eps = CASES[body]
    arrays = {**W, "cc": whole((C, 1, 1), 3), "v2": whole((C,), 4, 1, 5), "infinite": np.full(C if "Batch" in body else (C, 1, 1), np.float32("inf"))}
    numbers = {"zero": 0, "half": 0.5, "one": 1, "two": 2, "three": 3, "six": 6, "root": np.sqrt(2), "k": 0.044715, "r": np.sqrt(2 / np.pi)}
    model = network(X, Y, body, arrays | {name: np.float32(value) for name, value in numbers.items()})
    net, x = refconv.load(model, threads=1), whole((2, C, 5, 4), 5)
    assert same(model, net, x, eps)
    made = [call if call != "activation" else "activated" for call in calls(net)]
    made = ["convert" if call.kernel == "convert" else name for call, name in zip(net.schedule.calls, made, strict=True)]
    assert sorted(made) == sorted(wanted)


def test_a_sum_takes_the_memory_of_its_residual():
    """Where nobody reads it afterwards, and it is not what is convolved."""
    for body, shared in {
        "a = Conv (x, w)  b = Conv (a, w)  c = Add (b, a)  y = Relu (c)": False,
        "a = Conv (x, w)  b = Conv (a, w)  c = Conv (b, w)  y = Add (a, c)": True,
        "a = Conv (x, w)  b = Conv (a, w)  c = Conv (b, w)  d = Add (a, c)  y = Add (d, a)": False,
    }.items():
        model, x = network(X, Y, body, W), whole((2, C, 5, 4), 5)
        net = refconv.load(model, threads=1)
        assert same(model, net, x), body
        call = next(call for call in net.schedule.calls if call.call and len(call.sources) > 1)
        buffers = [net.schedule.tensors[name].buffer for name in (call.sources[1], call.out)]
        assert (buffers[0] == buffers[1]) == shared, body


def test_products():
    """MatMul and Gemm with constant matrices are products, whose bias, scale, residual and activation join them; others are not."""
    arrays = {"m": whole((6, 8), 1), "b": whole((8,), 2), "t": whole((5, 8), 3), "s": whole((8,), 4), "one": whole((1,), 5)}
    for body, wanted in {
        "y = MatMul (x, m)": ["product"],
        "a = MatMul (x, m)  b2 = Add (b, a)  c = Mul (b2, s)  y = Relu (c)": ["product+relu"],
        "y = Gemm <alpha = 2.0, beta = 3.0> (x, m, b)": ["product"],
        "y = Gemm <alpha = 3.0e38> (x, m)": ["Gemm"],
        "a = Gemm (x, m, one)  y = Gemm <transB = 1> (a, t)": ["product", "product"],
        "a = MatMul (x, m)  c = MatMul (x, m)  y = Add (a, c)": ["product", "product+residual"],
        "a = Transpose (x)  y = MatMul (a, x)": ["MatMul"],
        "y = Gemm <transA = 1> (x, n)": ["Gemm"],
    }.items():
        model = network("float[4,6] x", "float[p,q] y", body, {**arrays, "n": whole((4, 3), 6)})
        net, x = refconv.load(model, threads=1), whole((4, 6), 7)
        assert same(model, net, x), body
        assert calls(net) == wanted, body


WRITTEN_OUT = """
    m = ReduceMean <axes = [-1]> (x)
    d = Sub (x, m)
    p = Pow (d, two)
    v = ReduceMean <axes = [-1]> (p)
    e = Add (v, eps)
    s = Sqrt (e)
    n = Div (d, s)
    g = Mul (n, scale)
    y = Add (g, bias)
"""


def test_a_layer_norm_written_out():
    arrays = {"two": np.float32(2), "eps": np.float32(1e-5), "scale": whole((6,), 1), "bias": whole((6,), 2)}
    x = whole((2, 5, 6), 3)
    model = network("float[2,5,6] x", "float[a,b,c] y", WRITTEN_OUT, arrays)
    net = refconv.load(model)
    assert same(model, net, x, 1e-6)
    assert calls(net) == ["LayerNormalization"]
    for change in ({"axes = [-1]> (p)": "axes = [1]> (p)"}, {"Pow (d, two)": "Pow (x, two)"}, {"Div (d, s)": "Div (s, d)"}):
        ((old, new),) = change.items()
        model = network("float[2,5,6] x", "float[a,b,c] y", WRITTEN_OUT.replace(old, new), arrays)
        net = refconv.load(model)
        assert "LayerNormalization" not in calls(net)
        assert same(model, net, x, 1e-6)


def microsoft(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, inputs, outputs, domain="com.microsoft", **attributes)


FUSED = {
    # what onnxruntime makes of a pattern: (nodes, the pattern in operators of onnx, calls)
    "FusedConv": (
        microsoft("FusedConv", ["x", "w", "v", "x"], activation="Relu"),
        "a = Conv (x, w, v)  b = Add (a, x)  y = Relu (b)",
        ["conv+residual+relu"],
    ),
    "FusedConv with a slope": (
        microsoft("FusedConv", ["x", "w"], activation="LeakyRelu", activation_params=[0.5]),
        "a = Conv (x, w)  y = LeakyRelu <alpha = 0.5> (a)",
        ["conv", "LeakyRelu"],
    ),
    "FusedGemm": (
        microsoft("FusedGemm", ["x", "m", "v"], activation="Relu", transB=1),
        "a = Gemm <transB = 1> (x, m, v)  y = Relu (a)",
        ["product+relu"],
    ),
    "BiasGelu": (microsoft("BiasGelu", ["x", "v"]), "a = Add (x, v)  y = Gelu (a)", ["Add", "activation"]),
    "Gelu": (microsoft("Gelu", ["x"]), "y = Gelu (x)", ["activation"]),
    "FastGelu": (microsoft("FastGelu", ["x"]), 'y = Gelu <approximate = "tanh"> (x)', ["activation"]),
    "SkipLayerNormalization": (
        microsoft("SkipLayerNormalization", ["x", "x", "s", "v", "v"], epsilon=1e-5),
        "a = Add (x, x)  b = Add (a, v)  y = LayerNormalization (b, s, v)",
        ["Add", "Add", "LayerNormalization"],
    ),
}


@pytest.mark.parametrize("case", FUSED)
def test_what_onnxruntime_makes(case):
    node, body, wanted = FUSED[case]
    arrays = {**W, "m": whole((C, C), 3), "s": whole((C,), 4, 1, 4)}
    sizes, out = ("float[2,8,5,4] x", Y) if "Conv" in case else ("float[3,8] x", "float[a,b] y")
    pattern = network(sizes, out, body, arrays, opset=20)
    fused = onnx.ModelProto.FromString(pattern.SerializeToString())
    del fused.graph.node[:]
    fused.graph.node.append(node)
    x = whole((2, C, 5, 4) if "Conv" in case else (3, C), 5)
    net = refconv.load(fused, threads=1)
    assert same(pattern, net, x, 4e-7)
    assert calls(net) == wanted


def test_quantised_weights_become_floats():
    """QDQ form: weights are dequantised once; what an activation loses is kept."""
    body = """
        q = QuantizeLinear (x, sx, zx)  d = DequantizeLinear (q, sx, zx)
        f = DequantizeLinear <axis = 0> (wq, sw, zw)  c = Conv (d, f, v)  y = Relu (c)
    """
    arrays = {"sx": np.float32(0.25), "zx": np.uint8(128), "wq": whole((C, C, 1, 1), 1).astype(np.int8), "sw": np.full(C, 0.5, np.float32)}
    model = network(X, Y, body, {**arrays, "zw": np.zeros(C, np.int8), "v": W["v"]}, opset=21)
    net, x = refconv.load(model, threads=1), whole((2, C, 5, 4), 5) / 3
    assert same(model, net, x.astype(np.float32))
    assert calls(net)[-1] == "conv+relu"


def test_a_branch_that_sizes_decide():
    """torch's squeeze(0) of a value of unknown batch: an If on its first size."""
    then = helper.make_graph([helper.make_node("Squeeze", ["r", "zero"], ["t"])], "then", [], [helper.make_tensor_value_info("t", 1, None)])
    other = helper.make_graph([helper.make_node("Identity", ["r"], ["e"])], "else", [], [helper.make_tensor_value_info("e", 1, None)])
    model = network("float[N,8,5,4] x", Y, "r = Relu (x)  s = Shape (r)  n = Gather (s, first)  c = Equal (n, one)  y = Neg (r)", {})
    for name, value in (("zero", [0]), ("first", 0), ("one", 1)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    model.graph.node.pop()
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    net = refconv.load(model)
    for n in (1, 3, 1):
        x = whole((n, C, 5, 4), n)
        assert np.array_equal(net(x), np.maximum(x[0] if n == 1 else x, 0))
