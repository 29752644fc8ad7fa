"""Lower bounds: their published values, that nothing beats the theorems, and the keys and lines of reports."""

import csv
import io
import itertools
import json
import math

import accounts
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from nests import nests, small_problems
from problems import conv_problems, few_shapes
from published_bounds import chen_demmel, chen_han_wang, demmel_dinh, fused_chain, fused_lines, line_buffer, reload_factor, reuse

from refconv import Conv2d, PartialConv2d, kernels
from refconv.networks.blocks import BLOCK_PRESETS
from refconv.networks.layers import PRESETS
from sim.analysis import bounds
from sim.analysis.closed_form import boundary
from sim.analysis.loop_nest import Loop, Memory, Nest, nest
from sim.machine.record import Level, load_machine

ZEN4 = load_machine("zen4")
CONV3X3 = Conv2d(1, 64, 58, 58, 64, 3, 3)
KI = 1 << 10


@pytest.mark.parametrize(("fast", "least"), [(8 * KI, 835_131), (16 * KI, 569_344), (32 * KI, 452_864), (1 << 20, 452_864)])
def test_bound_of_a_3x3_layer(fast, least):
    """conv3x3 56x56 64->64: compulsory 452,864; the larger of the theorems at 8 Ki words, 16 Ki, and from 32 Ki on."""
    assert bounds.compulsory(CONV3X3) == 452_864
    assert bounds.layer_bound(CONV3X3, fast).elements == least
    assert max(452_864, math.ceil(chen_demmel(CONV3X3, fast))) == least
    assert (bounds.layer_bound(CONV3X3, fast).source == "compulsory traffic") == (least == 452_864)


def test_the_other_formulas_by_hand():
    layer, fast = Conv2d(1, 4, 9, 9, 6, 3, 3, 2, 2), 64
    macs = 6 * 4 * 4 * 4 * 9
    assert reuse(layer) == 9 / 4
    assert chen_demmel(layer, fast) == 2 * macs / (1.5 * 8) - 128
    assert chen_han_wang(layer, fast) == 2 * macs / (1.5 * 8) + 96
    assert demmel_dinh(layer, fast) == max(324, 216, 96, macs / 64, macs / 12) == 324
    assert chen_han_wang(CONV3X3, 1 << 20) < bounds.compulsory(CONV3X3), "a model, no bound"


@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((2, 1), (3, 2))])
def test_the_bound_proved_is_the_recalled_one_where_strides_divide_the_kernel(stride, dilation):
    layer = Conv2d(2, 32, 40, 40, 48, 4, 6, *stride, 0, 0, 0, 0, *dilation, 2)
    for fast in (64, 1000):
        assert bounds.proven(layer, fast) == pytest.approx(chen_demmel(layer, fast), rel=1e-12)


def test_taps_in_the_border_are_no_work():
    """Of a 3x3 kernel on one row of one pixel, one tap meets an input: what is proved is that of a 1x1 layer."""
    border, plain = Conv2d(1, 64, 1, 1, 64, 3, 3, 1, 1, 1, 1, 1, 1), Conv2d(1, 64, 1, 1, 64, 1, 1)
    assert bounds.proven(border, 16) == bounds.proven(plain, 16)
    assert chen_demmel(border, 16) > bounds.proven(border, 16)
    assert bounds.compulsory(border) == bounds.compulsory(plain) == 64 + 64 * 64 + 64


@st.composite
def large_nests(draw):
    """Layers of which the windows' bound is far above compulsory, and tiles of any shape."""
    r, stride = draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 2, 8]))
    c, k, size = (draw(st.sampled_from([16, 64, 200])) for _ in range(3))
    pad, dilation = draw(st.integers(0, 2)), draw(st.sampled_from([1, 1, 2]))
    layer = Conv2d(1, c * groups, size, size, k * groups, r, r, stride, stride, pad, pad, pad, pad, dilation, dilation, groups).checked()
    dims = draw(st.permutations("KCPQ"))
    return Nest(layer, tuple(Loop(dim, draw(st.sampled_from([1, 2, 4, 8, 16, 24]))) for dim in (*dims, *draw(st.permutations("GRS")))))


