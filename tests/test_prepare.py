"""Operations made ready (refconv.prepare): the bits of the ordinary call, whatever the arrays; what is bound, and what is refused."""

import gc
import itertools
import weakref
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from block_problems import BLOCKS, build, normal, squeeze_excite
from ml_dtypes import bfloat16
from problems import OF_EACH_KERNEL, operands
from test_fused import cast, one_pixel_tiles

import refconv
from refconv import ConvFirstBlock, MBConvBlock, PartialConv2d, frames

TWO = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread here")
THREADS = [1, pytest.param(2, marks=TWO)]


def same(result, expected):
    """Bit for bit; NaNs where the other has them."""
    return result.dtype == expected.dtype and result.shape == expected.shape and result.tobytes() == expected.tobytes()


def layer(problem, dtype=np.float32, **options):
    """(operation, x NCHW, arguments, options) of a problem."""
    x, weight, bias = operands(problem, dtype=dtype)
    if isinstance(problem, PartialConv2d):
        return refconv.partial_conv2d, x, (weight, bias), options
    pads = problem.pad_top, problem.pad_left, problem.pad_bottom, problem.pad_right
    return refconv.conv2d, x, (weight, bias, (problem.stride_h, problem.stride_w), pads, 1, problem.groups), options


def in_order(array, order):
    """An NCHW array, its memory in that order."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if order == "NHWC" else np.ascontiguousarray(array)


def given(array, layout, batched):
    """An NCHW array as a call has it, of one image where it is not batched."""
    array = array if layout == "NCHW" else array.transpose(0, 2, 3, 1)
    return array if batched else array[0]


def other(x, seed=5):
    """An array of integers like x: shape, dtype and strides."""
    made = np.empty_like(x)
    assert made.strides == x.strides
    made[...] = np.random.default_rng(seed).integers(-4, 5, x.shape).astype(x.dtype)
    return made


ORDERS = ("NCHW", "NCHW"), ("NCHW", "NHWC"), ("NHWC", "NHWC")
"""Layouts, and the orders in memory that an out may have there."""


@pytest.mark.parametrize("name", OF_EACH_KERNEL)
@pytest.mark.parametrize("threads", THREADS)
def test_every_kernel_of_layers_in_every_order(name, threads):
    """Layouts, orders in memory of x and out, with a batch axis and without, out bound, given or new: one compiled kernel has them all."""
    op, image, arguments, _ = layer(OF_EACH_KERNEL[name])
    for (layout, out_order), order, batched in itertools.product(ORDERS, ("NCHW", "NHWC"), (True, False)):
        as_given = lambda array, order, layout=layout, batched=batched: given(in_order(array, order), layout, batched)
        x, y, options = as_given(image, order), as_given(other(image), order), {"layout": layout, "threads": threads}
        expected, out = op(y, *arguments, **options), as_given(np.zeros_like(op(image, *arguments)), out_order)
        bound, free = (refconv.prepare(op, x, *arguments, **options, out=bound) for bound in (out, None))
        assert (bound.shape, bound.out_shape, bound.dtype) == (x.shape, expected.shape, x.dtype)
        assert bound(y) is out
        assert same(out, expected)
        another = np.zeros_like(out)
        assert bound(y, another) is another
        assert same(another, expected)
        result = free(y)
        assert same(result, expected)
        assert free(x) is not result
        assert same(result, expected)
        if out_order == layout:
            another[...] = 0
            assert free(y, out=another) is another
            assert same(another, expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, bfloat16])
@pytest.mark.parametrize("name", ["depthwise", "conv2d"])
def test_element_types(name, dtype):
    op, x, arguments, _ = layer(OF_EACH_KERNEL[name], dtype)
    for options in ({}, {"layout": "NHWC"}):
        image = given(in_order(x, "NHWC"), "NHWC", True) if options else x
        y = other(image)
        assert same(refconv.prepare(op, image, *arguments, **options, threads=1)(y), op(y, *arguments, **options, threads=1))


def record_of(kind, squeezed=False, **changed):
    rng = np.random.default_rng(3)
    array = lambda *shape: normal(rng, shape)
    changed |= {"se": squeeze_excite(array=array, maybe=array)} if squeezed else {}
    return cast(build(kind, array=array, maybe=array, activation="silu", **changed), np.float32, 0.5)


RECORDS = {
    **{kind.__name__: (kind, {}, {}) for kind in BLOCKS},
    "ConvFirstBlock of stride 2": (ConvFirstBlock, {"stride": 2}, {}),
    "squeezed twice": (MBConvBlock, {"squeezed": True}, {"squeeze": "recompute"}),
    "squeezed, spilled": (MBConvBlock, {"squeezed": True}, {"squeeze": "spill"}),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("threads", THREADS)
def test_every_block(name, threads):
    """Also where a block is three calls one after another, with tensors and workspace between them."""
    kind, changed, options = RECORDS[name]
    record, x = record_of(kind, **changed), np.random.default_rng(4).standard_normal((2, 8, 6, 5)).astype(np.float32)
    tiling = one_pixel_tiles(record, *x.shape[:1], *x.shape[2:])
    for layout in ("NCHW", "NHWC"):
        image, settings = given(in_order(x, layout), layout, True), {"layout": layout, "threads": threads, "tiling": tiling, **options}
        prepared = refconv.prepare(refconv.fused_block, image, record, **settings)
        for y in (other(image), image):
            assert same(prepared(y), refconv.fused_block(y, record, **settings))


def test_what_changes_afterwards_is_not_seen():
    x, weight, bias = operands(OF_EACH_KERNEL["conv2d"])
    expected = refconv.conv2d(x, weight, bias, padding=1)
    prepared = refconv.prepare(refconv.conv2d, x, weight, bias, padding=1)
    assert repr(prepared) == f"Prepared(conv2d, {x.shape} -> {expected.shape}, float32, NCHW)"
    y = x.copy()
    weight[...], bias[...], x[...] = 0, 0, 0
    assert same(prepared(y), expected)


def test_a_weight_that_is_infinite_over_the_padding():
    op, x, arguments, _ = layer(OF_EACH_KERNEL["depthwise"])
    arguments[0][3, 0, 0, 0] = np.inf
    expected = op(x, *arguments, threads=1)
    assert np.isnan(expected[:, 3, 0]).all()
    assert same(refconv.prepare(op, x, *arguments, threads=1)(x), expected)


@pytest.mark.parametrize("threads", THREADS)
def test_python_threads_share_a_prepared_operation(threads):
    """A workspace that two of them shared would mix their images: this kernel stages its lines there."""
    op, x, arguments, _ = layer(OF_EACH_KERNEL["conv2d"])
    prepared = refconv.prepare(op, x, *arguments, threads=threads)
    images = [other(x, seed) for seed in range(64)]
    expected = [op(image, *arguments, threads=1) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(8):
            for result, right in zip(pool.map(prepared, images), expected, strict=True):
                assert same(result, right)


def test_smaller_and_larger_calls_between_do_not_take_its_memory():
    """The workspace that a frame points to stays alive when the thread's memory is let go for a larger one."""
    op, x, arguments, _ = layer(OF_EACH_KERNEL["conv2d"])
    expected, prepared = op(x, *arguments, threads=1), refconv.prepare(op, x, *arguments, threads=1)
    prepared(x)
    for size in (3, 9, 40, 90):
        op(np.ones((1, 5, size, size), np.float32), *arguments, threads=1)
        gc.collect()
        assert same(prepared(x), expected)


