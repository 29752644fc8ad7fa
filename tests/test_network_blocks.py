"""Blocks in networks: which are found and which are not, that they compute the same, and what their schedule says."""

import itertools

import numpy as np
import pytest
from networks import by_onnx, network, whole

import refconv
from refconv.elements import element
from refconv.graph.lower_blocks import pays
from refconv.host import Target
from refconv.plan import schedule_of
from refconv.schedule import subject_of
from refconv.tiling.measured import Measured, keep

C, HIDDEN = 8, 16
X, Y = "float[N,8,H,W] x", "float[a,b,c,d] y"
ARRAYS = {
    "up": whole((HIDDEN, C, 1, 1), 1),
    "b16": whole((HIDDEN,), 2),
    "down": whole((C, HIDDEN, 1, 1), 3),
    "b8": whole((C,), 4),
    "wide": whole((HIDDEN, C, 3, 3), 5),
    "dw": whole((HIDDEN, 1, 3, 3), 6),
    "part": whole((4, 4, 3, 3), 7),
    "first": whole((C, C, 3, 3), 8),
    "seven": whole((C, 1, 7, 7), 9),
    "ln": whole((C,), 10, 1),
    "m1": whole((C, HIDDEN), 11),
    "m2": whole((HIDDEN, C), 12),
    "gamma": whole((C, 1, 1), 13, 1),
    "reduce": whole((4, HIDDEN, 1, 1), 14),
    "excite": whole((HIDDEN, 4, 1, 1), 15),
    "var": whole((HIDDEN,), 17, 1),
    "narrow": whole((1, HIDDEN, 1, 1), 18),
    "dense": whole((HIDDEN, HIDDEN, 3, 3), 24),
    "dw8": whole((C, 1, 3, 3), 20),
    "eight": whole((C, C, 1, 1), 21),
    "reduce8": whole((4, C, 1, 1), 22),
    "excite8": whole((C, 4, 1, 1), 23),
    "blur": np.tile(np.float32(np.outer([1, 2, 1], [1, 2, 1]) / 16), (2 * C, 1, 1, 1)),
    "up2": whole((HIDDEN, 2 * C, 1, 1), 19, -1, 2),
    "tiny": np.float32(1e-3),
    "one": np.float32(1),
    "ones": np.float32([1]),
}
INTEGERS = {"parts": [4, 4], "zero": [0], "four": [4], "end": [1 << 62], "axis": [1], "border": [0, 0, 1, 1] * 2, "corner": [0, 0, 0, 1, 0, 0, 1, 1]}
ARRAYS |= {name: np.int64(values) for name, values in INTEGERS.items()}

