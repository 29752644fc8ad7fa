"""Operational intensity: the published limits, the exact form against problems, and where it meets a balance."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refconv import Conv2d
from sim.analysis.intensity import LAVIN, Operator, intensity

DENSE, POINTWISE, GROUPED, DEPTHWISE = LAVIN
operators = st.builds(Operator, kernel=st.sampled_from([1, 3, 5, 7]), width=st.sampled_from([None, 1, 8, 32]), expansion=st.integers(1, 6))


@given(st.integers(1, 4096))
def test_limits_are_those_of_the_papers_figure(channels):
    """float16: 4.5 C, 0.8 C, and whatever the channels 144 and 4.5."""
    assert DENSE.intensity(channels, 2) == pytest.approx(4.5 * channels, rel=1e-14)
    assert POINTWISE.intensity(channels, 2) == pytest.approx(0.8 * channels, rel=1e-14)
    assert GROUPED.intensity(channels, 2) == pytest.approx(144, rel=1e-14)
    assert DEPTHWISE.intensity(channels, 2) == pytest.approx(4.5, rel=1e-14)


@given(operators, st.integers(1, 8), st.integers(7, 30), st.integers(1, 4), st.sampled_from([2, 4, 8]))
def test_exact_form_is_flops_over_compulsory_bytes(operator, groups, size, images, itemsize):
    """Of the layer as a problem, padded so that the map keeps its size: weights, inputs and outputs once."""
    channels = (operator.width or 8) * groups
    pad = operator.kernel // 2
    k, g = operator.expansion * channels, 1 if operator.width is None else groups
    conv = Conv2d(images, channels, size, size, k, operator.kernel, operator.kernel, 1, 1, pad, pad, pad, pad, 1, 1, g).checked()
    exact = conv.flops / (itemsize * sum(conv.compulsory.values()))
    assert operator.intensity(channels, itemsize, images * size * size) == pytest.approx(exact, rel=1e-12)


@given(operators, st.integers(1, 8), st.integers(1, 10**6), st.sampled_from([2, 4]))
def test_weights_only_lower_it_and_less_the_more_positions(operator, groups, positions, itemsize):
    channels = (operator.width or 8) * groups
    fewer, more, limit = (operator.intensity(channels, itemsize, at) for at in (positions, 10 * positions, math.inf))
    assert fewer < more < limit
    assert operator.intensity(channels, itemsize, 1e15) == pytest.approx(limit, rel=1e-6)


def test_channels_from_which_on_layers_are_compute_bound():
    """At 160 FLOP/B in float16: 36 dense 3x3, 200 with expansion 4, 320 plain 1x1; no group of 32 or fewer ever."""
    at = [math.ceil(operator.channels_at(160, 2) - 1e-9) for operator in (DENSE, POINTWISE, Operator(1))]
    assert at == [36, 200, 320]
    assert GROUPED.channels_at(160, 2) == DEPTHWISE.channels_at(160, 2) == math.inf
    assert GROUPED.channels_at(144, 2) == 32


@given(operators, st.floats(0.5, 500), st.integers(1, 10**6), st.sampled_from([2, 4]))
def test_channels_at_a_balance_have_that_intensity(operator, balance, positions, itemsize):
    at = operator.channels_at(balance, itemsize, positions)
    if at < math.inf and operator.width is None:
        assert operator.intensity(at, itemsize, positions) == pytest.approx(balance, rel=1e-9)
    elif operator.width is None:
        assert operator.intensity(1e12, itemsize, positions) < balance * (1 + 1e-9)
    else:
        assert (operator.intensity(operator.width, itemsize, positions) >= balance) == (at == operator.width)


@pytest.mark.parametrize(("name", "value"), [("c", 0), ("k", -1), ("taps", 0), ("width", 0), ("itemsize", 0), ("positions", math.nan)])
def test_what_is_not_above_0_is_named(name, value):
    legal = {"c": 8, "k": 8, "taps": 9, "width": 8, "itemsize": 2, "positions": 49}
    with pytest.raises(ValueError, match=rf"{name} = {value!r}: must be above 0"):
        intensity(**{**legal, name: value})
