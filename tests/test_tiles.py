"""The closed form: outputs published by others, its own definition element by element, and what is refused."""

import accounts
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nests import nests, small_problems, touched, turns, whole
from problems import conv_problems

from refconv import Conv2d, PartialConv2d, kernels
from sim.analysis.closed_form import HALOS, RELEVANT, SLIDING, Axis, Boundary, boundaries, boundary, fit
from sim.analysis.loop_nest import Loop, Memory, Nest, checked, kernel_nest, nest, turning_loops
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
    loops = kernel_nest(kernels.KERNELS["conv2d"].loops(CONV3X3, tiling, 16))
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


def copied(loops, at, halo):
    """({tensor: (elements read, written, read where the first coming is read, too)}, inputs held) by doing what the closed form says, with sets."""
    outside, counts, held = turning_loops(loops, at), {}, 0
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
    tiles = [touched(loops.conv, ranges) for _, ranges in turns(turning_loops(loops, at), whole(loops.problem))]
    assert closed.held["input"] == held
    assert closed.held["output"] == max(len(tile["output"]) for tile in tiles)
    assert closed.held["weight"] >= max(len(tile["weight"]) for tile in tiles)
    least = loops.problem.compulsory
    assert all(closed.moved[name].read_elements >= least[name] for name in ("input", "weight"))
    assert closed.moved["output"].written_elements >= least["output"]


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
    outside = turning_loops(loops, 1)
    assume(outside)
    few = axis.held(outside, outside[0])
    axis._turns = lambda tile, slide, run: range(-(-(run[slide][1] - run[slide][0]) // tile))
    assert axis.held(outside, outside[0]) == few