def test_nothing_is_kept_of_a_prepared_operation_that_is_gone():
    op, x, arguments, _ = layer(OF_EACH_KERNEL["depthwise"])
    out = op(x, *arguments, threads=1)
    prepared = refconv.prepare(op, x, *arguments, threads=1, out=out)
    prepared(x)
    gone = weakref.ref(out)
    del prepared, out
    gc.collect()
    assert gone() is None


def unaligned(x):
    """The values in memory that no line begins with: kernels take any address of a whole element."""
    raw = np.empty(x.nbytes + x.itemsize, np.uint8)[x.itemsize :].view(x.dtype).reshape(x.shape)
    raw[...] = x
    return raw


def test_what_else_is_an_array():
    """A subclass, one that cannot be written, one at another place of a line, a nested list of the right type."""
    op, x, arguments, _ = layer(OF_EACH_KERNEL["depthwise"], threads=1)
    expected, prepared = op(x, *arguments, threads=1), refconv.prepare(op, x, *arguments, threads=1)
    locked = x.copy()
    locked.flags.writeable = False
    for given in (x.view(type("Mine", (np.ndarray,), {})), locked, unaligned(x)):
        assert same(prepared(given), expected)


BAD = {
    "a list": (lambda x: x.tolist(), TypeError, "x of dtype float64"),
    "no array": (lambda x: object(), TypeError, "x of "),
    "a mask": (lambda x: np.ma.array(x), TypeError, "x is a masked array"),
    "another shape": (lambda x: x[:, :, 1:], ValueError, r"x of shape \(1, 32, 4, 5\): must be \(1, 32, 5, 5\)"),
    "no batch axis": (lambda x: x[0], ValueError, r"x of shape \(32, 5, 5\)"),
    "another dtype": (lambda x: x.astype(np.float64), TypeError, "x of dtype float64: must be float32"),
    "another type of as many bytes": (lambda x: x.astype(np.int32), TypeError, "x of dtype int32"),
    "other bytes": (lambda x: x.astype(">f4"), TypeError, "x of dtype >f4"),
    "another order": (lambda x: in_order(x, "NHWC"), ValueError, r"x with strides .*: must be contiguous in NCHW order"),
    "gaps": (lambda x: np.repeat(x, 2, axis=3)[..., ::2], ValueError, "x with strides"),
}
BAD_OUT = {
    "no array": (lambda out, x: out.tolist(), ValueError, "out = list"),
    "another shape": (lambda out, x: out[0], ValueError, r"out = \(32, 5, 5\), float32: must be an array of shape \(1, 32, 5, 5\)"),
    "another dtype": (lambda out, x: out.astype(np.int32), ValueError, r"out = .* int32"),
    "locked": (lambda out, x: np.frombuffer(out.tobytes(), np.float32).reshape(out.shape), ValueError, r"out with flags.writeable = False: must be"),
    "another order": (lambda out, x: in_order(out, "NHWC"), ValueError, r"out with strides .*: must be contiguous in NCHW order"),
    "x": (lambda out, x: x, ValueError, "out overlaps x in memory"),
    "a part of x": (lambda out, x: np.lib.stride_tricks.as_strided(x.reshape(-1)[8:], out.shape, out.strides), ValueError, "out overlaps x"),
}


