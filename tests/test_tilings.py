"""Every tiling that is offered computes the same bits; illegal ones are refused by field; the choice is explained in one line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import FEW_ROWS, INPUTS, OF_EACH_KERNEL, OUTPUTS, WIDTH, call, conv_problems, correlate, operands, partial_problems

import refconv
from refconv import kernels, plan
from refconv.host import Target
from refconv.jit import compiled, plain
from refconv.tile.fit import most_rows_of_slide
from refconv.tiling.layers import (
    ROWS,
    DenseTiling,
    DepthwiseRowsTiling,
    DepthwiseTiling,
    FewOutputsTiling,
    GroupedTiling,
    PartialTiling,
    PointwiseTiling,
    SpreadTiling,
)
from refconv.tiling.shapes import DepthwiseStrip, GroupedStrip, SpreadStrip, SumTile, Tile


@pytest.mark.parametrize("name", OF_EACH_KERNEL)
def test_every_candidate_gives_the_exact_result(name, monkeypatch):
    """The rule's and those of FEW_ROWS compiled; other heights as plain Python, since each costs a compilation."""
    problem = OF_EACH_KERNEL[name]
    x, weight, bias = operands(problem)
    if name == "partial":
        expected = np.concatenate([correlate(problem.conv, x[:, : problem.convolved], weight, bias), x[:, problem.convolved :]], axis=1)
    else:
        expected = correlate(problem, x, weight, bias)
    candidates = list(refconv.tilings(problem))
    assert len(candidates) > 6
    assert len(set(candidates)) == len(candidates)
    assert candidates[0] == refconv.choose(problem).tiling
    for tiling in candidates:
        few = tiling == candidates[0] or tiling[0].rows in FEW_ROWS
        monkeypatch.setattr(plan, "compiled", compiled if few else lambda run, signature: plain(run))
        np.testing.assert_array_equal(call(problem, x, weight, bias, tiling=tiling, threads=1), expected, err_msg=str(tiling))
    plan.make_plan.cache_clear()  # the plain ones


def test_the_choice_is_explained_in_one_line_of_numbers():
    for name, problem in OF_EACH_KERNEL.items():
        choice = refconv.choose(problem)
        assert choice.kernel == name
        assert "\n" not in str(choice)
        assert "KiB" in choice.explanation
        assert "registers" in choice.explanation
    small = Target(16, 16, 32 << 10, 256 << 10)
    tile = refconv.choose("mb1ic64ih56oc64kh3ph1", target=small).tiling.tile
    assert tile.rows * tile.vectors + min(tile.rows, tile.vectors) < small.registers  # sums, the side that is held, one that passes
    assert len(list(refconv.tilings("g8mb1ic64ih14oc64kh3ph1", kernel="conv2d"))) > 1
    with pytest.raises(ValueError, match="kernel 'gemm': must be"):
        list(refconv.tilings("mb1ic64ih56oc64kh3ph1", kernel="gemm"))


TARGETS = [Target(*vectors, 32 << 10, 256 << 10) for vectors in ((64, 32), (32, 16), (16, 16), (16, 32))]
TARGETS.append(Target(32, 16, 32 << 10, 256 << 10, memory_operands=True))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.vector_bytes} B x {target.registers}, {target.memory_operands}")
@given(st.one_of(conv_problems(), partial_problems()), st.sampled_from([4, 8]))
def test_the_rule_is_legal_and_keeps_its_sums_in_registers_on_any_target(target, problem, itemsize):
    lanes = target.lanes(itemsize)
    for name in kernels.legal(problem, lanes):
        row = kernels.KERNELS[name]
        rule = row.tiling(problem, itemsize, target)
        assert row.checked(rule, rule, problem, lanes) == rule
        shape = rule.tile if hasattr(rule, "tile") else rule.strip
        sums = shape.rows * (shape.inputs if name == "grouped" else getattr(shape, "vectors", 1))
        assert shape.rows == 1 or sums < target.registers


def dense(rows, vectors, tail, *more):
    return DenseTiling(Tile(rows, vectors, tail), *more)


