"""The closed form: outputs published by others, its own definition element by element, LRU traces, and the nests of the kernels."""

import itertools
import random

import accounts
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import conv_problems, operands

from refconv import Conv2d, PartialConv2d, host, kernels
from refconv.tile.recorded import Recorded
from refconv.tiling.layers import PointwiseTiling
from refconv.weights.packed import pack_weight
from sim.analysis.closed_form import HALOS, RELEVANT, SLIDING, Axis, Boundary, boundaries, boundary, fit
from sim.analysis.loop_nest import DIMENSIONS, LOOPS, Loop, Memory, Nest, checked, extents, kernel_nest, moving, nest
from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.words import READ, TENSOR_BITS, WRITTEN, WRITTEN_BY_FLUSH
from sim.machine.record import Level, load_machine

ZEN4 = load_machine("zen4")
TIMELOOP = Conv2d(1, 3, 225, 225, 32, 3, 3, 2, 2)
"""timeloop-accelergy-exercises' default layer, its padding part of the input."""
CONV3X3 = Conv2d(1, 64, 58, 58, 64, 3, 3)
"""The layer given to ZigZag and SCALE-Sim: 64 to 64 channels, 56x56 outputs, the padding part of the input."""


def outermost(problem, text, **options):
    """(input read, weight read, output read, output written) of the outermost memory."""
    moved = boundaries(nest(problem, text), **options)[0].moved
    output = moved["output"]
    return moved["input"].read_elements, moved["weight"].read_elements, output.read_elements, output.written_elements


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("P/14 Q/56 K/8 [buffer 16384B] C/1", (157_296, 13_824, 0, 401_408)),  # eyeriss_like: 16 tiles of 3*29*113, halo reloaded
        ("Q/8 [buffer]", (151_875, 864, 0, 401_408)),  # simple_weight_stationary: 11,475 + 13 * (3*225*16), halo kept
    ],
)
def test_timeloop_reference_outputs(text, counts):
    assert TIMELOOP.macs == 10_838_016
    assert outermost(TIMELOOP, text) == counts


def test_zigzag_with_a_top_memory_of_256_kib_moves_each_word_once():
    """ZigZag's DRAM words; rows of a tile in 256 Ki words, in the order that reuses most."""
    assert outermost(CONV3X3, "P/4 [top 256KiB] Q/8 K/8 C/8") == (215_296, 36_864, 0, 200_704)


SCALE_SIM = {
    512: (215_296, 36_864, 200_704),
    128: (474_500, 36_864, 200_735),
    64: (546_272, 51_182, 200_735),
    32: (649_426, 3_612_672, 200_735),
    16: (1_295_646, 3_612_672, 200_735),
    8: (2_379_444, 3_612_672, 200_735),
}
"""KiB of each of three memories: words of input, weight and output to and from DRAM, by SCALE-Sim 2.0.2, output stationary on a 32x32 array."""


def test_scale_sim_with_large_memories_moves_each_word_once():
    assert outermost(CONV3X3, f"[memory {3 * 512}KiB]") == (215_296, 36_864, 0, 200_704)


@pytest.mark.parametrize("kib", SCALE_SIM)
def test_the_conv2d_kernel_moves_no_more_than_scale_sim_by_the_closed_form(kib):
    """One memory of as many words as SCALE-Sim's three."""
    tiling = kernels.KERNELS["conv2d"].tiling(CONV3X3, 4, ZEN4.target)
    loops = kernel_nest("conv2d", CONV3X3, tiling, 16)
    assert boundary(loops, Memory("all", fit(loops, 3 * kib << 10))).elements <= sum(SCALE_SIM[kib])


@pytest.mark.parametrize("kib", [16, 512])
def test_the_conv2d_kernel_moves_no_more_than_scale_sim_by_the_trace(kib):
    """A fully associative LRU cache of as many words; operands only, for what is staged stays on the chip there, and outputs are not filled."""
    ways = 3 * kib * 1024 * 4 // 64
    machine = ZEN4._replace(levels=(ZEN4.levels[0], Level("all", ways * 64, ways, 64)))
    moved = accounts.simulate("conv2d", CONV3X3, machine, kernels.KERNELS["conv2d"].tiling(CONV3X3, 4, ZEN4.target))["tensors"]
    ours = moved["input"]["read_bytes"], moved["weight"]["read_bytes"], moved["output"]["write_bytes"]
    assert sum(ours) <= 4 * sum(SCALE_SIM[kib])
    if kib == 512:
        assert ours == tuple(4 * words for words in SCALE_SIM[512])


