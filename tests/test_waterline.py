"""The waterline: its arithmetic, and the values worked by hand for an MBConv and a ConvFirst block at batch 128 in float16."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.analysis.waterline import KernelCost, waterline

PEAK, BANDWIDTH = 76.677e12, 480.1e9  # balance 159.7
costs = st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**10)), min_size=1, max_size=12).filter(lambda made: any(m for m, _ in made))
rates = st.floats(1e9, 1e15)


def kernels(made):
    return [KernelCost(str(i), macs, moved) for i, (macs, moved) in enumerate(made)]


@given(costs, rates, rates)
def test_the_waterline_is_never_above_the_roofline_of_the_whole(made, peak, bandwidth):
    result = waterline(kernels(made), peak, bandwidth)
    assert 0 < result.efficiency <= result.roofline_efficiency * (1 + 1e-12) <= 1 + 1e-12
    assert result.latency_s == pytest.approx(math.fsum(line.latency_s for line in result.kernels))
    sides = {line.under_water for line in result.kernels}
    if len(sides) == 1:  # all on one side of the balance
        assert result.efficiency == pytest.approx(result.roofline_efficiency, rel=1e-9)


@given(costs, rates, rates)
def test_the_waterline_is_the_harmonic_mean_of_the_kernels_efficiencies_weighted_by_operations(made, peak, bandwidth):
    result = waterline([kernel for kernel in kernels(made) if kernel.macs], peak, bandwidth)
    weights = [line.cost.flops for line in result.kernels]
    mean = sum(weights) / math.fsum(weight / line.efficiency for weight, line in zip(weights, result.kernels, strict=True))
    assert result.efficiency == pytest.approx(mean, rel=1e-9)
    for line in result.kernels:
        assert line.efficiency == pytest.approx(min(1, line.intensity / result.balance_flop_per_byte), rel=1e-9)
        assert line.latency_s * line.efficiency == pytest.approx(line.ideal_s, rel=1e-9)


@given(costs, costs, rates, rates)
def test_kernels_run_one_after_another_take_the_sum_of_their_times(one, other, peak, bandwidth):
    both = waterline(kernels(one + other), peak, bandwidth)
    apart = [waterline(kernels(part), peak, bandwidth) for part in (one, other)]
    assert both.latency_s == pytest.approx(sum(part.latency_s for part in apart))
    assert both.bytes == sum(part.bytes for part in apart)
    assert both.macs == sum(part.macs for part in apart)


@given(costs, rates, rates)
def test_fusing_all_kernels_into_one_that_moves_no_more_is_never_slower(made, peak, bandwidth):
    apart = waterline(kernels(made), peak, bandwidth)
    fused = waterline([KernelCost("all", apart.macs, max(moved for _, moved in made))], peak, bandwidth)
    assert fused.latency_s <= apart.latency_s * (1 + 1e-12)


def mbconv(width):
    """Expansion 256 -> 1024, 3x3 of that group width, projection and residual on 16 x 16, batch 128, float16: derived by hand."""
    pixels, c, hidden = 128 * 16 * 16, 256, 1024
    return [
        KernelCost("expand", pixels * c * hidden, 2 * (pixels * (c + hidden) + c * hidden)),
        KernelCost("conv", pixels * hidden * 9 * width, 2 * (2 * pixels * hidden + 9 * width * hidden)),
        KernelCost("project", pixels * c * hidden, 2 * (pixels * (hidden + c + c) + c * hidden)),
    ]


def convfirst():
    """3x3 of group width 8 on 64 channels of 64 x 64, expansion to 384, projection and residual, batch 128, float16: derived by hand."""
    pixels, c, hidden = 128 * 64 * 64, 64, 384
    return [
        KernelCost("conv", pixels * c * 72, 2 * (2 * pixels * c + c * 72)),
        KernelCost("expand", pixels * c * hidden, 2 * (pixels * (c + hidden) + c * hidden)),
        KernelCost("project", pixels * c * hidden, 2 * (pixels * (hidden + c + c) + c * hidden)),
    ]


@pytest.mark.parametrize(
    ("made", "intensities", "efficiencies", "level", "roof"),
    [
        (mbconv(1), (203.5, 4.5, 169.8), (1.0, 0.028, 1.0), 0.627, 0.684),
        (mbconv(8), (203.5, 36.0, 169.8), (1.0, 0.225, 1.0), 0.702, 0.767),
        (convfirst(), (36.0, 54.9, 48.0), (0.225, 0.343, 0.301), 0.309, 0.309),
    ],
)
def test_worked_blocks(made, intensities, efficiencies, level, roof):
    result = waterline(made, PEAK, BANDWIDTH)
    assert [round(line.intensity, 1) for line in result.kernels] == pytest.approx(intensities, abs=0.1)
    assert [round(line.efficiency, 3) for line in result.kernels] == pytest.approx(efficiencies, abs=0.001)
    assert result.efficiency == pytest.approx(level, abs=0.001)
    assert result.roofline_efficiency == pytest.approx(roof, abs=0.001)


def test_worked_blocks_fused_are_dry():
    pixels, c, hidden = 128 * 64 * 64, 64, 384
    apart = waterline(convfirst(), PEAK, BANDWIDTH)
    fused = waterline([KernelCost("block", apart.macs, 2 * (2 * pixels * c + 72 * c + 2 * c * hidden))], PEAK, BANDWIDTH)
    assert (round(apart.bytes / 1e6), round(fused.bytes / 1e6)) == (1141, 134)
    assert round(fused.kernels[0].intensity, 1) == 419.7
    assert (fused.efficiency, fused.submerged, fused.submerged_share) == (1.0, (), 0.0)


def test_what_has_no_waterline_is_refused_by_name():
    good = KernelCost("a", 1, 1)
    for made, peak, bandwidth, text in (
        ([good], 0.0, 1.0, "peak_flop_per_s = 0.0: must be a finite"),
        ([good], 1.0, math.inf, "bandwidth_bytes_per_s = inf: must be a finite"),
        ([good, KernelCost("b", -1, 1)], 1.0, 1.0, "kernel b: macs = -1"),
        ([good, KernelCost("b", 0, 0)], 1.0, 1.0, "kernel b: macs = 0, bytes = 0"),
        ([], 1.0, 1.0, "kernels: must have multiply-adds"),
        ([KernelCost("copy", 0, 5)], 1.0, 1.0, "kernels: must have multiply-adds"),
    ):
        with pytest.raises(ValueError, match=text):
            waterline(made, peak, bandwidth)


def test_a_kernel_that_only_moves_has_no_efficiency_and_costs_its_time():
    result = waterline([KernelCost("conv", 50, 1), KernelCost("copy", 0, 300)], 1.0, 1.0)
    assert [line.latency_s for line in result.kernels] == [100, 300]
    assert (result.efficiency, result.submerged_share, result.kernels[1].efficiency) == (0.25, 0.75, 0.0)
    assert waterline([KernelCost("in place", 50, 0)], 1.0, 1.0).kernels[0].intensity == math.inf
