"""Strategies for problems and data, few shapes of registers, and the oracle written by others: scipy.signal.correlate."""

import contextlib

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import signal

from refconv import Conv2d, PartialConv2d, host
from refconv.static import Static
from refconv.tiling import layers
from refconv.tiling.layers import DenseTiling

SIZES = st.sampled_from([1, 2, 3, 5, 7, 8, 9, 13, 15, 17])
CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 8, 10, 15, 16, 17, 20, 33])
KERNELS = st.sampled_from([1, 2, 3, 4, 5, 7, 9])
HALF_VECTOR = host.target().lanes(4) // 2
"""The widest groups of which two share a vector, as the kernels for narrow groups want it."""
WIDTH, OUTPUTS = min(3, HALF_VECTOR), min(5, HALF_VECTOR)
INPUTS = min(3, OUTPUTS - 1)
OF_EACH_KERNEL = {
    "conv2d": Conv2d.parse("mb2ic5ih5oc20kh3ph1"),
    "pointwise": Conv2d.parse("mb1ic7ih3iw2oc20kh1kw1"),
    "few_outputs": Conv2d.parse("mb1ic18ih3iw5oc1kh1kw1"),
    "depthwise_rows": Conv2d.parse("g18mb1ic18ih5oc18kh3ph1"),
    "depthwise": Conv2d.parse("g32mb1ic32ih5oc32kh3ph1"),
    "grouped": Conv2d.parse(f"g4mb1ic{4 * WIDTH}ih5oc{4 * WIDTH}kh3ph1"),
    "spread": Conv2d.parse(f"g4mb1ic{4 * INPUTS}ih5oc{4 * OUTPUTS}kh3ph1"),
    "partial": PartialConv2d(1, 24, 5, 4, 20, 3, 3),
}
"""A small problem for each kernel of layers, on any target."""


FEW_ROWS, FEW_VECTORS, FEW_TAPS = (1, 3), 2, 3
"""Heights and widths of a tile in float32, and the columns of a window: others are the same code once more or less often, and each costs a
compilation."""


def _ahead_by_one(*fields, **named):
    rule = DenseTiling(*fields, **named)
    return rule._replace(ahead=Static(min(1, rule.ahead)))


def _without_ahead(*fields, **named):
    return DenseTiling(*fields, **named)._replace(ahead=Static(0))


@contextlib.contextmanager
def few_shapes(dtype, traced=False):
    """The rules take tiles of FEW_ROWS x FEW_VECTORS or less for float32, and one vector for other types.

    A window is met a column at a time, but one of FEW_TAPS in float32; a sum prefetches nothing, or an element a step. What differs between types
    is in the instructions, whose tests have many shapes (tests/test_instructions.py), and in how they meet in a kernel, which any shape shows.

    traced: for counts of the simulator, where a prefetch moves nothing: there is none, and one vector, since lines of several are noted one by one.
    """
    single = np.dtype(dtype) == np.float32
    widest = FEW_VECTORS if single and not traced else 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "ROWS", FEW_ROWS if single else (1,))
        most, slides = layers.most_vectors, layers.slide_shape
        patch.setattr(layers, "most_vectors", lambda channels, lanes: min(widest, most(channels, lanes)))
        patch.setattr(layers, "DenseTiling", _without_ahead if traced else _ahead_by_one)
        patch.setattr(layers, "slide_shape", lambda width, *more: slides(width, *more) if single and width == FEW_TAPS else (1, 1))
        yield


GROUP_WIDTHS = st.integers(1, 9)
"""Channels of a group, each of which is a variant of the kernels for narrow groups."""