# The definition, element by element


def touched(conv, ranges):
    """({input element}, {weight}, {output}) of the MACs in ranges {dimension: (first, last + 1)}; a MAC at the border touches its output only."""
    inputs, weights, outputs = set(), set(), set()
    for n, g, k, c, p, q, r, s in itertools.product(*(range(*ranges[dim]) for dim in DIMENSIONS)):
        outputs.add((n, g, k, p, q))
        y, x = p * conv.stride_h + r * conv.dilation_h - conv.pad_top, q * conv.stride_w + s * conv.dilation_w - conv.pad_left
        if 0 <= y < conv.h and 0 <= x < conv.w:
            inputs.add((n, g, c, y, x))
            weights.add((g, k, c, r, s))
    return {"input": inputs, "weight": weights, "output": outputs}


def turns(loops, ranges):
    """The ranges of every turn of loops, outer to inner, and the number of the loop that has turned (-1: the first of all)."""
    if not loops:
        yield -1, ranges
        return
    loop, *inner = loops
    for number, at in enumerate(range(*ranges[loop.dim], loop.tile)):
        narrower = {**ranges, loop.dim: (at, min(at + loop.tile, ranges[loop.dim][1]))}
        for i, (turned, narrowest) in enumerate(turns(inner, narrower)):
            yield (turned + 1 if i else 0 if number else -1), narrowest


def whole(problem):
    """The ranges of a problem."""
    return {dim: (0, size) for dim, size in extents(problem).items()}


def copied(loops, at, halo):
    """({tensor: (elements read, written, read where the first coming is read, too)}, inputs held) by doing what sim.tiles says, with sets."""
    outside, counts, held = moving(loops, at), {}, 0
    for name, dims in RELEVANT.items():
        changing = [i for i, loop in enumerate(outside) if loop.dim in dims]
        live = outside[: changing[-1] + 1] if changing else []
        runs = []
        for turned, ranges in turns(live, whole(loops.problem)):
            tile = touched(loops.conv, ranges)[name]
            if turned == len(live) - 1 and live:
                runs[-1].append(tile)
            else:
                runs.append([tile])
        tiles = [tile for run in runs for tile in run]
        elements = sum(map(len, tiles))
        counts[name] = elements, 0, elements
        if name == "output":
            counts[name] = elements - len(set().union(*tiles)), elements, elements
        if name == "input":
            kept = bool(live) and live[-1].dim in SLIDING and (halo == "kept" or (halo == "auto" and len(live) == len(outside)))
            if kept:
                read = sum(len(set().union(*run)) for run in runs)
                counts[name] = read, 0, read
            for run in runs if kept else ([tile] for tile in tiles):
                held = max(held, *(len(set().union(*run[: i + 1]) & set().union(*run[i:])) for i in range(len(run))))
    return counts, held


