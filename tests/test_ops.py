"""Every operation against scipy.signal.correlate and the definitions in refconv.reference; layouts, threads, packing, errors."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_dtypes import bfloat16, finfo
from problems import HALF_VECTOR, WIDTH, call, conv_problems, correlate, few_shapes, integers, operands, partial_problems

import refconv
from refconv import reference

TYPES = np.float32, np.float64, np.float16, bfloat16
DTYPES = st.sampled_from(TYPES)
WIDE = 9
"""Channels of a group, more than half a vector on any target."""


@pytest.fixture
def one_thread():
    """Calls that do not say how many threads take one: the loop over threads costs a compilation of its own, of several seconds."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def problems_and_types(groups):
    """(Conv2d, element type): groups of any width in float32; in the others of one narrow width, or of one that is not narrow.

    Each narrow width is compiled anew, and what differs between types is in the instructions.
    """
    some = {"inputs": st.sampled_from([WIDTH, WIDE]), "outputs": st.sampled_from([min(4, HALF_VECTOR), WIDE])}
    return DTYPES.flatmap(lambda dtype: st.tuples(conv_problems(groups, **({} if dtype is np.float32 else some)), st.just(dtype)))


SIDE = {"pointwise": "pointwise", "depthwise": "depthwise", "equal": "equal", "narrow": "narrow", "any": None}


@pytest.mark.parametrize("groups", SIDE)
def test_convolutions_are_exact_on_integers(groups):
    """Bit for bit: scipy's correlation, ours, and our definition, for any shape, padding, stride, dilation, groups, batch."""

    @given(problems_and_types(SIDE[groups]), st.booleans())
    def check(drawn, nhwc):
        problem, dtype = drawn
        x, weight, bias = operands(problem, dtype=dtype)
        expected = correlate(problem, x, weight, bias)
        with few_shapes(dtype):
            if nhwc:
                result = call(problem, np.ascontiguousarray(x.transpose(0, 2, 3, 1)), weight, bias, layout="NHWC", threads=1).transpose(0, 3, 1, 2)
            else:
                result = call(problem, x, weight, bias, threads=1)
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, expected.astype(np.float32).astype(dtype))  # halves: the exact sum, rounded once

    check()


@given(partial_problems(), DTYPES)
def test_partial_convolution_is_exact_on_integers(problem, dtype):
    x, weight, bias = operands(problem, dtype=dtype)
    conv = problem.conv
    expected = np.concatenate([correlate(conv, x[:, : conv.c], weight, bias), x[:, conv.c :]], axis=1)
    with few_shapes(dtype):
        result = call(problem, x, weight, bias, threads=1)
    np.testing.assert_array_equal(result, expected.astype(np.float32).astype(dtype))
    np.testing.assert_array_equal(reference.partial_conv2d(x, weight, bias), expected)


@given(conv_problems(), st.integers(0, 1 << 30))
def test_definition_agrees_with_scipy(problem, seed):
    x, weight, bias = operands(problem, seed)
    pads = problem.pad_top, problem.pad_left, problem.pad_bottom, problem.pad_right
    strides = (problem.stride_h, problem.stride_w), pads, (problem.dilation_h, problem.dilation_w)
    np.testing.assert_array_equal(reference.conv2d(x, weight, bias, *strides, problem.groups), correlate(problem, x, weight, bias))


LAYERS = [
    "mb2ic64ih14oc64kh3ph1",
    "mb1ic3ih35oc64kh7sh2ph3",
    "mb3ic40ih10oc80kh1",
    "g112mb2ic112ih14oc112kh5ph2",
    "g96mb1ic96ih28oc96kh7ph3",
    "g8mb2ic64ih16oc64kh3ph1",
    "g4mb1ic96ih9oc192kh3sh2ph1",
    "g16mb1ic64ih9oc64kh3sh2ph1",
    "g10mb1ic20ih9oc40kh3ph1",
    "g1mb1ic1ih28oc6kh5ph2",
    "g32mb1ic32ih15iw8oc64kh3ph1",
]