@pytest.fixture(scope="module")
def depthwise():
    op, x, arguments, _ = layer(OF_EACH_KERNEL["depthwise"])
    return refconv.prepare(op, x, *arguments, threads=1), x


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(depthwise, name):
    make, error, text = BAD[name]
    prepared, x = depthwise
    with pytest.raises(error, match=text):
        prepared(make(x))


@pytest.mark.parametrize("name", BAD_OUT)
def test_bad_outputs_are_named(depthwise, name):
    make, error, text = BAD_OUT[name]
    prepared, x = depthwise
    room = np.zeros(x.size + 8, np.float32)[: x.size].reshape(x.shape)  # a part of it may begin 8 elements on
    out = np.empty(prepared.out_shape, np.float32)
    before = room.copy()
    with pytest.raises(error, match=text):
        prepared(room, make(out, room))
    assert same(room, before)


def test_bad_arguments_are_named_when_it_is_prepared():
    op, x, arguments, _ = layer(OF_EACH_KERNEL["depthwise"])
    with pytest.raises(TypeError, match=r"op = .*: must be conv2d, depthwise_conv2d"):
        refconv.prepare(refconv.unfused_block, x)
    with pytest.raises(ValueError, match="padding = -1"):
        refconv.prepare(refconv.conv2d, x, arguments[0], padding=-1, groups=32)
    with pytest.raises(ValueError, match=r"x with strides .*: must be contiguous in NHWC or NCHW order"):
        refconv.prepare(op, np.repeat(x, 2, axis=3)[..., ::2], *arguments)
    with pytest.raises(ValueError, match="out overlaps x"):
        refconv.prepare(op, x, *arguments, out=x)
    with pytest.raises(TypeError, match="conv2d"):
        refconv.prepare(op, x)


def test_what_a_frame_does_not_hold():
    with pytest.raises(TypeError, match="a frame holds flat arrays, numbers of 64 bits and tuples of them"):
        frames.frame([frames.NativeCall(0, (numba.types.complex128,), (1.5j,))], (), ())
