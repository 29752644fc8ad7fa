"""The latency formula against Lavin's published results, and FasterNet's equations against its own Table 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refconv.elements import element
from refconv.networks.layers import OPERATORS, STAGES
from refconv.problem.conv import Conv2d, PartialConv2d
from refconv.published import fasternet as published
from refconv.published import lavin
from sim.analysis import efficiency, fasternet
from sim.machine.record import load_machine

positive = st.floats(1e-6, 1e18)


@pytest.mark.parametrize("row", lavin.ROWS, ids=lambda row: row.model)
def test_lavin_s_share_of_the_peak_follows_from_macs_and_latency(row):
    run = efficiency.Execution(row.flops, row.latency_s, lavin.PEAK_FLOP_PER_S)
    assert abs(100 * run.efficiency - row.peak_percent) < 0.1
    assert run.ideal_latency_s + run.gap_s == pytest.approx(row.latency_s, rel=1e-12)


def test_the_columns_of_lavin_s_table_agree_with_each_other():
    assert len(lavin.ROWS) == 15
    for row in lavin.ROWS:
        assert abs(1e3 * row.latency_s - row.latency_ms) <= 0.0501  # printed with one decimal
        assert abs(row.gmacs - row.printed_gmacs) <= 0.0501
    accuracy = [row.accuracy_percent for row in lavin.ROWS]
    assert accuracy == sorted(accuracy)


def test_lavin_s_printed_macs_are_too_coarse_to_give_the_share_of_the_peak():
    def error(row):
        share = efficiency.computational_efficiency(2e9 * row.printed_gmacs * lavin.BATCH, row.latency_s, lavin.PEAK_FLOP_PER_S)
        return abs(100 * share - row.peak_percent)

    coarse = {row.model for row in lavin.ROWS if error(row) > 0.1}
    assert {"EfficientNet B1", "ConvFirst Pico", "ConvFirst Tiny"} < coarse


@given(positive, positive, positive)
def test_the_formula_s_three_forms_are_one(flops, latency_s, peak):
    share = efficiency.computational_efficiency(flops, latency_s, peak)
    assert efficiency.actual_latency_s(flops, share, peak) == pytest.approx(latency_s, rel=1e-12)
    assert efficiency.Execution(flops, latency_s, peak).achieved_flop_per_s == pytest.approx(share * peak, rel=1e-12)


@pytest.mark.parametrize("bad", [0, -1.0, float("inf"), float("nan")])
def test_what_has_no_latency_is_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"flops = .*above 0"):
        efficiency.ideal_latency_s(bad, 1.0)
    with pytest.raises(ValueError, match=r"peak_flop_per_s = .*above 0"):
        efficiency.ideal_latency_s(1.0, bad)
    with pytest.raises(ValueError, match=r"latency_s = .*above 0"):
        efficiency.efficiency_gap_s(1.0, bad, 1.0)
    with pytest.raises(ValueError, match=r"efficiency = .*above 0"):
        efficiency.actual_latency_s(1.0, bad, 1.0)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 16), st.sampled_from([1, 3, 5]))
def test_fasternet_s_equations_are_what_this_project_counts(h, w, quarter, k):
    c, pad = 4 * quarter, k // 2
    dense = Conv2d(1, c, h, w, c, k, k, 1, 1, pad, pad, pad, pad).checked()
    depthwise, partial = dense._replace(groups=c).checked(), PartialConv2d(1, c, h, w, quarter, k, k).checked()
    pointwise = Conv2d(1, c, h, w, c, 1, 1).checked()
    elements = lambda problem: sum(problem.tensors.values())
    assert fasternet.depthwise_elements(h, w, c, k) == elements(depthwise)
    assert fasternet.conv_elements(h, w, c, k) == elements(dense)
    assert fasternet.partial_macs(h, w, quarter, k) == partial.macs
    assert fasternet.partial_elements(h, w, quarter, k) == elements(partial.conv)
    assert elements(partial) - fasternet.partial_elements(h, w, quarter, k) == 2 * h * w * (c - quarter)  # what (5) leaves out
    assert fasternet.partial_and_pointwise_macs(h, w, c, quarter, k) == partial.macs + pointwise.macs
    spread, rest = Conv2d(1, quarter, h, w, c, k, k, 1, 1, pad, pad, pad, pad), Conv2d(1, c - quarter, h, w, c, 1, 1)
    assert fasternet.t_shaped_macs(h, w, c, quarter, k) == spread.checked().macs + rest.checked().macs
    assert fasternet.conv_elements(h, w, c, k, weights=False) == 2 * h * w * c == fasternet.depthwise_elements(h, w, c, k, weights=False)


def test_fasternet_s_partial_convolution_has_a_sixteenth_of_the_operations_and_a_quarter_of_the_traffic():
    assert 16 * fasternet.partial_macs(56, 56, 24, 3) == Conv2d.parse("mb1ic96ih56oc96kh3ph1").macs
    assert 4 * fasternet.partial_elements(56, 56, 24, 3, weights=False) == fasternet.conv_elements(56, 56, 96, 3, weights=False)
    assert fasternet.partial_and_pointwise_macs(56, 56, 96, 24, 3) < fasternet.t_shaped_macs(56, 56, 96, 24, 3)


@pytest.mark.parametrize("row", published.OPERATORS, ids=lambda row: f"{row.operator}-{row.channels}")
def test_fasternet_s_rates_follow_from_its_latencies(row):
    """Rates printed are cut, not rounded, and made of MACs cut to three digits (162 of 162.57 M: 0.35 %): 0.5 % and the last digit."""
    problem = OPERATORS[row.operator][STAGES.index((row.channels, row.size))]
    gmacs = published.LAYERS * problem.macs / 1e9
    assert 0 <= 1e3 * gmacs - row.mmacs < 1

    def agrees(latency_ms, rounding, printed, digit):
        slowest, fastest = (fasternet.latency_s(gmacs, (latency_ms + sign * rounding) / 1e3) for sign in (1, -1))
        return slowest * 0.995 - digit <= printed <= fastest * 1.005

    assert gmacs * row.gpu_images_per_s == pytest.approx(row.gpu_gmacs_per_s, rel=0.005)
    assert agrees(row.cpu_ms, 0.005, row.cpu_gmacs_per_s, 0.01)
    assert agrees(row.arm_ms, 0.005, row.arm_gmacs_per_s, 0.01)


def test_fasternet_s_stated_ratios_of_partial_to_depthwise_rates():
    """10.5, 6.2 and 22.8 times on GPU, CPU and ARM, of the averages over the four stages as printed: 3274 / 313, 39.91 / 6.42, 2.73 / 0.12."""
    for column, stated, rounding in (("gpu_gmacs_per_s", 10.5, 0.05), ("cpu_gmacs_per_s", 6.2, 0.05), ("arm_gmacs_per_s", 22.8, 0.6)):
        average = {
            operator: sum(getattr(row, column) for row in published.OPERATORS if row.operator == operator) / len(STAGES)
            for operator in ("PConv", "DWConv")
        }
        assert average["PConv"] / average["DWConv"] == pytest.approx(stated, abs=rounding)


def test_fasternet_s_gpu_goes_beyond_its_direct_peak_on_dense_layers():
    """25.4 TFLOP/s of direct operations on a chip whose float32 peak is about half of that: Winograd's algorithm must be at work (our inference)."""
    best = max(published.OPERATORS, key=lambda row: row.gpu_gmacs_per_s)
    flops = 2 * published.LAYERS * OPERATORS["Conv"][STAGES.index((best.channels, best.size))].macs
    run = efficiency.Execution(
        flops * published.GPU_BATCH, published.GPU_BATCH / best.gpu_images_per_s, load_machine("rtx2080ti").peak_of(element("float32"))
    )
    assert best.operator == "Conv"
    assert 1 < run.efficiency < 2.25  # what F(2x2, 3x3) saves at most