@pytest.mark.parametrize("descriptor", LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16])
def test_real_data_within_the_rounding_of_the_sum(descriptor, dtype):
    """A sum of d products rounds to at most d * eps * sum |x w|: the tolerance, scaled by the depth, not chosen; halves round once more."""
    problem = refconv.Conv2d.parse(descriptor)
    x, weight, bias = operands(problem, 3, dtype, lambda rng, shape, kind: rng.standard_normal(shape).astype(kind))
    result = call(problem, x, weight, bias, threads=1)
    depth = problem.c_group * problem.r * problem.s + 1
    exact = correlate(problem, x, weight, bias)
    half = x.itemsize == 2
    bound = depth * np.finfo(np.float32 if half else dtype).eps * correlate(problem, abs(x), abs(weight), abs(bias))
    bound += half * (abs(exact) + bound) * float(finfo(dtype).eps) / 2
    assert (abs(result.astype(np.float64) - exact) <= bound).all()


@pytest.mark.parametrize("dtype", [np.float32, bfloat16])
@pytest.mark.parametrize("descriptor", [*LAYERS, "partial"])
def test_threads_layouts_and_packing_agree_bit_for_bit(descriptor, dtype):
    """Real data, so that a different order of sums would show.

    Several threads on the lowest and narrowest tile, one on the rule's: the loop over threads is the same around any tile, and so are the sums.
    The narrowest meets a window a column at a time, which is one code for windows of any width.
    """
    partial = refconv.PartialConv2d(2, 96, 14, 14, 24, 3, 3)
    problem = partial if descriptor == "partial" else refconv.Conv2d.parse(descriptor)
    x, weight, bias = operands(problem, 5, dtype, make=lambda rng, shape, kind: rng.standard_normal(shape).astype(kind))
    expected = call(problem, x, weight, bias, threads=1)
    low = min(refconv.tilings(problem, dtype=dtype), key=lambda tiling: tuple(tiling[0]))
    assert (low[0].rows, getattr(low[0], "vectors", 1), getattr(low[0], "taps", 1)) == (1, 1, 1)
    np.testing.assert_array_equal(call(problem, x, weight, bias, tiling=low, threads=2), expected)
    packed = refconv.pack(weight, problem.groups)
    np.testing.assert_array_equal(call(problem, x, packed, bias, tiling=low, threads=2), expected)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(call(problem, last, packed, bias, layout="NHWC", tiling=low).transpose(0, 3, 1, 2), expected)
    np.testing.assert_array_equal(call(problem, last.transpose(0, 3, 1, 2), packed, bias, tiling=low), expected)
    np.testing.assert_array_equal(call(problem, last, packed, bias, layout="NHWC", threads=1).transpose(0, 3, 1, 2), expected)


@pytest.mark.usefixtures("one_thread")
def test_one_pixel_one_channel_and_kernel_larger_than_the_input():
    for shape, kernel, padding in (
        ((1, 1, 1, 1), (1, 1), 0),
        ((1, 1, 1, 1), (9, 9), 4),
        ((2, 1, 1, 7), (3, 1), (1, 0)),
        ((1, 5, 3, 3), (7, 5), (3, 2)),
    ):
        rng = np.random.default_rng(1)
        x, weight = integers(rng, shape), integers(rng, (4, shape[1], *kernel))
        pads = (padding,) * 2 if isinstance(padding, int) else padding
        np.testing.assert_array_equal(refconv.conv2d(x, weight, padding=padding), reference.conv2d(x, weight, padding=(*pads, *pads)))


