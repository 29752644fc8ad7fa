"""What becomes of sums as they are stored: a residual and an activation in the kernel's own pass, of every kernel of layers."""

import itertools

import numpy as np
import pytest
from ml_dtypes import bfloat16
from problems import OF_EACH_KERNEL, call, integers, operands
from test_prepare import TWO, given, in_order, other, same

import refconv
from refconv import PartialConv2d, reference
from refconv.ops.steps import activator
from refconv.plan import make_plan
from refconv.problem.activations import ACTIVATIONS, Activations

OF_TWO = {name: problem._replace(n=2) for name, problem in OF_EACH_KERNEL.items()}


def definition(problem, x, weight, bias, **ending):
    if isinstance(problem, PartialConv2d):
        return reference.partial_conv2d(x, weight, bias, **ending)
    pads = problem.pad_top, problem.pad_left, problem.pad_bottom, problem.pad_right
    return reference.conv2d(x, weight, bias, (problem.stride_h, problem.stride_w), pads, (1, 1), problem.groups, **ending)


def case(name, dtype=np.float32, make=integers):
    """(problem, x, weight, bias, residual), NCHW."""
    problem = OF_TWO[name]
    return problem, *operands(problem, dtype=dtype, make=make), make(np.random.default_rng(7), (problem.n, problem.k, problem.p, problem.q), dtype)


@pytest.mark.parametrize("name", OF_TWO)
def test_every_kernel_is_exact_on_integers(name):
    """With a residual and without, an activation and none, in both layouts, whatever the order in memory of the residual and of out."""
    problem, x, weight, bias, residual = case(name)
    for activation, more in itertools.product((None, "relu"), (None, residual)):
        expected = definition(problem, x, weight, bias, activation=activation, residual=more)
        assert activation is None or (expected == 0).any()
        for layout, order, out_order in itertools.product(("NCHW", "NHWC"), repeat=3):
            as_given = lambda array, order, layout=layout: given(in_order(array, order), layout, True)
            out = as_given(np.zeros(expected.shape, np.float32), out_order)
            if layout == "NHWC" and out_order == "NCHW":
                continue
            ending = {"activation": activation, "residual": None if more is None else as_given(more, order)}
            result = call(problem, as_given(x, layout), weight, bias, layout=layout, out=out, threads=1, **ending)
            np.testing.assert_array_equal(result, given(expected, layout, True))


def test_an_image_without_a_batch_and_a_residual_of_any_strides():
    problem, x, weight, _, residual = case("pointwise")
    expected = definition(problem, x, weight, None, activation="relu", residual=residual)
    wide = np.zeros((*residual.shape, 2), np.float32)
    wide[..., 1] = residual
    result = refconv.pointwise_conv2d(x[1], weight, activation="relu", residual=wide[1, ..., 1], threads=1)
    np.testing.assert_array_equal(result, expected[1])


@TWO
def test_threads_have_a_part_each_of_the_residual():
    problem, x, weight, bias, residual = case("conv2d")
    expected = definition(problem, x, weight, bias, activation="relu", residual=residual)
    np.testing.assert_array_equal(call(problem, x, weight, bias, activation="relu", residual=residual, threads=2), expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, bfloat16])
def test_element_types_round_once(dtype):
    """Halves: the exact result, rounded; sums are so large that separate passes would round each."""
    problem, x, weight, bias, residual = case("depthwise", dtype)
    bias, residual = (bias * 500 + 1).astype(dtype), (residual * 500 + 3).astype(dtype)
    exact = definition(problem, x, weight, bias, activation="relu", residual=residual)
    result = call(problem, x, weight, bias, activation="relu", residual=residual, threads=1)
    np.testing.assert_array_equal(result, exact.astype(np.float32).astype(dtype))


@pytest.mark.parametrize("codes", [("identity", "silu"), ("silu", "identity")])
def test_the_bits_are_those_of_separate_passes(codes):
    """Of real numbers, in both orders of the sum and the activation."""
    problem, x, weight, bias, residual = case("pointwise", make=normal)
    inner, outer = codes
    alone = call(problem, x, weight, bias, layout="NCHW", threads=1)
    passed = np.ascontiguousarray(alone.transpose(0, 2, 3, 1)).reshape(-1)
    more = np.ascontiguousarray(residual.transpose(0, 2, 3, 1)).reshape(-1)
    expected = activated(activated(passed, inner) + more, outer)
    plan = make_plan("pointwise", problem, x.dtype, activations=Activations(ACTIVATIONS[inner], ACTIVATIONS[outer]))
    made = np.empty_like(expected)
    image = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1)
    plan.run(plan.call.operands((image, refconv.pack(weight).data, bias, more)), made)
    assert same(made, expected)


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def activated(x, kind):
    out = np.empty_like(x)
    activator(x, out, kind)()
    return out


def test_a_weight_that_is_infinite_over_the_padding():
    problem, x, weight, bias, residual = case("depthwise")
    weight[3, 0, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        expected = definition(problem, x, weight, bias, activation="relu", residual=residual)
    assert np.isnan(expected[:, 3, 0]).all()
    np.testing.assert_array_equal(call(problem, x, weight, bias, activation="relu", residual=residual, threads=1), expected)


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_a_prepared_call_adds_what_the_residual_holds_then(order):
    problem, x, weight, bias, residual = case("conv2d")
    held, image = in_order(residual, order), np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    layer = refconv.prepare(refconv.conv2d, x, weight, bias, padding=1, activation="relu", residual=held, threads=1)
    by_pixels = given(held, "NHWC", True)
    last = refconv.prepare(refconv.conv2d, image, weight, bias, padding=1, layout="NHWC", activation="relu", residual=by_pixels, threads=1)
    for _ in range(2):
        expected = definition(problem, x, weight, bias, activation="relu", residual=held)
        np.testing.assert_array_equal(layer(x), expected)
        np.testing.assert_array_equal(last(image), expected.transpose(0, 2, 3, 1))
        held[...] = other(held)
    with pytest.raises(ValueError, match="out overlaps residual in memory: must be apart from every input"):
        layer(x, held)


X, W = np.ones((1, 4, 5, 5), np.float32), np.ones((6, 4, 3, 3), np.float32)
SUMMED = np.ones((1, 6, 3, 3), np.float32)
ERRORS = {
    "activation = 'tanh': must be None, or one of identity, relu, ": {"activation": "tanh"},
    r"activation = \['relu'\]: must be None, or one of": {"activation": ["relu"]},
    r"residual of shape \(1, 4, 5, 5\), float32: must be \(1, 6, 3, 3\), float32": {"residual": X},
    r"residual of shape \(6, 3, 3\), float32: must be \(1, 6, 3, 3\), float32": {"residual": SUMMED[0]},
    r"residual of shape \(1, 6, 3, 3\), float64: must be \(1, 6, 3, 3\), float32": {"residual": SUMMED.astype(np.float64)},
    "out overlaps residual in memory": {"residual": SUMMED, "out": SUMMED},
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_name_the_argument(text):
    with pytest.raises(ValueError, match=text):
        refconv.conv2d(X, W, threads=1, **ERRORS[text])


def test_a_residual_that_prepared_calls_cannot_read_where_it_lies():
    apart = np.ones((1, 6, 3, 6), np.float32)[..., ::2]
    with pytest.raises(ValueError, match=r"residual with strides .*: must be contiguous in NHWC or NCHW order"):
        refconv.prepare(refconv.conv2d, X, W, residual=apart)