@st.composite
def conv_problems(draw, groups=None, inputs=GROUP_WIDTHS, outputs=GROUP_WIDTHS):
    """Any legal Conv2d of small size. groups: "depthwise", "pointwise", "equal", "narrow", or None for any.

    inputs, outputs: the channels of a group to draw from, for those with groups of equal or narrow width.
    """
    n = draw(st.integers(1, 3))
    if groups == "pointwise":
        c, k, g, r, s = draw(CHANNELS), draw(CHANNELS), 1, 1, 1
        return Conv2d(n, c, draw(SIZES), draw(SIZES), k, r, s)
    if groups == "depthwise":
        g, c_group, k_group = draw(CHANNELS), 1, draw(st.sampled_from([1, 1, 1, 2, 3]))
    elif groups == "equal":
        g, c_group = draw(st.integers(2, 9)), draw(inputs)
        k_group = c_group
    elif groups == "narrow":
        g, c_group, k_group = draw(st.integers(2, 9)), draw(inputs), draw(outputs)
    else:
        g = draw(st.sampled_from([1, 1, 1, 2, 3]))
        c_group, k_group = draw(CHANNELS), draw(CHANNELS)
    r, s = draw(KERNELS), draw(KERNELS)
    stride, dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 1), (1, 4)])), draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]))
    pads = [draw(st.integers(0, 4)) for _ in range(4)]
    reach_h, reach_w = (r - 1) * dilation[0] + 1, (s - 1) * dilation[1] + 1
    h = max(draw(SIZES), reach_h - pads[0] - pads[2])
    w = max(draw(SIZES), reach_w - pads[1] - pads[3])
    return Conv2d(n, g * c_group, h, w, g * k_group, r, s, *stride, *pads, *dilation, g).checked()


@st.composite
def partial_problems(draw):
    """Any legal PartialConv2d of small size: also even kernels, and kernels larger than the map."""
    convolved, r, s = draw(st.sampled_from([1, 3, 10, 16, 24])), draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 3, 4]))
    n, h, w = draw(st.integers(1, 2)), draw(SIZES), draw(SIZES)
    return PartialConv2d(n, convolved + draw(st.sampled_from([0, 1, 7, 30])), h, w, convolved, r, s).checked()


def integers(rng, shape, dtype=np.float32):
    """Integer-valued floats whose products and sums are exact."""
    return rng.integers(-4, 5, shape).astype(dtype)


def operands(problem, seed=0, dtype=np.float32, make=integers):
    """(x NCHW, weight, bias) for a problem."""
    rng = np.random.default_rng(seed)
    x = make(rng, (problem.n, problem.c, problem.h, problem.w), dtype)
    return x, make(rng, problem.weight_shape, dtype), make(rng, problem.weight_shape[:1], dtype)


def correlate(problem, x, weight, bias):
    """The convolution of a Conv2d by scipy.signal.correlate, a channel at a time, float64."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    p = problem
    x = np.pad(x, ((0, 0), (0, 0), (p.pad_top, p.pad_bottom), (p.pad_left, p.pad_right)))
    spread = np.zeros((*weight.shape[:2], (p.r - 1) * p.dilation_h + 1, (p.s - 1) * p.dilation_w + 1))
    spread[:, :, :: p.dilation_h, :: p.dilation_w] = weight
    out = np.empty((p.n, p.k, p.p, p.q))
    for n in range(p.n):
        for k in range(p.k):
            first = k // p.k_group * p.c_group
            sums = [signal.correlate(x[n, first + c], spread[k, c], "valid", "direct") for c in range(p.c_group)]
            out[n, k] = sum(sums)[:: p.stride_h, :: p.stride_w]
    return out + np.asarray(bias, np.float64)[:, None, None]


def call(problem, x, weight, bias, **options):
    """The problem through refconv's shell."""
    import refconv

    if isinstance(problem, PartialConv2d):
        return refconv.partial_conv2d(x, weight, bias, **options)
    pads = problem.pad_top, problem.pad_left, problem.pad_bottom, problem.pad_right
    stride, dilation = (problem.stride_h, problem.stride_w), (problem.dilation_h, problem.dilation_w)
    return refconv.conv2d(x, weight, bias, stride, pads, dilation, problem.groups, **options)