@st.composite
def small_problems(draw, pads=True):
    """Conv2ds of some hundred MACs, groups and depthwise included."""
    r, s, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride, dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3))), (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    around = [draw(st.integers(0, 2)) if pads else 0 for _ in range(4)]
    h, w = ((kernel - 1) * d + draw(st.integers(1, 5)) for kernel, d in ((r, dilation[0]), (s, dilation[1])))
    c, k, n = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    return Conv2d(n, c * groups, h, w, k * groups, r, s, *stride, *around, *dilation, groups).checked()


@st.composite
def nests(draw, problems, most=5):
    """A problem under loops in any order, a dimension up to twice, ragged tiles included."""
    problem = draw(problems)
    sizes = {dim: size for dim, size in extents(problem).items() if size > 1}
    dims = draw(st.lists(st.sampled_from(sorted(sizes) or ["N"]), max_size=most))
    return checked(Nest(problem, tuple(Loop(dim, draw(st.integers(1, max(1, sizes.get(dim, 1) - 1)))) for dim in dims)))


@settings(max_examples=200)
@given(nests(small_problems()), st.sampled_from(HALOS), st.data())
def test_counts_equal_their_definition_element_by_element(loops, halo, data):
    """Any order, any tiles, any place of the memory: strides, dilations, borders, groups, sums that come again."""
    at = data.draw(st.integers(0, len(loops.loops)))
    closed, filled = (boundary(loops, Memory("m", at), halo, write_allocate=allocate) for allocate in (False, True))
    counts, held = copied(loops, at, halo)
    for name, (read, written, fill) in counts.items():
        assert (closed.moved[name].read_elements, closed.moved[name].written_elements) == (read, written), name
        assert filled.moved[name].read_elements == fill
    tiles = [touched(loops.conv, ranges) for _, ranges in turns(moving(loops, at), whole(loops.problem))]
    assert closed.held["input"] == held
    assert closed.held["output"] == max(len(tile["output"]) for tile in tiles)
    assert closed.held["weight"] >= max(len(tile["weight"]) for tile in tiles)
    least = loops.problem.compulsory
    assert all(closed.moved[name].read_elements >= least[name] for name in ("input", "weight"))
    assert closed.moved["output"].written_elements >= least["output"]


# LRU


def traced(loops, capacity):
    """{tensor: (elements read, written)} of a fully associative LRU cache of `capacity` lines of one element: a turn touches each tile once."""
    numbers, lines, writes = {}, [], []
    for _, ranges in turns(loops.loops, whole(loops.problem)):
        for tensor, (name, elements) in enumerate(touched(loops.conv, ranges).items()):
            for element in sorted(elements):
                place = numbers.setdefault((name, element), len(numbers))
                lines.append(((tensor << TENSOR_BITS) >> 3) + place)
                writes.append(name == "output")
    hierarchy = Hierarchy([(1, capacity)], 8, 3)
    hierarchy.access(lines, writes)
    hierarchy.finish()
    return {name: (int(d[READ]), int(d[WRITTEN] + d[WRITTEN_BY_FLUSH])) for name, d in zip(RELEVANT, hierarchy.dram, strict=True)}


def overlaps(conv, loop):
    """Whether tiles along a loop share inputs."""
    sliding = {"P": conv.r, "Q": conv.s, "R": conv.p, "S": conv.q}
    return sliding.get(loop.dim, 1) > 1


def equal_capacities(loops):
    """range of the capacities at which LRU moves what the closed form says (halo kept), or None where it says nothing.

    Where: no border and dense windows, so that every turn touches the whole of its tiles and a tile shares inputs with its neighbours in a
    run only; at most one loop whose turns share inputs, and it is the innermost that changes the input. From: the elements of any
    two successive turns together, for then what the next turn needs again is still there. Below: what a loop that reloads a tensor walks of that
    tensor in one turn of its own, for then all of that has come by since a tile was there.
    """
    conv, outside = loops.conv, moving(loops, len(loops.loops))
    live = [loop for loop in outside if loop.dim in RELEVANT["input"]]
    sliding = [loop for loop in outside if overlaps(conv, loop)]
    if any(conv[9:13]) or conv.dilation_h > 1 or conv.dilation_w > 1 or len(sliding) > 1 or (sliding and sliding[0] is not live[-1]):
        return None
    if sliding and sliding[0].dim in "RS" and max(conv.stride_h, conv.stride_w) > 1:
        return None
    tiles = [touched(conv, ranges) for _, ranges in turns(outside, whole(loops.problem))]
    enough = max(sum(len(a[name] | b[name]) for name in a) for a, b in itertools.pairwise([*tiles, tiles[-1]]))
    below = 1 << 20
    for name, dims in RELEVANT.items():
        for i, loop in enumerate(outside):
            if loop.dim not in dims and any(inner.dim in dims for inner in outside[i + 1 :]):
                body = [touched(conv, ranges)[name] for _, ranges in turns(outside[: i + 1], whole(loops.problem))]
                below = min(below, *map(len, body))
    return range(enough, below)


def check_lru(loops, capacity):
    """The trace at that capacity equals the closed form with write-allocate."""
    moved = boundary(loops, Memory("m", len(loops.loops)), "kept", write_allocate=True).moved
    assert traced(loops, capacity) == {name: (of.read_elements, of.written_elements) for name, of in moved.items()}


@settings(max_examples=300)
@given(nests(small_problems(pads=False), most=3))
def test_lru_moves_what_the_closed_form_says_between_two_capacities(loops):
    """See `equal_capacities` for where: at both ends of that range."""
    loops = loops._replace(loops=tuple(moving(loops, len(loops.loops))))
    capacities = equal_capacities(loops)
    assume(capacities)
    check_lru(loops, capacities[0])
    check_lru(loops, min(capacities[-1], 4096))


RELOADING = [
    (Conv2d(1, 1, 12, 6, 40, 3, 1), "P/1 K/1"),  # the weight goes round for every row
    (Conv2d(1, 8, 6, 6, 8, 1, 1), "C/2 Q/1"),  # sums come again
    (Conv2d(2, 6, 9, 9, 6, 3, 3, groups=6), "G/1 P/2"),  # depthwise: nothing reloads
    (Conv2d(1, 4, 16, 5, 8, 3, 2), "K/2 P/1"),  # the input goes round, sliding
]


@pytest.mark.parametrize(("problem", "text"), RELOADING)
def test_lru_equals_the_closed_form_of_reloading_nests(problem, text):
    """That the property above is not about nothing: every capacity of the range; one more line above it, and less moves."""
    loops = nest(problem, text)
    capacities = equal_capacities(loops)
    for capacity in (*capacities[:60], capacities[-1]):
        check_lru(loops, capacity)
    assert len(capacities) > 10


def test_the_kernels_own_trace_equals_the_closed_form_at_lru_capacities():
    """The pointwise kernel itself, whole lines of 16 channels: weights and pixels that stay, and weights that go round for each block of pixels."""
    problem, tiling = Conv2d(1, 64, 1, 480, 256, 1, 1), PointwiseTiling(6, 2, 2, 48, 256)
    loops = kernel_nest("pointwise", problem, tiling, 16)
    for kib, reloads in ((16, 10), (1024, 1)):
        machine = ZEN4._replace(levels=(Level("all", kib << 10, kib << 4, 64),))
        tensors = accounts.simulate("pointwise", problem, machine, tiling)["tensors"]
        moved = boundary(loops, Memory("all", fit(loops, kib << 10, 4, turns=2)), write_allocate=True).moved
        assert moved["weight"].read_elements == 64 * 256 * reloads
        for name, of in moved.items():
            assert (tensors[name]["read_bytes"], tensors[name]["write_bytes"]) == (4 * of.read_elements, 4 * of.written_elements), (name, kib)


# The kernels' nests


class Ordered(Recorded):
    """Recorded, and the order of the stores."""

    def __init__(self, values):
        super().__init__(values)
        self.order = []

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.order += range(key.start, key.stop) if isinstance(key, slice) else [int(key)]


CASES = {
    "conv2d": Conv2d(2, 6, 7, 9, 80, 3, 2, 1, 2, 1, 1, 1, 1, 1, 1, 2),
    "pointwise": Conv2d(2, 5, 7, 9, 50, 1, 1),
    "partial": PartialConv2d(2, 45, 7, 9, 36, 3, 3),
    "depthwise": Conv2d(2, 40, 9, 10, 40, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 40),
    "grouped": Conv2d(2, 48, 7, 9, 48, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 12),
    "spread": Conv2d(2, 24, 7, 9, 48, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 12),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", kernels.KERNELS)
def test_kernels_store_their_outputs_in_the_order_of_their_nest(name, seed):
    """Under tilings of several units, ragged: the plain source's stores never go back to an earlier turn of the nest's loops over outputs."""
    problem, row, rng, target = CASES[name].checked(), kernels.KERNELS[name], random.Random(seed), host.target()
    lanes = target.lanes(4)
    rule, wanted = row.tiling(problem, 4, target), {"lines": rng.randint(1, 4)}
    wanted["channels"] = lanes * int(getattr(rule, "vectors", 1)) * rng.randint(1, 2)
    wanted["vectors_per_unit"] = rng.randint(1, 2)
    wanted["rows"] = rng.randint(2, min(5, problem.q, int(rule.rows)))
    wanted["pixels"] = wanted["rows"] * rng.randint(1, 9)
    tiling = row.checked(rule._replace(**{field: value for field, value in wanted.items() if hasattr(rule, field)}), rule, problem, lanes)
    x, weight, bias = operands(problem, seed)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    out = Ordered(np.zeros(problem.tensors["output"], np.float32))
    work = tuple(Recorded(np.zeros(size, np.float32)) for size in row.workspace(problem, tiling, lanes, False).values())
    packed = Recorded(pack_weight(weight, problem.groups, row.order, lanes))
    row.source(Recorded(x), packed, Recorded(bias), out, work, problem, tiling, 0, 1, 0, row.units(problem, tiling))
    loops = kernel_nest(name, problem, tiling, lanes)
    conv = loops.conv
    place = {}
    for turn, (_, ranges) in enumerate(turns([loop for loop in loops.loops if loop.dim in RELEVANT["output"]], whole(loops.problem))):
        for n, g, k, p, q in itertools.product(*(range(*ranges[dim]) for dim in RELEVANT["output"])):
            place[((n * conv.p + p) * conv.q + q) * problem.k + g * conv.k_group + k] = turn
    order = [place[at] for at in out.order if at in place]
    assert len(order) == conv.tensors["output"]
    assert order == sorted(order)
    assert order[-1] >= 10


def test_every_kernel_has_a_nest():
    assert set(LOOPS) == set(kernels.KERNELS)
    with pytest.raises(ValueError, match="kernel 'winograd': must be conv2d"):
        kernel_nest("winograd", CASES["conv2d"], None, 16)


@settings(max_examples=60)
@given(conv_problems())
def test_a_larger_memory_stands_further_out_and_moves_no_less_than_compulsory(problem):
    loops = checked(Nest(problem, (Loop("N", 1), Loop("P", 2), Loop("K", 3), Loop("Q", 2), Loop("C", 2))))
    places = [fit(loops, capacity) for capacity in (1 << 12, 1 << 16, 1 << 40) if fit_or_none(loops, capacity) is not None]
    assert places == sorted(places, reverse=True)
    assert places[-1] == 0
    found = boundary(loops, Memory("all", 0))
    assert found.elements == sum(problem.compulsory.values())


def fit_or_none(loops, capacity):
    """fit, or None where nothing fits."""
    try:
        return fit(loops, capacity)
    except ValueError:
        return None


def test_partial_convolutions_pass_channels_through_once():
    problem = PartialConv2d(2, 12, 6, 5, 4, 3, 3)
    found = boundary(nest(problem, "N/1 P/2 [m]"), Memory("m", 2), "reloaded")
    rest, conv = 2 * 8 * 30, boundary(nest(problem.conv, "N/1 P/2 [m]"), Memory("m", 2), "reloaded")
    assert isinstance(conv, Boundary)
    assert found.moved["input"].read_elements == conv.moved["input"].read_elements + rest
    assert found.moved["output"].written_elements == conv.moved["output"].written_elements + rest
    assert found.elements == conv.elements + 2 * rest


def test_text_of_a_nest_is_read_again():
    loops = nest(TIMELOOP, " P/14  Q/56 [buffer 16KiB] K/8 [near]")
    assert [memory.at for memory in loops.memories] == [2, 3]
    assert nest(TIMELOOP, str(loops)) == loops


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("P/14 Q", "no loop or memory at 'Q'; legal: loops such as P/14"),
        ("X/14", "loop over 'X': must be over one of N"),
        ("P/0", "loop P/0: the tile must be an integer of at least 1"),
        ("[a 1 furlong]", "'1 furlong': must be a size such as 32 KiB"),
        ("P/14 Q/56", "has no memory; legal: at least one"),
        ("P/14 Q/56 K/8 [buffer 16000B]", "memory buffer of 16000 bytes: must be at least 16319, its tiles"),
    ],
)
def test_bad_nests_are_refused(text, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        boundaries(nest(TIMELOOP, text))


def test_bad_memories_and_halos_are_refused():
    with pytest.raises(ValueError, match="halo = 'some': must be auto, kept or reloaded"):
        boundary(nest(TIMELOOP, "P/1"), Memory("m", 1), "some")
    with pytest.raises(ValueError, match="memories inside of"):
        checked(Nest(TIMELOOP, (), (Memory("m", 3),)))
    with pytest.raises(ValueError, match="capacity of 2 bytes: must be at least"):
        fit(nest(TIMELOOP, "P/1"), 2)


def test_huge_problems_are_counted_at_once():
    """A run of 2^28 rows, kept; tiles that are counted one by one are refused where they are too many."""
    tall = Conv2d(1, 1, 1 << 28, 64, 1, 3, 3, 1, 1, 1, 1, 1, 1)
    assert outermost(tall, "P/1 [m]") == ((1 << 28) * 64, 9, 0, (1 << 28) * 64)
    with pytest.raises(ValueError, match="must cut 268435456 indices into at most"):
        boundary(nest(tall, "P/1"), Memory("m", 1), "reloaded")


@settings(max_examples=100)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 60), st.integers(0, 60), st.integers(1, 4), st.sampled_from("PR"))
def test_of_many_turns_alike_a_few_are_looked_at(kernel, stride, dilation, before, after, tile, dim):
    """What is held where all turns are looked at, and where only those near the ends are: long runs, wide borders."""
    taps = 150 if dim == "R" else kernel
    height = max(200, (taps - 1) * dilation + 1)
    loops = checked(Nest(Conv2d(1, 1, height, 1, 1, taps, 1, stride, 1, before, 0, after, 0, dilation), (Loop(dim, tile),)))
    axis = Axis(loops.conv, "P", "R")
    outside = moving(loops, 1)
    assume(outside)
    few = axis.held(outside, outside[0])
    axis._turns = lambda tile, slide, run: range(-(-(run[slide][1] - run[slide][0]) // tile))
    assert axis.held(outside, outside[0]) == few
