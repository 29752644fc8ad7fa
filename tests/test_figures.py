"""Pictures: the numbers that a Figure's artists hold are the numbers given."""

import pytest

pytest.importorskip("matplotlib")

from refconv.published import lavin
from sim.analysis.intensity import LAVIN
from sim.analysis.waterline import KernelCost, waterline
from sim.report.figures import style
from sim.report.figures.gap import GapFamily, GapPoint, gap_figure, lavin_families
from sim.report.figures.intensity import Curve, curves_of, intensity_figure
from sim.report.figures.roofline import Move, Place, moves_of, roofline_figure
from sim.report.figures.traffic import Bar, Group, Part, groups_of, traffic_figure
from sim.report.figures.waterline import waterline_figure


def lines(axes):
    """{label: [(x, y), ...]} of the lines that have a label."""
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_gap_has_every_row_at_its_operations_and_at_its_latency():
    figure = gap_figure(lavin_families(), lavin.PEAK_FLOP_PER_S, lavin.BATCH)
    left, right = figure.axes
    rows = {(row.gmacs, 1e3 * row.latency_s, row.accuracy_percent) for row in lavin.ROWS}
    assert len(rows) == 15
    drawn = [(series, other) for series, other in zip(lines(left).values(), lines(right).values(), strict=True)]
    points = {(x, actual, y) for series, other in drawn for (x, y), (actual, _) in zip(series, other, strict=True)}
    assert [value for point in sorted(points) for value in point] == pytest.approx([value for row in sorted(rows) for value in row])
    assert list(lines(right)) == ["ConvFirst Block-Fusion", "ConvNeXt Inductor", "EfficientNet Inductor", "EfficientNetV2 Inductor"]
    assert all(line.get_linestyle() == "-" for line in left.get_lines()) and all(line.get_linestyle() == "--" for line in right.get_lines())
    labels = sorted(text.get_text() for text in left.texts)
    assert labels == sorted(["F", "P", "N", "T", "S", "P", "N", "T", "S", "B1", "B2", "B3", "B4", "B5", "S"])


def test_gaps_upper_axis_is_the_ideal_latency():
    """1 GMAC at batch 128 is 3.339 ms at 76.68 TFLOP/s: the upper axis ends where the lower one does."""

    figure = gap_figure(lavin_families(), lavin.PEAK_FLOP_PER_S, lavin.BATCH)
    figure.draw_without_rendering()
    (above,) = figure.axes[0].child_axes
    assert above.get_xlim() == pytest.approx([3.33855 * x for x in figure.axes[0].get_xlim()], rel=1e-5)


def test_intensity_draws_its_curves_over_the_water():
    curves = [Curve("a", (16, 64), (72.0, 288.0), (35.5, 160.0)), Curve("b", (16, 64), (4.5, 4.5))]
    (axes,) = intensity_figure(curves, 160.0, "m").axes
    drawn = lines(axes)
    assert drawn["a"] == [(16, 72.0), (64, 288.0)]
    assert drawn["b"] == [(16, 4.5), (64, 4.5)]
    assert drawn["a crosses"] == [(35.5, 160.0)]
    (water,) = axes.patches
    assert water.get_y() + water.get_height() == 160.0
    assert "C = 36" in [text.get_text() for text in axes.texts]


def test_curves_begin_at_a_whole_group_and_know_their_crossing():
    dense, pointwise, grouped, depthwise = curves_of(LAVIN, 2, 160.0)
    assert [curve.channels[0] for curve in (dense, pointwise, grouped, depthwise)] == [16, 16, 32, 16]
    assert {curve.channels[-1] for curve in (dense, pointwise, grouped, depthwise)} == {768}
    assert [curve.label.split("\n")[1] for curve in (dense, pointwise, grouped, depthwise)] == ["4.5 C", "0.8 C", "144", "4.5"]
    assert dense.crossing == pytest.approx((160 / 4.5, 160))
    assert pointwise.crossing == pytest.approx((200, 160))
    assert grouped.crossing is depthwise.crossing is None
    assert dense.flop_per_byte == pytest.approx([4.5 * c for c in dense.channels])


def test_roofline_has_both_programs_and_the_roof():
    moves = [Move("block", Place(2.0, 1.5e9), Place(50.0, 8e9)), Move("layer", None, Place(4.0, 4e9))]
    (axes,) = roofline_figure(moves, 8e9, 1e9, "title").axes
    drawn = {tuple(map(float, point)) for line in axes.get_lines() for point in zip(*line.get_data(), strict=True)}
    assert {(2.0, 1.5), (50.0, 8.0), (4.0, 4.0), (8.0, 8.0)} <= drawn
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert [(arrow.xyann, arrow.xy) for arrow in arrows] == [((2.0, 1.5), (50.0, 8.0))]