PROJECTED = "r = Relu (e)  p = Conv (r, down, b8)  y = Add (p, x)"
FFN = f"e = Conv (x, up, b16)  {PROJECTED}"
FUSED_MBCONV = f"e = Conv <pads = [1, 1, 1, 1]> (x, wide)  {PROJECTED}"
CONV_FIRST = f"c = Conv <pads = [1, 1, 1, 1]> (x, first)  e = Conv (c, up)  {PROJECTED}"
FASTER_NET = f"""
    f, g = Split <axis = 1> (x, parts)
    c = Conv <pads = [1, 1, 1, 1]> (f, part)
    j = Concat <axis = 1> (c, g)
    e = Conv (j, up, b16)
    {PROJECTED}
"""
MBCONV = """
    e = Conv (x, up, b16)
    r = Relu (e)
    d = Conv <pads = [1, 1, 1, 1], group = 16> (r, dw)
    s = Relu (d)
    p = Conv (s, down)
    y = Add (x, p)
"""
GATED = """
    e = Conv (x, up, b16)
    r = Relu (e)
    d = Conv <pads = [1, 1, 1, 1], group = 16> (r, dw)
    s = Relu (d)
    m = GlobalAveragePool (s)
    g1 = Conv (m, reduce)
    g2 = Relu (g1)
    g3 = Conv (g2, excite)
    g4 = Sigmoid (g3)
    q = Mul (s, g4)
    p = Conv (q, down)
    y = Add (p, x)
"""
CONVNEXT = """
    c = Conv <pads = [3, 3, 3, 3], group = 8> (x, seven)
    t = Transpose <perm = [0, 2, 3, 1]> (c)
    n = LayerNormalization <epsilon = 1e-6> (t, ln, b8)
    e = MatMul (n, m1)
    a = Add (e, b16)
    r = Relu (a)
    p = MatMul (r, m2)
    u = Transpose <perm = [0, 3, 1, 2]> (p)
    s = Mul (u, gamma)
    y = Add (s, x)
"""
RESPONSE = """
    g = ReduceL2 <axes = [1, 2]> (r)
    v = ReduceMean <axes = [-1]> (g)
    w = Add (v, tiny)
    o = Div (g, w)
    k = Mul (r, o)
    l = Mul (var, k)
    m = Add (b16, l)
    h = Add (r, m)
"""
CONVNEXT_V2 = CONVNEXT[: CONVNEXT.index("p = MatMul")] + RESPONSE + CONVNEXT[CONVNEXT.index("p = MatMul") :].replace("(r, m2)", "(h, m2)")
CONVNEXT_V2 = CONVNEXT_V2.replace("s = Mul (u, gamma)", "s = Identity (u)")
BODIES = {
    "FFNBlock": FFN,
    "FusedMBConvBlock": FUSED_MBCONV,
    "MBConvBlock": MBCONV,
    "MBConvBlock gated": GATED,
    "ConvFirstBlock": CONV_FIRST,
    "FasterNetBlock": FASTER_NET,
    "ConvNeXtBlock": CONVNEXT,
    "ConvNeXtV2Block": CONVNEXT_V2,
}
COMPILED = ("FFNBlock", "MBConvBlock", "ConvNeXtBlock")
"""Whose kernels run here; of the others the record that was found is computed by its definition, for which nothing is compiled."""
ROUNDING = ("Sigmoid", "LayerNormalization", "BatchNormalization", "ReduceL2")
"""What makes other numbers than whole ones: the sums of some ten layers are rounded then, each by an eps of the largest output at most."""


def model(body, inputs=X, outputs=Y, **arrays):
    return network(inputs, outputs, body, {**ARRAYS, **arrays})


def block_calls(net, shape=(2, C, 7, 5)):
    """The calls of blocks for an input of that shape; nothing is run."""
    return [call for call in net.schedule_for(shape).calls if call.block]


def found(net, shape=(2, C, 7, 5)):
    """What a network's blocks are called, with what has joined them."""
    return [call.op for call in block_calls(net, shape)]


def same(made, expected, body=""):
    if any(op in body for op in ROUNDING):
        return np.abs(made - expected).max() <= 10 * np.finfo(np.float32).eps * np.abs(expected).max()
    return np.array_equal(made, expected)


def computed(net, x):
    """What a network makes of x: by its calls, or where it is a block whose kernel is not to be compiled, by the definition of its record."""
    blocks = block_calls(net, x.shape)
    if blocks[0].op.split()[0] in COMPILED:
        return net(x)
    assert len(net.schedule.calls) == len(blocks)
    for block in blocks:
        x = refconv.reference.block(x, block.step.attributes["record"])
    return x


@pytest.mark.parametrize("name", BODIES)
def test_each_block(name):
    """One call instead of all; it computes what the layers do one by one, and what onnx says."""
    body, x = BODIES[name], whole((2, C, 7, 5), 20)
    fused, layers = (refconv.load(model(body), threads=1, fuse=fuse) for fuse in ("always", False))
    assert found(fused) == [name.split()[0]]
    assert len(fused.schedule.calls) == 1
    assert found(layers) == []
    assert len(layers.schedule.calls) > 1
    assert fused.schedule.macs == layers.schedule.macs
    expected = by_onnx(model(body), x=x)[0]
    assert len(np.unique(expected)) > 50
    assert same(computed(fused, x), expected, body)
    if name.split()[0] in COMPILED:
        assert same(layers(x), expected, body)