ILLEGAL = [
    ("conv2d", dense(6, 1, 1, 1, 16), "tiling.tile.rows = 6: must be from 1 to 5"),
    ("conv2d", dense(1, 5, 1, 1, 16), "tiling.tile.vectors = 5: must be from 1 to"),
    ("conv2d", dense(1, 1, 1, 0, 16), "tiling.lines = 0: must be an integer from 1 to"),
    ("conv2d", dense(1, 1, 1, 2**63, 16), "tiling.lines = 9223372036854775808: must be an integer from 1 to"),
    ("conv2d", dense(1, 1, 1, 1, 16, -1), "tiling.ahead = -1: must be an integer from 0 to"),
    ("conv2d", dense(1, 1, 1, 1, 16, 1000), "tiling.ahead = 1000: must be from 0 to 256"),
    ("conv2d", dense(1, 1, 1, 1, 17), "tiling.channels = 17: must be a multiple of"),
    ("conv2d", dense(1.0, 1, 1, 1, 16), "tiling.tile.rows = 1.0: must be an integer from 1"),
    ("conv2d", dense(1, 1, 2, 1, 16), "tile.tail.* must be 1 for this problem"),
    ("conv2d", DenseTiling(1, 1, 16), "tiling.tile = 1: must be a Tile"),
    ("pointwise", PointwiseTiling(Tile(2, 1, 1), 3, 16), "pixels.* must be a multiple of tile.rows = 2"),
    ("depthwise", DepthwiseTiling(DepthwiseStrip(1, 2, 1), 1, 16, 1), r"tiling.strip.taps, .stride = \(2, 1\): must be one of"),
    ("depthwise", DepthwiseTiling(DepthwiseStrip(2, 1, 1), 1, 16, 3), "tiling.pixels = 3: must be a multiple of strip.rows = 2"),
    ("depthwise_rows", DepthwiseRowsTiling(DepthwiseStrip(6, 3, 1), 1), "tiling.strip.rows = 6: must be from 1 to 5"),
    ("few_outputs", FewOutputsTiling(SumTile(1, 1, 3), 8), "tiling.tile.width = 3: must be"),
    ("few_outputs", FewOutputsTiling(SumTile(99, 1, 3), 8), "tiling.tile.rows = 99: must be from 1 to"),
    ("grouped", GroupedTiling(GroupedStrip(1, 1, 1, WIDTH + 1, 5), 1, 1), f"tiling.strip.inputs = {WIDTH + 1}: must be {WIDTH} for this problem"),
    (
        "spread",
        SpreadTiling(SpreadStrip(1, 1, 1, INPUTS, OUTPUTS - 1, 3), 1, 1),
        f"tiling.strip.outputs = {OUTPUTS - 1}: must be {OUTPUTS} for this problem",
    ),
    ("partial", PartialTiling(Tile(5, 1, 1), 1), "tiling.tile.rows = 5: must be from 1 to 4"),
    ("partial", dense(1, 1, 1, 1, 16), "must be a PartialTiling"),
]


