"""LRU caches on the trace of a nest, and on that of a kernel, against the closed form."""

import itertools

import accounts
import pytest
from hypothesis import assume, given, settings
from nests import nests, small_problems, touched, turns, whole

from refconv import Conv2d, kernels
from refconv.tiling.layers import PointwiseTiling
from refconv.tiling.shapes import Tile
from sim.analysis.closed_form import RELEVANT, boundary, fit
from sim.analysis.loop_nest import Memory, kernel_nest, nest, turning_loops
from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.words import READ, TENSOR_BITS, WRITTEN, WRITTEN_BY_FLUSH
from sim.machine.record import Level, load_machine

ZEN4 = load_machine("zen4")


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
    conv, outside = loops.conv, turning_loops(loops, len(loops.loops))
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
    loops = loops._replace(loops=tuple(turning_loops(loops, len(loops.loops))))
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
    problem, tiling = Conv2d(1, 64, 1, 480, 256, 1, 1), PointwiseTiling(Tile(6, 2, 2), 48, 256)
    loops = kernel_nest(kernels.KERNELS["pointwise"].loops(problem, tiling, 16))
    for kib, reloads in ((16, 10), (1024, 1)):
        machine = ZEN4._replace(levels=(Level("all", kib << 10, kib << 4, 64),))
        tensors = accounts.simulate("pointwise", problem, machine, tiling)["tensors"]
        moved = boundary(loops, Memory("all", fit(loops, kib << 10, 4, turns=2)), write_allocate=True).moved
        assert moved["weight"].read_elements == 64 * 256 * reloads
        for name, of in moved.items():
            assert (tensors[name]["read_bytes"], tensors[name]["write_bytes"]) == (4 * of.read_elements, 4 * of.written_elements), (name, kib)
