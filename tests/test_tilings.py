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
from refconv.tiling.layers import (
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


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.vector_bytes} B x {target.registers}")
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
    ("conv2d", dense(1, 1, 2, 1, 16), "tiling.tile.tail = 2: must be 1 for this problem"),
    ("conv2d", DenseTiling(1, 1, 16), "tiling.tile = 1: must be a Tile"),
    ("pointwise", PointwiseTiling(Tile(2, 1, 1), 3, 16), "tiling.pixels = 3: must be a multiple of tile.rows = 2"),
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


@pytest.mark.parametrize(("name", "tiling", "text"), ILLEGAL)
def test_illegal_tilings_name_the_field(name, tiling, text):
    x, weight, bias = operands(OF_EACH_KERNEL[name])
    with pytest.raises((ValueError, TypeError), match=text):
        call(OF_EACH_KERNEL[name], x, weight, bias, tiling=tiling)


def test_kernels_are_all_covered():
    assert set(OF_EACH_KERNEL) == set(kernels.LAYER_KERNELS)