@settings(max_examples=200)
@given(st.one_of(large_nests(), nests(small_problems())), st.sampled_from(["auto", "reloaded", "kept"]), st.data())
def test_no_nest_moves_less_than_the_bound_of_a_memory_of_its_tiles(loops, halo, data):
    """The closed form of an explicit memory against the theorem; sums filled from below, for which the proof is whole, and not."""
    at = data.draw(st.integers(0, len(loops.loops)))
    filled, free = (boundary(loops, Memory("m", at), halo, write_allocate=allocate) for allocate in (True, False))
    bound = bounds.layer_bound(loops.problem, filled.workspace)
    assert filled.elements >= bound.elements
    assert free.elements >= bound.elements


def test_the_bound_is_not_far_from_what_a_good_nest_moves():
    """About the blocks x y = rho z of Chen, Han and Wang at 8 Ki elements, whole ones: within 1.6 of the bound, which therefore says something."""
    found = boundary(nest(CONV3X3, "P/14 Q/14 K/32 C/1"), Memory("m", 4))
    assert found.workspace <= 8 * KI
    assert found.elements <= 1.6 * bounds.layer_bound(CONV3X3, 8 * KI).elements


@settings(max_examples=100)
@given(conv_problems())
def test_a_larger_memory_has_a_lower_bound_and_never_one_below_compulsory(problem):
    least = [bounds.layer_bound(problem, fast).elements for fast in (16, 256, 1 << 20)]
    assert least == sorted(least, reverse=True)
    assert least[-1] >= bounds.compulsory(problem) == sum(problem.compulsory.values())


def test_channels_passed_through_move_besides():
    partial, fast = PartialConv2d(1, 64, 24, 24, 48, 3, 3), 256
    passed = 2 * 16 * 24 * 24
    assert bounds.layer_bound(partial, fast).elements == bounds.layer_bound(partial.conv, fast).elements + passed
    assert bounds.layer_bound(partial, fast).source != "compulsory traffic"
    assert bounds.layer_bound(partial, 1 << 30, besides=48).elements == bounds.compulsory(partial) + 48


def test_sums_that_nothing_fills_and_a_warm_memory_have_lower_bounds():
    """Outputs stored past the caches are not read first: |O| less is proved. What a warm memory may hold need not be read, but for outputs."""
    fast, filled = 4 * KI, bounds.layer_bound(CONV3X3, 4 * KI, 7)
    assert filled.source.startswith("2 G / sqrt(rho M) - 2 M (")
    assert bounds.layer_bound(CONV3X3, fast, 7, filled=False).elements == filled.elements - 64 * 56 * 56
    assert bounds.layer_bound(CONV3X3, fast, 7, warm=True).elements == filled.elements - 7
    assert bounds.layer_bound(CONV3X3, 1 << 20, warm=True).elements == 64 * 56 * 56
    assert bounds.layer_bound(CONV3X3, 100 * KI, 7, warm=True).elements == 452_864 + 7 - 100 * KI


@settings(max_examples=15)
@given(conv_problems(), st.sampled_from([{"stores": "nontemporal"}, {"warm": True}, {"warm": True, "stores": "nontemporal"}]))
def test_no_run_moves_less_than_its_bound(problem, options):
    machine = ZEN4._replace(levels=(Level("L1", 512, 8, 64), Level("L2", 1024, 2, 64)))
    with few_shapes("float32", traced=True):
        layer = accounts.simulate(None, problem, machine, bias=True, **options)
    assert layer["bound_ratio"] >= 1


# Depthwise, and chains


@pytest.mark.parametrize(("h", "w", "r", "s"), [(9, 12, 3, 3), (8, 7, 5, 2), (6, 9, 1, 4), (11, 8, 7, 7)])
def test_a_depthwise_line_buffer_suffices_and_is_what_row_order_needs(h, w, r, s):
    """Inputs read and needed again, at every output in turn, and the window of weights and a sum: at most the formula, and as much."""
    layer = Conv2d(1, 1, h, w, 1, r, s)
    steps = {place: step for step, place in enumerate(itertools.product(range(layer.p), range(layer.q)))}
    live = [0] * len(steps)
    for y, x in itertools.product(range(h), range(w)):
        uses = [steps[y - i, x - j] for i in range(r) for j in range(s) if (y - i, x - j) in steps]
        for step in range(min(uses), max(uses) + 1):
            live[step] += 1
    assert max(live) + r * s + 1 == line_buffer(layer)