TARGET = Target(32, 16, 32 << 10, 256 << 10)
WIDE = ("mb1ic64ih14oc64kh1", PointwiseTiling(Tile(2, 4, 4), 48, 64, 1))
HIGH = ("mb1ic64ih14oc64kh3ph1", DenseTiling(Tile(14, 1, 1), 14, 64))
DEPTHWISE = ("g64mb1ic64ih14oc64kh3ph1", DepthwiseTiling(DepthwiseStrip(7, 3, 1), 14, 64, 14))
GROUPED = ("g16mb1ic64ih14oc64kh3ph1", GroupedTiling(GroupedStrip(1, 3, 1, 4, 2), 14, 8))
CHANGES = [
    (*WIDE, {"rows": 3, "vectors": 3}, r"^tiling.tile.vectors = 3 with the rule's tile.tail = 4: tile.tail must be 2 for this problem$"),
    (*WIDE, {"rows": 1, "vectors": 3, "tail": 2}, r"^tiling.tile.vectors = 3 with the rule's channels = 64: channels must be a multiple of 24 "),
    (*WIDE, {"rows": 5, "vectors": 2, "tail": 2}, r"^tiling.tile.rows = 5 with the rule's pixels = 48: pixels must be a multiple of tile.rows = 5$"),
    (*WIDE, {"rows": 5}, r"^tiling.tile.rows = 5: must be at most 3 for 4 vectors: .* registers of 16$"),
    (*HIGH, {"vectors": 3}, r"^tiling.tile.vectors = 3 with the rule's tile.rows = 14: tile.rows must be at most 4 for 3 vectors: .* of 16$"),
    (*HIGH, {"tail": 3}, r"^tiling.tile.tail = 3: must be 1 for this problem$"),
    (*DEPTHWISE, {"rows": 14}, r"^tiling.strip.rows = 14: must be at most 12 for taps 3: .* registers of 16$"),
    (*DEPTHWISE, {"rows": 4}, r"^tiling.strip.rows = 4 with the rule's pixels = 14: pixels must be a multiple of strip.rows = 4$"),
    (*GROUPED, {"rows": 3, "groups": 7}, r"^tiling.strip.rows = 3: must be at most 2 for taps 3: .* registers of 16$"),
    (*GROUPED, {"rows": 4, "taps": 1}, r"^tiling.strip.rows = 4: must be at most 3 for taps 1: .* registers of 16$"),
]


@pytest.mark.parametrize(("problem", "rule", "changed", "text"), CHANGES)
def test_the_field_that_was_set_is_named_and_registers_first(problem, rule, changed, text):
    """Not the field that follows from it and is still the rule's. Nothing runs, so the target may be any."""
    problem, lanes, name = refconv.Conv2d.parse(problem), TARGET.lanes(4), "tile" if hasattr(rule, "tile") else "strip"
    row = kernels.kernel_for(problem, lanes)
    assert row.checked(rule, rule, problem, lanes, TARGET) == rule
    with pytest.raises(ValueError, match=text):
        row.checked(rule._replace(**{name: getattr(rule, name)._replace(**changed)}), rule, problem, lanes, TARGET)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.vector_bytes} B x {target.registers}")
@pytest.mark.parametrize(
    "problem", ["g64mb1ic64ih14oc64kh7ph3", "g64mb1ic64ih28oc64kh3sh2ph1", "g32mb1ic64ih14oc64kh3ph1", "g32mb1ic64ih14oc32kh3ph1"]
)
def test_candidates_and_the_check_have_one_bound_of_a_strips_height(problem, target):
    """The highest candidate of each slide is legal, and a row more than the registers hold is not."""
    problem, lanes = refconv.Conv2d.parse(problem), target.lanes(4)
    row = kernels.kernel_for(problem, lanes)
    rule, slides = row.tiling(problem, 4, target), {}
    for tiling in refconv.tilings(problem, target=target):
        assert row.checked(tiling, rule, problem, lanes, target) == tiling
        slides.setdefault((int(tiling[0].taps), int(tiling[0].stride)), []).append(int(tiling[0].rows))
    for (taps, stride), heights in slides.items():
        most = max(1, most_rows_of_slide(int(getattr(rule[0], "width", 1)), taps, stride, target.registers, target.fused))
        assert max(heights) == max(rows for rows in ROWS if rows <= min(problem.q, most))
        changed = rule._replace(**{rule._fields[0]: rule[0]._replace(rows=most + 1, taps=taps, stride=stride)})
        with pytest.raises(ValueError, match=f"rows = {most + 1}: must be at most {most} for "):
            row.checked(changed, rule, problem, lanes, target)


@pytest.mark.parametrize(("name", "tiling", "text"), ILLEGAL)
def test_illegal_tilings_name_the_field(name, tiling, text):
    x, weight, bias = operands(OF_EACH_KERNEL[name])
    with pytest.raises((ValueError, TypeError), match=text):
        call(OF_EACH_KERNEL[name], x, weight, bias, tiling=tiling)


def test_kernels_are_all_covered():
    assert set(OF_EACH_KERNEL) == set(kernels.LAYER_KERNELS)
