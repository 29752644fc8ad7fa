"""Loop nests for tests: drawn at random, and walked turn by turn with the elements that each touches."""

import itertools

from hypothesis import strategies as st

from refconv import Conv2d
from sim.analysis.loop_nest import DIMENSIONS, Loop, Nest, checked, extents


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
