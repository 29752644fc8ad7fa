"""Pooling, gates and norms by kernels: exact on whole numbers, compiled as defined, and in networks wherever tensors lie as the kernels need."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import by_onnx, network, whole
from test_instructions import both

import refconv
from refconv.kernels.gate_map import gate_map
from refconv.kernels.map_mean import map_mean
from refconv.kernels.pool_windows import pool_windows
from refconv.operators.windows import average_pool, axes_of, max_pool
from refconv.ops.pools import pooler
from refconv.problem.pools import GatedMap, LayerNorm, MapMean, Mean, Pool

CHANNELS = st.sampled_from([1, 3, 8, 16, 17, 40, 129])
DTYPE = st.sampled_from([np.float32, np.float64])


def pooled(x, shape, problem):
    """A new array of that shape, pooled from an array that lies channels-last."""
    out = np.full(shape, 9, x.dtype)
    pooler([x.reshape(-1)], out.reshape(-1), problem)()
    return out


@given(st.integers(1, 2), st.integers(1, 40), CHANNELS, DTYPE, st.integers(0, 99))
def test_a_mean_of_whole_numbers_is_rounded_once(n, pixels, channels, dtype, seed):
    x = whole((n, pixels, channels), seed).astype(dtype)
    np.testing.assert_array_equal(pooled(x, (n, channels), MapMean(n, pixels, channels)), x.mean(axis=1))


def test_the_order_of_a_mean_is_that_of_the_definition():
    """In the last bit, of numbers whose sums are rounded: pixel i to sum i % 4 (the last to the last), 0 + 2 and 1 + 3, then both."""
    x = np.random.default_rng(1).standard_normal((1, 23, 40)).astype(np.float32)
    sums = np.zeros((4, 40), np.float32)
    for i in range(20):
        sums[i % 4] += x[0, i]
    sums[1:] += x[0, 20:]
    expected = ((sums[0] + sums[2]) + (sums[1] + sums[3])) / np.float32(23)
    np.testing.assert_array_equal(pooled(x, (1, 40), MapMean(1, 23, 40))[0], expected)


@st.composite
def windows(draw):
    """(sizes, attributes of ONNX) of windows on a map; some lie in the padding altogether."""
    number = lambda low, high: st.lists(st.integers(low, high), min_size=2, max_size=2)
    sizes, kernel = draw(number(1, 7)), draw(number(1, 4))
    attributes = {"strides": draw(number(1, 3)), "pads": draw(number(0, 4)) + draw(number(0, 4))}
    attributes |= draw(st.sampled_from([{}, {"ceil_mode": 1}, {"auto_pad": b"SAME_LOWER"}]))
    axes = axes_of(sizes, kernel, **attributes)
    assume(min(axis.count for axis in axes) > 0)
    return sizes, attributes | {"kernel_shape": kernel}, axes


@settings(max_examples=200)
@given(windows(), st.integers(1, 2), CHANNELS, DTYPE, st.sampled_from([None, 0, 1]), st.integers(0, 99))
def test_windows_are_pooled_as_numpy_pools_them(drawn, n, channels, dtype, padded, seed):
    """Of the largest with NaN, which wins, and with infinities."""
    sizes, attributes, axes = drawn
    x = whole((n, *sizes, channels), seed).astype(dtype)
    if padded is None:
        x[x == 3], x[x == -3], x[x == 2] = np.nan, -np.inf, np.inf
    maps = x.transpose(0, 3, 1, 2)
    with np.errstate(invalid="ignore"):
        expected = max_pool(maps, **attributes) if padded is None else average_pool(maps, **attributes, count_include_pad=padded)
    problem = Pool(n, channels, *axes, None if padded is None else Mean(padded))
    made = pooled(x, (n, axes[0].count, axes[1].count, channels), problem)
    np.testing.assert_array_equal(made, expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("channels", [3, 40, 130])
def test_compiled_kernels_are_their_definition(channels):
    axes = axes_of((5, 4), (3, 3), (2, 2), (1, 1, 1, 1))
    for dtype in (np.float32, np.float64):
        x = whole((2, 5, 4, channels), channels).astype(dtype).reshape(-1)
        both(map_mean, [x, np.zeros(2 * channels, dtype)], MapMean(2, 20, channels))
        both(gate_map, [x, whole(2 * channels, 1).astype(dtype), np.zeros_like(x)], GatedMap(2, 20, channels))
        x[::7] = np.nan
        for mean in (None, Mean(0)):
            both(pool_windows, [x, np.zeros(2 * 3 * 2 * channels, dtype)], Pool(2, channels, *axes, mean))


@given(st.integers(1, 9), CHANNELS, DTYPE, st.booleans(), st.booleans(), st.integers(0, 99))
def test_a_norm_is_numpys(pixels, channels, dtype, biased, in_place, seed):
    """Pixels of which four go together, and those that are left; also where the result takes the place of the input."""
    rng = np.random.default_rng(seed)
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((pixels, channels), channels, channels if biased else 0))
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=1, keepdims=True)
    expected = centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-5) * weight + (bias if biased else 0)
    out = x.reshape(-1) if in_place else np.full(x.size, 9, dtype)
    pooler([x.reshape(-1), weight, bias], out, LayerNorm(pixels, channels, 1e-5))()
    np.testing.assert_allclose(out.reshape(x.shape), expected, rtol=0, atol=40 * np.finfo(dtype).eps * max(1, np.abs(expected).max()))


W = {"w": whole((8, 8, 1, 1), 1), "spatial": np.array([-1, 2]), "within": np.array([1, 2])}
BY_KERNEL = {
    "y = GlobalAveragePool (a)": "float[a,b,c,d] y",
    "y = ReduceMean (a, spatial)": "float[a,b,c,d] y",
    "y = ReduceMean <keepdims = 0> (a, spatial)": "float[a,b] y",
    "t = Transpose <perm = [0, 2, 3, 1]> (a)  y = ReduceMean (t, within)": "float[a,b,c,d] y",
    "y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (a)": "float[a,b,c,d] y",
    "y = AveragePool <kernel_shape = [2, 3], ceil_mode = 1, strides = [2, 2], count_include_pad = 1, pads = [0, 1, 0, 1]> (a)": "float[a,b,c,d] y",
}
BY_NUMPY = {
    "y = GlobalAveragePool (x)": "float[a,b,c,d] y",  # which lies as it was given
    "t = Transpose <perm = [0, 2, 3, 1]> (a)  y = ReduceMean (t, spatial)": "float[a,b,c,d] y",
    "y = ReduceMean <keepdims = 0> (a)": "float y",
    "y = MaxPool <kernel_shape = [2, 2], dilations = [2, 1]> (a)": "float[a,b,c,d] y",
    "b, i = MaxPool <kernel_shape = [2, 2]> (a)  y = Mul (b, b)": "float[a,b,c,d] y",
}


OTHERS = {
    "g = GlobalAveragePool (a)  y = Mul (a, g)": ("scaled", True),
    "g = GlobalAveragePool (a)  y = Mul (g, a)": ("scaled", True),
    "g = ReduceMax <axes = [1]> (a)  y = Mul (a, g)": ("scaled", False),  # of pixels
    "y = Mul (a, a)": ("scaled", False),
    "t = Transpose <perm = [0, 2, 3, 1]> (a)  y = LayerNormalization (t, scale, shift)": ("normed", True),
    "t = Transpose <perm = [0, 2, 3, 1]> (a)  y = LayerNormalization <axis = 3, epsilon = 0.1> (t, scale)": ("normed", True),
    "y = LayerNormalization (a, last)": ("normed", False),  # whose last axis is not innermost
    "t = Transpose <perm = [0, 2, 3, 1]> (a)  y = LayerNormalization <axis = 2> (t, scale)": ("normed", False),
}


@pytest.mark.parametrize("body", OTHERS)
def test_networks_gate_and_normalise_by_kernels(body):
    """Maps that lie channels-last by one number for each channel, and over their channels; nothing else."""
    kernel, there = OTHERS[body]
    arrays = {**W, "scale": whole(8, 1), "shift": whole(8, 2), "last": whole(6, 3)}
    model = network("float[2,8,5,6] x", "float[a,b,c,d] y", f"a = Conv (x, w)  {body}", arrays, opset=17)
    x, net = whole((2, 8, 5, 6)), refconv.load(model, threads=1)
    expected = by_onnx(model, x=x)[0]
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    assert (kernel in [call.kernel for call in net.schedule.calls]) == there


@pytest.mark.parametrize(("body", "made"), [*BY_KERNEL.items(), *BY_NUMPY.items()])
def test_networks_pool_by_kernels_what_lies_channels_last(body, made):
    """Beside a convolution, whose output lies so."""
    first = "" if "(x)" in body else "a = Conv (x, w)"
    model = network("float[2,8,5,6] x", made, f"{first} {body}", W, opset=18)
    x, net = whole((2, 8, 5, 6)), refconv.load(model, threads=1)
    np.testing.assert_allclose(net(x), by_onnx(model, x=x)[0], rtol=3e-7)
    kernels = [call.kernel for call in net.schedule.calls]
    assert ("pooled" in kernels, "numpy" in kernels) == (body in BY_KERNEL, body in BY_NUMPY)


def test_nan_is_the_largest_with_and_without_its_place():
    """ONNX leaves that open: torch's way, and the same by kernel, by NumPy and with the second output; of several the last has the place."""
    x = np.float32([[3, np.nan, 1, 2], [5, 4, 9, 8], [np.nan, 1, 2, np.nan], [0, -np.inf, 0, np.nan]])[None, None]
    expected, where = np.float32([[[[np.nan, 9], [np.nan, np.nan]]]]), np.array([[[[1, 6], [8, 15]]]])
    for layout in (x, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        np.testing.assert_array_equal(max_pool(layout, kernel_shape=[2, 2], strides=[2, 2]), expected)
        values, places = max_pool(layout, kernel_shape=[2, 2], strides=[2, 2], outputs=2)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(places, where)


GATED = {
    # body: what multiplies
    "g = GlobalAveragePool (a)  y = Mul (a, g)": "scaled",
    "g = GlobalAveragePool (a)  y = Mul (g, a)": "scaled",
    "g = GlobalAveragePool (a)  m = Mul (a, g)  n = Mul (m, g)  y = Add (n, a)": "scaled",
    "t = Transpose <perm = [0, 2, 3, 1]> (a)  g = ReduceMean (t, within)  y = Mul (t, g)": "scaled",
    "g = ReduceMax <axes = [0, 2, 3]> (a)  y = Mul (a, g)": "numpy",  # one for all images
    "g = ReduceMax <axes = [2]> (a)  y = Mul (a, g)": "numpy",  # one for each column
    "y = Mul (x, k)": "numpy",  # which lies as it was given
}


@pytest.mark.parametrize("body", GATED)
def test_gates_by_the_kernel_where_the_map_lies_channels_last(body):
    """To the bits of NumPy, and in the memory of the map where nothing reads that again."""
    opset = 13 if "axes" in body else 18
    first = "" if "(x" in body else "a = Conv (x, w)"
    model = network("float[2,8,5,6] x", "float[p,q,r,s] y", f"{first} {body}", W | {"k": whole((2, 8, 1, 1), 3)}, opset=opset)
    x, net = whole((2, 8, 5, 6)), refconv.load(model, threads=1)
    np.testing.assert_allclose(net(x), by_onnx(model, x=x)[0], rtol=3e-7)
    products = [call for call in net.schedule.calls if call.step.op == "Mul"]
    assert {call.kernel for call in products} == {GATED[body]}
    if len(products) == 1 and GATED[body] == "scaled":
        assert net.schedule.tensors[products[0].out].buffer == net.schedule.tensors[products[0].sources[0]].buffer