@pytest.mark.parametrize(("stride", "tiles"), [(1, (4, 6)), (2, (2, 3)), (3, (1, 4))])
def test_reloaded_tiles_of_a_depthwise_layer(stride, tiles):
    layer = Conv2d(1, 5, 11 * stride + 3, 23 * stride + 3, 5, 3, 3, stride, stride, groups=5)
    assert (layer.p, layer.q) == (12, 24)
    moved = boundary(nest(layer, f"P/{tiles[0]} Q/{tiles[1]}"), Memory("m", 2), "reloaded").moved
    assert moved["input"].read_elements == pytest.approx(reload_factor(layer, *tiles) * 5 * layer.p * layer.q * stride**2)


def test_fused_chains():
    layers = Conv2d(1, 8, 20, 20, 48, 1, 1), Conv2d(1, 48, 20, 20, 48, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 48), Conv2d(1, 48, 20, 20, 16, 1, 1)
    assert fused_chain(layers) == 8 * 400 + (8 * 48 + 48 * 9 + 48 * 16) + 16 * 400
    assert fused_lines(layers) == 48 * 2 * 20
    for name in ("ffn", "fusedmbconv"):
        block, size = BLOCK_PRESETS[name].record(), BLOCK_PRESETS[name].size
        chain = [problem for _, problem in block.layers(1, size, size)]
        bias = block.compulsory(1, size, size)["bias"]
        assert bounds.chain_bound(block, 1, size, size).elements == fused_chain(chain) + bias


# Simulated traffic and reports


@pytest.mark.parametrize("kib", [16, 256])
@pytest.mark.parametrize("name", PRESETS)
def test_traces_on_a_fully_associative_cache_move_no_less_than_the_bound(name, kib):
    """A theorem for this trace: one cache with write-allocate, and what registers hold besides; whole lines only move more."""
    problem, machine = PRESETS[name].problem, ZEN4._replace(levels=(Level("all", kib * KI, kib * KI // 64, 64),))
    tiling = kernels.kernel_for(problem, 16).tiling(problem, 4, ZEN4.target)
    layer = accounts.simulate(None, problem, machine, tiling, bias=True)
    moved = layer["dram"]["read_bytes"] + layer["dram"]["write_bytes"]
    assert bounds.fast_elements(machine, 4) == (kib * KI + ZEN4.registers * ZEN4.vector_bytes) // 4
    assert layer["bound_bytes"] == 4 * bounds.layer_bound(problem, bounds.fast_elements(machine, 4), problem.weight_shape[0]).elements
    assert moved >= layer["bound_bytes"] >= layer["compulsory_bytes"]
    assert layer["bound_ratio"] == moved / layer["bound_bytes"]
    if name == "conv2d":
        assert layer["bound_source"].startswith("2 G / sqrt(rho M) - 2 M" if kib == 16 else "compulsory")


def test_reports_print_bound_and_ratio():
    status, out, _ = run("--layer", "mb1ic8ih8oc8kh3ph1", "--machine", "textbook")
    assert status == 0
    assert "Lower bound 6400 B: compulsory traffic; traffic is" in out
    status, out, _ = run("--layer", "mb1ic8ih8oc8kh3ph1", "--machine", "textbook", "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["bound_bytes"] == "6400"
    assert row["bound_source"] == "compulsory traffic"
    assert float(row["bound_ratio"]) == (int(row["dram_read_bytes"]) + int(row["dram_write_bytes"])) / 6400


def test_a_block_has_the_bound_of_its_chain_however_it_is_run():
    status, out, _ = run("--layer", "ffn", "--machine", "zen4", "--json")
    assert status == 0
    (block,) = json.loads(out)["layers"]
    for record in (block, block["unfused"]):
        assert record["bound_bytes"] == block["compulsory_bytes"]
        assert record["bound_source"] == "compulsory traffic of the fused chain"
        assert record["bound_ratio"] >= 1