@pytest.mark.parametrize("name", BODIES)
def test_what_lies_within_is_nobody_elses(name):
    """No block where a tensor within is an output of the network, or another step takes it; of the residual's other summand, a block without one."""
    kind, made = name.split()[0], [output for node in model(BODIES[name]).graph.node for output in node.output]
    for inner in made[:-1]:
        for body, output in ((BODIES[name], inner), (f"{BODIES[name]}  other = Neg ({inner})", "other")):
            net = refconv.load(model(body, outputs=f"{Y}, float[p,q,r,s] {output}"), threads=1, fuse="always")
            for call in block_calls(net):
                record = call.step.attributes["record"]
                assert type(record).__name__ != kind or (call.out == inner and not record.residual), (inner, output)


DOWN = """
    c = Conv <pads = [1, 1, 1, 1]> (x, first)
    j = Concat <axis = 1> (c, x)
    i = Pad <mode = "reflect"> (j, border)
    b = Conv <group = 16, strides = [2, 2]> (i, blur)
    e = Conv (b, up2)
    r = Relu (e)
    y = Conv (r, down)
"""
SEPARABLE = """
    d = Conv <pads = [1, 1, 1, 1], group = 8> (x, dw8)
    s = Relu (d)
    p = Conv (s, eight)
    y = Add (x, p)
"""
GATED_SEPARABLE = f"i = Identity (x)  {GATED[GATED.index('d = ') :]}".replace("(r, dw)", "(x, dw8)").replace("group = 16", "group = 8")
GATED_SEPARABLE = GATED_SEPARABLE.replace("reduce", "reduce8").replace("excite", "excite8").replace("down", "eight")
CHAIN = """
    d = Conv <pads = [1, 1, 1, 1], group = 8> (x, dw8)
    s = Relu (d)
    e = Conv (s, up)
    r = Relu (e)
    f = Conv <pads = [1, 1, 1, 1], group = 16, strides = [2, 2]> (r, dw)
    t = Relu (f)
    p = Conv (t, down)
    y = Relu (p)
"""
MORE = {
    # the same written in another way, with something else around it, of stride 2: what is found
    MBCONV.replace("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"'): ["MBConvBlock"],
    MBCONV.replace("group = 16>", "group = 16, strides = [2, 2]>").replace("Add (x, p)", "Identity (p)"): ["MBConvBlock"],
    MBCONV.replace("pads = [1, 1, 1, 1]", "pads = [2, 0, 0, 2]"): ["MBConvBlock"],
    MBCONV.replace("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER", strides = [2, 2]').replace("Add (x, p)", "Identity (p)"): ["MBConvBlock"],
    MBCONV.replace("pads = [1, 1, 1, 1]", "strides = [2, 2]")
    .replace("(r, dw)", "(i, dw)")
    .replace("d = ", "i = Pad (r, corner)  d = ")
    .replace("Add (x, p)", "Identity (p)"): ["MBConvBlock"],
    MBCONV.replace("pads = [1, 1, 1, 1]", "pads = [0, 0, 1, 1], strides = [1, 2]").replace("Add (x, p)", "Identity (p)"): ["MBConvBlock"],
    SEPARABLE: ["SeparableBlock"],
    SEPARABLE.replace("s = Relu (d)", "s = Identity (d)"): ["SeparableBlock"],
    GATED_SEPARABLE: ["SeparableBlock"],
    CHAIN: ["SeparableBlock"] * 2,
    MBCONV.replace("y = Add (x, p)", "n = Neg (x)  z = Add (n, p)  y = Relu (z)"): ["MBConvBlock + Add + relu"],
    MBCONV.replace("y = Add (x, p)", "z = Sum (x, p)  y = Relu (z)"): ["MBConvBlock + relu"],
    MBCONV.replace("(r, dw)", "(i, dw)").replace("d = ", "i = Identity (r)  d = "): ["MBConvBlock"],
    GATED.replace("GlobalAveragePool (s)", "ReduceMean <axes = [2, 3]> (s)"): ["MBConvBlock"],
    GATED.replace("GlobalAveragePool (s)", "ReduceMean <axes = [-1, 2]> (s)").replace("(s, g4)", "(g4, s)"): ["MBConvBlock"],
    FASTER_NET.replace("f, g = Split <axis = 1> (x, parts)", "f = Slice (x, zero, four, axis)  g = Slice (x, four, end, axis)"): ["FasterNetBlock"],
    FASTER_NET.replace("e = Conv (j, up, b16)", "i = Conv (j, up)  e = BatchNormalization (i, b16, b16, b16, var)"): ["FasterNetBlock"],
    DOWN: ["ConvFirstBlock"],
    CONVNEXT_V2.replace("m = Add (b16, l)", "i = Mul (l, ones)  m = Add (b16, i)"): ["ConvNeXtV2Block"],
    CONVNEXT_V2.replace("k = Mul (r, o)", "")
    .replace("l = Mul (var, k)", "l = Mul (var, o)")
    .replace("m = Add (b16, l)", "m = Add (one, l)")
    .replace("h = Add (r, m)", "h = Mul (m, r)"): ["ConvNeXtV2Block"],
    CONVNEXT.replace("(t, ln, b8)", "(t, ln)").replace("Mul (u, gamma)", "Identity (u)"): ["ConvNeXtBlock"],
    "  ".join(f"e{i} = Conv (y{i}, up)  r{i} = Relu (e{i})  p{i} = Conv (r{i}, down)  y{i + 1} = Add (p{i}, y{i})" for i in range(3))
    .replace("y0", "x")
    .replace("y3", "y"): ["FFNBlock"] * 3,
    "t = Transpose <perm = [0, 2, 3, 1]> (x)  e = MatMul (t, m1)  r = Relu (e)  p = MatMul (r, m2)  y = Add (t, p)": ["FFNBlock"],
}


@pytest.mark.parametrize("body", MORE)
def test_other_ways(body):
    net, x = refconv.load(model(body), threads=1, fuse="always"), whole((2, C, 7, 5), 20)
    assert found(net) == MORE[body]
    expected = by_onnx(model(body), x=x)[0]
    assert same(computed(net, x), expected, body)


NOT = {
    # what is not a block: (body, what of it is another)
    "a hidden layer of another activation": (MBCONV, "s = Relu", "s = HardSwish"),
    "no activation": (FFN, "r = Relu", "r = Identity"),
    "padding that moves the map": (CONVNEXT, "pads = [3, 3, 3, 3]", "pads = [4, 4, 2, 2]"),
    "padding as wide as the window": (MBCONV, "pads = [1, 1, 1, 1]", "strides = [2, 2], pads = [3, 0, 0, 0]"),
    "a dense convolution of the hidden layer": (MBCONV, "group = 16> (r, dw)", "group = 1> (r, dense)"),
    "a dilated window": (FUSED_MBCONV, "pads = [1, 1, 1, 1]", "pads = [2, 2, 2, 2], dilations = [2, 2]"),
    "a stride of 3": (MBCONV, "group = 16", "group = 16, strides = [3, 3]"),
    "a pool over rows alone": (GATED, "GlobalAveragePool (s)", "ReduceMean <axes = [2]> (s)"),
    "gates of another tensor": (GATED, "GlobalAveragePool (s)", "GlobalAveragePool (r)"),
    "gates of two tensors": (GATED, "Mul (s, g4)", "Mul (r, g4)"),
    "another part convolved": (FASTER_NET, "Conv <pads = [1, 1, 1, 1]> (f", "Conv <pads = [1, 1, 1, 1]> (g"),
    "parts exchanged": (FASTER_NET, "Concat <axis = 1> (c, g)", "Concat <axis = 1> (g, c)"),
    "another border": (DOWN, "border", "wider"),
    "another filter": (DOWN, "blur", "other"),
    "a norm over columns": (CONVNEXT, "perm = [0, 2, 3, 1]", "perm = [0, 3, 1, 2]"),
    "a norm over rows alone": (CONVNEXT_V2, "axes = [1, 2]", "axes = [1]"),
    "a mean over pixels": (CONVNEXT_V2, "axes = [-1]", "axes = [1]"),
    "norms of another tensor": (CONVNEXT_V2, "g = ReduceL2 <axes = [1, 2]> (r)", "g = ReduceL2 <axes = [1, 2]> (a)"),
    "a transposed map": (CONVNEXT, "perm = [0, 3, 1, 2]", "perm = [0, 3, 2, 1]"),
}


@pytest.mark.parametrize("case", NOT)
def test_what_is_no_block(case):
    """What differs in anything that the record says is not taken for one."""
    body, old, new = NOT[case]
    kind = next((name for name, other in BODIES.items() if other == body), "ConvFirstBlock").split()[0]
    assert old in body
    changed = body.replace(old, new, 1)
    if "strides" in new:  # the map has other sizes than x
        changed = changed.replace("Add (x, p)", "Identity (p)")
    net = refconv.load(model(changed, wider=2 * ARRAYS["border"], other=np.roll(ARRAYS["blur"], 1, 2)), threads=1, fuse="always")
    assert kind not in [name.split()[0] for name in found(net, (2, C, 8, 8))]


def test_a_feed_forward_network_of_rows():
    """Of tensors that are no maps: any number of axes before the channels, in one row of pixels; a residual that is not the input is added after."""
    body = "e = MatMul (x, m1)  a = Add (e, b16)  r = Relu (a)  p = MatMul (r, m2)  y = Add (p, z)"
    for lead, z in (((5,), "x"), ((2, 3, 4), "x"), ((2, 5), "z"), ((5,), "z")):
        text = f"float[{','.join('abcd'[: len(lead)])},8]"
        graph = model(body.replace("z)", f"{z})"), f"{text} x" + f", {text} z" * (z == "z"), Y[:6] + "q,r,s,t"[: 2 * len(lead) + 1] + "] y")
        arrays = {name: whole((*lead, C), i) for i, name in enumerate(dict.fromkeys(("x", z)), 30)}
        net = refconv.load(graph, threads=1, fuse="always")
        made = net(**arrays)
        assert np.array_equal(made, by_onnx(graph, **arrays)[0])
        assert [call.op for call in net.schedule.calls] == ["FFNBlock" if z == "x" else "FFNBlock + Add"]


def test_where_the_kernel_cannot_run():
    """The layers run one by one: a sum that is larger than the block's output, an empty batch; and they say what is wrong with an input."""
    body = "e = Conv (x, up)  r = Relu (e)  d = Conv <pads = [1, 1, 1, 1], group = 16> (r, dw)  s = Relu (d)  p = Conv (s, narrow)  y = Add (p, x)"
    x, net = whole((2, C, 7, 5), 20), refconv.load(model(body), threads=1, fuse="always")
    assert found(net) == []
    assert np.array_equal(net(x), by_onnx(model(body), x=x)[0])
    assert refconv.load(model(MBCONV))(x[:0]).shape == x[:0].shape
    said = []
    for fuse in ("always", False):
        open_channels = refconv.load(model(MBCONV, "float[N,K,H,W] x"), fuse=fuse)
        with pytest.raises(ValueError, match=r"\(tensor r\) of x \[2x4x7x5\]: up \[16x8x1x1\]") as error:
            open_channels(x[:, :4])
        said.append(str(error.value))
    assert said[0] == said[1]
    with pytest.raises(ValueError, match=r"fuse = 1: must be True, False or always"):
        refconv.load(model(MBCONV), fuse=1)


def test_what_a_block_keeps_between_its_kernels():
    """The hidden layer and the gates of squeeze-excitation lie in the arena beside input and output; the workspace of all kernels is counted."""
    shape = (2, C, 7, 5)
    schedule = refconv.load(model(GATED), threads=1, fuse="always").schedule_for(shape)
    (call,) = schedule.calls
    stored, block = element(np.float32), call.step.attributes["record"]
    assert call.block == schedule_of(block, (2, 7, 5), stored, 1)
    assert call.kernel == "mbconv + squeeze_excite + gated"
    assert set(call.between) == {"hidden_layer", "gates"}
    names = (*call.sources, call.out, *call.between.values())
    places = [(schedule.offsets[name], schedule.tensors[name].nbytes) for name in names]
    assert [size for _, size in places] == [4 * 2 * 35 * size for size in (C, C, HIDDEN)] + [4 * 2 * HIDDEN]
    assert all(a + size <= b or b + other <= a for (a, size), (b, other) in itertools.combinations(places, 2))
    assert schedule.workspace_bytes == 4 * sum(buffer.elements for key, buffer in call.block.buffers.items() if isinstance(key, tuple))
    assert schedule.macs == block.macs(2, 7, 5)


def test_where_it_pays():
    """Where a layer's input and output, the block's own left out, do not fit the L2: an MBConv's convolution takes and makes 16 floats a pixel; an
    FFN has 16 floats between its layers; a separable convolution meets 24, its own input counted twice; a norm, and gates beside a depthwise
    convolution, are passes of their own, which take longer wherever they are."""
    bodies = MBCONV, FFN, SEPARABLE, CONVNEXT, GATED
    records = [block_calls(refconv.load(model(body), fuse="always"))[0].step.attributes["record"] for body in bodies]
    target, stored = Target(vector_bytes=64, registers=32, l1_bytes=1 << 10, l2_bytes=70 * 4 * 32), element(np.float32)
    for record, floats in zip(records, (32, 16, 24, 0, 0), strict=True):
        fits = target._replace(l2_bytes=70 * 4 * floats)
        assert pays(record, (1, 10, 7), stored, fits) == (floats == 0)
        assert pays(record, (2, 10, 7), stored, fits)
        assert pays(record, (1, 10, 7), stored, fits._replace(l2_bytes=fits.l2_bytes - 1))
    assert found(refconv.load(model(MBCONV))) == [], "its maps lie in the L2"
    assert found(refconv.load(model(CONVNEXT))) == ["ConvNeXtBlock"]


def test_fewer_bytes_at_the_peak():
    """What an FFN's hidden layer would take is never there."""
    fused, layers = (refconv.load(model(FFN), threads=1, fuse=fuse).schedule_for((1, C, 256, 256)) for fuse in ("always", False))
    assert layers.arena_bytes == 4 * 256 * 256 * (C + HIDDEN), "the sum lies where x did"
    assert fused.arena_bytes == 4 * 256 * 256 * 2 * C
    assert fused.peak_bytes < layers.peak_bytes


def test_a_tuned_tiling(tmp_path, monkeypatch):
    """A block takes what has been measured for it, as fused_block does."""
    monkeypatch.setenv("REFCONV_TUNED", "1")
    monkeypatch.setattr("refconv.tiling.measured.folder", lambda: tmp_path)
    shape, net = (2, C, 70, 50), refconv.load(model(FFN), threads=1, fuse="always")
    (call,) = block_calls(net, shape)
    about = subject_of(call.block, 1)
    other = about.rule._replace(pixels=about.rule.pixels // 2)
    keep(about, Measured(other, 0.5, 2, True))
    assert call.block.calls[0].tiling == about.rule
    (call,) = block_calls(refconv.load(model(FFN), threads=1, fuse="always"), shape)
    assert call.block.calls[0].tiling == other


def test_weights_that_are_not_finite():
    """Padding is zeros that are multiplied, in a block as in a layer: infinite weights over it make NaN."""
    arrays = {"dw": ARRAYS["dw"].copy()}
    arrays["dw"][3, 0, 0, 0] = np.inf
    x = whole((2, C, 7, 5), 20)
    fused, layers = (refconv.load(model(MBCONV, **arrays), threads=1, fuse=fuse)(x) for fuse in ("always", False))
    assert np.isnan(layers[:, :, 0]).all()
    assert np.array_equal(np.isnan(fused), np.isnan(layers))


def test_padding_that_sizes_decide():
    """TensorFlow's SAME at stride 2: other padding on even maps than on odd ones, a block on either; told by load where the file has the sizes."""
    body = MBCONV.replace("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER", strides = [2, 2]').replace("Add (x, p)", "Identity (p)")
    net = refconv.load(model(body), threads=1, fuse="always")
    for size, pads in ((6, (0, 0, 1, 1)), (7, None)):
        (call,) = block_calls(net, (1, C, size, size))
        assert call.step.attributes["record"].pads == pads
        x = whole((1, C, size, size), 20)
        assert np.array_equal(net(x), by_onnx(model(body), x=x)[0])
    fixed = refconv.load(model(body, inputs="float[1,8,6,6] x"), threads=1, fuse="always")
    assert found(fixed, (1, C, 6, 6)) == ["MBConvBlock"]