def test_waterline_has_a_bar_a_kernel_whose_area_below_is_the_waterline():
    costs = [KernelCost("expand", 4000, 10), KernelCost("depthwise", 40, 100), KernelCost("add", 0, 30), KernelCost("project", 4000, 20)]
    line = waterline(costs, 100.0, 1.0)
    upper, lower = waterline_figure(line, "title", "m").axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height()) for container in upper.containers for bar in container]
    assert [height for _, _, height in bars] == pytest.approx([800, 0.8, 400])
    assert [width for _, width, _ in bars] == pytest.approx([100 * macs / 8040 for macs in (4000, 40, 4000)])
    below = [bar for container in lower.containers for bar in container]
    assert [bar.get_width() for bar in below] == pytest.approx([100 * kernel.latency_s / line.latency_s for kernel in line.kernels])
    working = [bar for bar, cost in zip(below, costs, strict=True) if cost.macs]
    assert sum(bar.get_width() * bar.get_height() for bar in working) / 100 == pytest.approx(100 * line.efficiency)
    assert {word.get_text() for word in upper.figure.legends[0].get_texts()} >= {"no operations (norm, pool)", "compute-bound kernel"}
    assert below[-1].get_x() + below[-1].get_width() == pytest.approx(100)
    levels = {label.split(":")[0]: points[0][1] for label, points in lines(lower).items()}
    assert levels == pytest.approx({"waterline": 100 * line.efficiency, "roofline of all at once": 100 * line.roofline_efficiency})


TENSORS = {name: {"read_bytes": 1 << 20, "write_bytes": 0} for name in ("input", "weight", "hidden")}
TENSORS["output"] = {"read_bytes": 0, "write_bytes": 1 << 20}
ACCOUNT = {
    "name": "block",
    "dtype": "float32",
    "kernel": "fused",
    "balance_flop_per_byte": 4.0,
    "intensity": {"simulated": 50.0},
    "attainable_efficiency": 1.0,
    "tensors": TENSORS,
}
BLOCK = ACCOUNT | {
    "unfused": ACCOUNT
    | {"attainable_efficiency": 0.25, "intensity": {"simulated": 2.0}}
    | {"tensors": ACCOUNT["tensors"] | {"expand_output": {"read_bytes": 5 << 20, "write_bytes": 3 << 20}}}
}


def test_traffic_stacks_every_tensor_from_0_to_the_sum():
    (axes,) = traffic_figure(groups_of([BLOCK]), "title").axes
    bars = [bar for container in axes.containers for bar in container]
    apart, fused = ([bar for bar in bars if bar.get_y() + bar.get_height() / 2 == pytest.approx(y)] for y in (0, 1))
    assert [bar.get_width() for bar in apart] == [1, 1, 8, 1, 1], "input, weights, between layers, workspace, output"
    assert [bar.get_width() for bar in fused] == [1, 1, 1, 1]
    for row in (apart, fused):
        assert [bar.get_x() for bar in row[1:]] == [bar.get_x() + bar.get_width() for bar in row[:-1]]
    texts = [text.get_text() for text in axes.texts]
    assert "12.0 MiB" in texts and "4.00 MiB, 3.00 times less" in texts


def test_accounts_give_the_roofline_its_peak_and_places():
    moves, peak = moves_of([BLOCK], 2e9)
    assert (moves, peak) == ([Move("block", Place(2.0, 2e9), Place(50.0, 8e9))], 8e9)
    with pytest.raises(ValueError, match=r"balances of 4.00, 8.00 FLOP/B: must be one"):
        moves_of([BLOCK, BLOCK | {"balance_flop_per_byte": 8.0}], 2e9)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: gap_figure([], 1e12, 1),
        lambda: gap_figure([GapFamily("f", "", ())], 1e12, 1),
        lambda: intensity_figure([], 160, "m"),
        lambda: roofline_figure([], 1e9, 1e9, ""),
        lambda: traffic_figure([], ""),
        lambda: traffic_figure([Group("g", ())], ""),
    ],
)
def test_nothing_to_draw_is_an_error(draw):
    with pytest.raises(ValueError, match="must have at least one element"):
        draw()


def test_equal_pictures_are_equal_files(tmp_path):
    point = GapFamily("f", "b", (GapPoint("S", 80.0, 1e9, 1e-3),))
    for name in ("one.svg", "two.svg"):
        style.save(gap_figure([point], 1e12, 1), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_name_too_wide_for_its_part_is_left_out():
    parts = (Part("a name that is far too long for its part", "input", 1), Part("wide", "output", 1 << 30))
    (axes,) = traffic_figure([Group("g", (Bar("b", parts),))], "").axes
    texts = [text.get_text() for text in axes.texts]
    assert "wide" in texts
    assert not any("too long" in text for text in texts)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (4.5, "4.50"), (28.0, "28.0"), (160.0, "160"), (0.8123, "0.812"), (1234.5, "1,234"), (0.01, "0.0100")]
)
def test_three_digits(value, text):
    assert style.three_digits(value) == text


def test_sizes_in_the_gap_cover_no_line():
    """Lavin's results, whose families cross and lie close together."""
    from matplotlib.path import Path

    figure = gap_figure(lavin_families(), lavin.PEAK_FLOP_PER_S, lavin.BATCH)
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        lines = [Path(axes.transData.transform(line.get_xydata())) for line in axes.get_lines()]
        assert not any(line.intersects_bbox(box, filled=False) for line in lines for box in boxes)
        assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