@pytest.mark.usefixtures("one_thread")
def test_unbatched_strided_read_only_and_same_padding():
    rng = np.random.default_rng(2)
    base = integers(rng, (4, 20, 26, 22))
    weight = integers(rng, (7, 5, 3, 4))
    view = base[::2, ::-4, ::2, ::-3][:, :, :-1]
    before = base.copy()
    expected = reference.conv2d(view, weight, padding=(1, 1, 1, 2))
    np.testing.assert_array_equal(refconv.conv2d(view, weight, padding="same"), expected)
    np.testing.assert_array_equal(refconv.conv2d(view[0], weight, padding="same"), expected[0])
    np.testing.assert_array_equal(refconv.conv2d(view, weight, padding="valid"), reference.conv2d(view, weight))
    fixed = view.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(refconv.conv2d(fixed, weight, padding=[1, 1, 1, 2]), expected)
    np.testing.assert_array_equal(base, before)
    assert refconv.conv2d(view[0].transpose(1, 2, 0), weight, padding="same", layout="NHWC").shape == (12, 8, 7)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("size", "stride", "upper"), [(6, 2, (0, 1)), (7, 2, (1, 1)), (6, 1, (1, 1)), (7, 3, (1, 1)), (6, 3, (0, 0))])
def test_same_as_onnx_and_tensorflow_have_it(size, stride, upper):
    """Pads of a 3x3 window by hand, those of 4 columns from ONNX's formula; ceil(size / stride) rows and columns."""
    rng = np.random.default_rng(3)
    x, weight = integers(rng, (2, 5, size, size)), integers(rng, (7, 5, 3, 4))
    across = max(0, (-(-size // stride) - 1) * stride + 4 - size)
    before, after = across // 2, across - across // 2
    for name, pads in (("same_upper", (upper[0], before, upper[1], after)), ("same_lower", (upper[1], after, upper[0], before))):
        result = refconv.conv2d(x, weight, stride=stride, padding=name)
        assert result.shape == (2, 7, -(-size // stride), -(-size // stride))
        np.testing.assert_array_equal(result, reference.conv2d(x, weight, stride=(stride, stride), padding=pads))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_no_images_are_no_output(layout):
    """Of the right shape and dtype, or the array given."""
    x = np.zeros((0, 4, 5, 6) if layout == "NCHW" else (0, 5, 6, 4), np.float32)
    shape = lambda *sizes: sizes if layout == "NCHW" else (sizes[0], *sizes[2:], sizes[1])
    weight = lambda *sizes: np.zeros(sizes, np.float32)
    for result, wanted in (
        (refconv.conv2d(x, weight(6, 2, 3, 3), groups=2, stride=2, layout=layout), shape(0, 6, 2, 2)),
        (refconv.depthwise_conv2d(x, weight(4, 1, 3, 3), padding=1, layout=layout), shape(0, 4, 5, 6)),
        (refconv.pointwise_conv2d(x, weight(7, 4), layout=layout), shape(0, 7, 5, 6)),
        (refconv.partial_conv2d(x, weight(2, 2, 3, 3), layout=layout), shape(0, 4, 5, 6)),
    ):
        assert (result.shape, result.dtype) == (wanted, np.float32)
    out = np.zeros(shape(0, 7, 5, 6), np.float32)
    assert refconv.pointwise_conv2d(x, weight(7, 4), layout=layout, out=out) is out
    assert reference.conv2d(np.zeros((0, 4, 5, 6)), np.zeros((6, 2, 3, 3)), groups=2).shape == (0, 6, 3, 4)


@pytest.mark.usefixtures("one_thread")
def test_infinities_outside_the_window_do_not_leak():
    """What no window touches is not computed with: NaN rows that a negative-stride skip leaves out, channels of other groups."""
    x = np.full((1, 4, 9, 9), np.nan, np.float32)
    x[:, :2, ::3, ::3] = 1
    weight = np.ones((4, 2, 1, 1), np.float32)
    out = refconv.conv2d(x, weight, stride=3, groups=2)
    np.testing.assert_array_equal(out[:, :2], np.full((1, 2, 3, 3), 2, np.float32))
    assert np.isnan(out[:, 2:]).all()


def test_out_is_written_and_returned():
    rng = np.random.default_rng(4)
    x, weight = integers(rng, (2, 8, 6, 5)), integers(rng, (12, 8, 3, 3))
    expected = reference.conv2d(x, weight, padding=(1, 1, 1, 1))
    for out in (np.empty((2, 12, 6, 5), np.float32), np.empty((2, 6, 5, 12), np.float32).transpose(0, 3, 1, 2)):
        assert refconv.conv2d(x, weight, padding=1, out=out) is out
        np.testing.assert_array_equal(out, expected)
    y = np.empty((2, 6, 5, 12), np.float32)
    assert refconv.conv2d(x.transpose(0, 2, 3, 1), weight, padding=1, layout="NHWC", out=y) is y
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), expected)
    single = np.empty((12, 6, 5), np.float32)
    np.testing.assert_array_equal(refconv.conv2d(x[1], weight, padding=1, out=single), expected[1])


@pytest.mark.usefixtures("one_thread")
def test_equal_values_of_other_types_are_told_apart_after_a_good_call():
    """1 == 1.0 == True: a cache of calls must not let them pass for one another."""
    assert refconv.conv2d(X, W, stride=1, padding=1).shape == (1, 6, 5, 5)
    assert refconv.conv2d(X, W, stride=np.int64(1), padding=[1, 1]).shape == (1, 6, 5, 5)
    for options in ({"stride": 1.0}, {"stride": True}, {"padding": True}, {"padding": (1.0, 1)}, {"dilation": (True, 1)}, {"stride": {}}):
        with pytest.raises(ValueError, match="must be"):
            refconv.conv2d(X, W, **{"stride": 1, "padding": 1, **options})


@pytest.mark.usefixtures("one_thread")
def test_depthwise_and_pointwise_functions():
    rng = np.random.default_rng(5)
    x, bias = integers(rng, (2, 6, 9, 9)), integers(rng, (12,))
    weight = integers(rng, (12, 1, 3, 3))
    expected = reference.depthwise_conv2d(x, weight, bias, (2, 1), (1, 1, 1, 1), (1, 2))
    np.testing.assert_array_equal(refconv.depthwise_conv2d(x, weight, bias, (2, 1), 1, (1, 2)), expected)
    np.testing.assert_array_equal(refconv.depthwise_conv2d(x, refconv.pack(weight, 6), bias, (2, 1), 1, (1, 2)), expected)
    matrix = integers(rng, (12, 6))
    expected = reference.pointwise_conv2d(x, matrix[:, :, None, None], bias)
    np.testing.assert_array_equal(refconv.pointwise_conv2d(x, matrix, bias), expected)
    np.testing.assert_array_equal(refconv.pointwise_conv2d(x, refconv.pack(matrix[:, :, None, None]), bias), expected)


X, W = np.zeros((1, 4, 5, 5), np.float32), np.zeros((6, 4, 3, 3), np.float32)


ERRORS = [
    (lambda: refconv.conv2d(X.astype(np.int32), W), TypeError, "x of dtype int32: must be float32, float64, float16 or bfloat16"),
    (lambda: refconv.conv2d(X.astype(">f4"), W), TypeError, "x of dtype >f4: must be float32, float64"),
    (lambda: refconv.conv2d(X.astype(np.float16), W), TypeError, "weight of dtype float32: must be float16 as x"),
    (lambda: refconv.conv2d(X, W.astype(np.float64)), TypeError, "weight of dtype float64: must be float32 as x"),
    (lambda: refconv.conv2d(X, W, np.zeros(6)), ValueError, r"bias of shape \(6,\), float64: must be \(6,\), float32 as x"),
    (lambda: refconv.conv2d(X, W, np.zeros(5, np.float32)), ValueError, r"bias of shape \(5,\).*must be \(6,\)"),
    (lambda: refconv.conv2d(X[0, 0], W), ValueError, r"x of shape \(5, 5\): must have 4 axes \(NCHW\) or 3 \(CHW\)"),
    (lambda: refconv.conv2d(X[:, :, :0], W), ValueError, "x of shape .* no axis of size 0 but the batch"),
    (lambda: refconv.conv2d(X[0, :0], W), ValueError, "x of shape .* no axis of size 0"),
    (lambda: refconv.conv2d(X[:0], W, padding=-1), ValueError, "padding = -1"),
    (lambda: refconv.conv2d(X, W[0]), ValueError, r"weight of shape \(4, 3, 3\): must be \(K, C/groups, R, S\)"),
    (lambda: refconv.conv2d(X, W, groups=2), ValueError, "takes 8 input channels, x has 4"),
    (lambda: refconv.conv2d(X, W, groups=4), ValueError, "groups = 4: must be a positive divisor of the 6 output channels"),
    (lambda: refconv.conv2d(X, W, groups=0), ValueError, "groups = 0"),
    (lambda: refconv.conv2d(X, W, stride=0), ValueError, "stride = 0: must be a positive int or a pair"),
    (lambda: refconv.conv2d(X, W, stride=(1, 2, 3)), ValueError, r"stride = \(1, 2, 3\)"),
    (lambda: refconv.conv2d(X, W, stride=1.5), ValueError, "stride = 1.5"),
    (lambda: refconv.conv2d(X, W, dilation=-1), ValueError, "dilation = -1"),
    (lambda: refconv.conv2d(X, W, padding=-1), ValueError, "padding = -1: must be an int of 0 or more"),
    (lambda: refconv.conv2d(X, W, padding=(1, 2, 3)), ValueError, r"padding = \(1, 2, 3\)"),
    (lambda: refconv.conv2d(X, W, padding="full"), ValueError, "padding = 'full'"),
    (lambda: refconv.conv2d(X, W, stride=2, padding="same"), ValueError, "padding = 'same' with stride"),
    (lambda: refconv.conv2d(X, W, dilation=3), ValueError, "output has no elements.*7 in height.*only 5"),
    (lambda: refconv.conv2d(X, W, layout="CHWN"), ValueError, "layout = 'CHWN': must be 'NCHW' or 'NHWC'"),
    (lambda: refconv.conv2d(X, W, threads=0), ValueError, "threads = 0: must be an integer from 1 to"),
    (lambda: refconv.conv2d(X, W, threads=10_000), ValueError, "threads = 10000"),
    (lambda: refconv.conv2d(X, W, out=np.empty((1, 6, 3, 4), np.float32)), ValueError, r"out = \(1, 6, 3, 4\), float32: must be .* \(1, 6, 3, 3\)"),
    (lambda: refconv.conv2d(X, W, out=np.empty((1, 6, 3, 3))), ValueError, "out = .*float64: must be .* float32"),
    (lambda: refconv.conv2d(X, W, out=[0]), ValueError, "out = list"),
    (lambda: refconv.conv2d(X, W, out=np.empty((1, 6, 3, 6), np.float32)[..., ::2]), ValueError, "out with strides .* contiguous"),
    (lambda: refconv.conv2d(X, np.zeros((4, 4, 1, 1), np.float32), out=X), ValueError, "out overlaps x in memory"),
    (lambda: refconv.conv2d(X, refconv.pack(W), groups=2), ValueError, "groups = 2: must be 1, for which the weight is packed"),
    (lambda: refconv.conv2d(X, W, tiling=(1, 2)), TypeError, "tiling = .*must be a tiling, as refconv.tilings yields them"),
    (lambda: refconv.pointwise_conv2d(X, W), ValueError, r"weight of shape \(6, 4, 3, 3\): must be \(K, C, 1, 1\)"),
    (lambda: refconv.partial_conv2d(X, W), ValueError, r"weight of shape \(6, 4, 3, 3\): must be \(Cp, Cp, R, S\)"),
    (lambda: refconv.partial_conv2d(X[:, :3], np.zeros((4, 4, 3, 3), np.float32)), ValueError, "at most the 3 channels"),
    (lambda: refconv.pack(W.astype(np.int8)), TypeError, "weight of dtype int8"),
    (lambda: refconv.pack(W, groups=1.0), ValueError, "groups = 1.0"),
]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_bad_input_names_argument_value_and_what_is_legal(number):
    act, kind, text = ERRORS[number]
    with pytest.raises(kind, match=text):
        act()
