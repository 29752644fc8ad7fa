"""Tilings one step away from another, field by field: where a search for a faster one goes next (refconv/tune/search.py).

A step changes a register tile to the next height in use, or to a width beside its own at about as many accumulators; a strip to the next
height, or to another legal slide; a block size to half, twice, or all. What depends on the field follows: blocks of channels stay whole
vectors of the tile.
"""

from typing import Any, NamedTuple

from refconv.problem.fused import first_conv, hidden_conv, middle_conv
from refconv.tiling import blocks, layers
from refconv.tiling.candidates import matrix_tiles, strips
from refconv.tiling.checked import checked
from refconv.tiling.shapes import Tile, pixels_of_outputs
from refconv.weights.packed import ceil_div


class Space(NamedTuple):
    """Where tilings are looked for: the problem, the rule's tiling for it, the target and its lanes for the problem's element type."""

    problem: Any
    rule: Any
    lanes: int
    target: Any


class _Fields(NamedTuple):
    """What the steps in the fields of a tiling need to know of a problem.

    sizes: {block size: (the most that there is, what it is a multiple of)}; shapes: {tile: (pixels of a call, its output channels)}, or
    {strip: its Conv2d}.
    """

    sizes: dict
    shapes: dict


def neighbours(tiling, space):
    """{field: [tilings that differ from `tiling` by a step in it]}, legal ones; block sizes, for which nothing is compiled, first."""
    fields, found = _fields(tiling, space), {}
    for name in fields.sizes:
        found[name] = _size_steps(tiling, name, *fields.sizes[name])
    for name, about in fields.shapes.items():
        now, rule = getattr(tiling, name), getattr(space.rule, name)
        steps = tile_steps(now, *about, space) if isinstance(now, Tile) else strip_steps(now, rule, about, space)
        found[name] = [_with_shape(tiling, name, shape, space) for shape in steps]
    if hasattr(tiling, "ahead"):
        found["ahead"] = [tiling._replace(ahead=type(tiling.ahead)(ahead)) for ahead in {0, int(space.rule.ahead)} - {int(tiling.ahead)}]
    return {name: legal for name, made in found.items() if (legal := [other for other in made if is_legal(other, space)])}


def is_legal(tiling, space):
    """Whether a tiling is legal for the problem, and for the target's registers."""
    try:
        checked(tiling, space.rule, space.problem, space.lanes, space.target)
    except ValueError:
        return False
    return True


def tile_steps(tile, pixels, channels, space):
    """Register tiles beside a tile, for calls of `pixels` pixels: of its width the next lower and the next higher, of each width beside its own
    the two whose accumulators are nearest in number."""
    heights = {}
    for other in matrix_tiles(pixels, channels, space.lanes, space.target):
        heights.setdefault(int(other.vectors), []).append(other)
    rows, found = int(tile.rows), []
    same = _efficient(heights.pop(int(tile.vectors), []), pixels)
    found += [other for other in same if other.rows < rows][-1:] + [other for other in same if other.rows > rows][:1]
    for vectors in (tile.vectors - 1, tile.vectors + 1):
        near = sorted(_efficient(heights.get(vectors, []), pixels), key=lambda other: abs(other.rows * other.vectors - rows * tile.vectors))
        found += near[:2]
    return found


def strip_steps(strip, rule, conv, space):
    """Strips beside a strip: the next lower and the next higher, and the highest of every other slide; rule: the strip that the rule takes."""
    slides = {}
    for other in strips(rule, conv, space.target):
        slides.setdefault((int(other.taps), int(other.stride)), []).append(other)
    same = _efficient(slides.pop((int(strip.taps), int(strip.stride)), []), conv.q)
    found = [other for other in same if other.rows < strip.rows][-1:] + [other for other in same if other.rows > strip.rows][:1]
    return found + [_efficient(others, conv.q)[-1] for others in slides.values()]


def _efficient(shapes, pixels):
    """Of shapes in the order of their rows, those that cover so many pixels in fewer pieces than any lower one."""
    found, fewest = [], pixels + 1
    for shape in shapes:
        if ceil_div(pixels, shape.rows) < fewest:
            fewest = ceil_div(pixels, shape.rows)
            found.append(shape)
    return found


def _size_steps(tiling, name, most, multiple):
    """Half, twice, and all of a block size, in multiples; those that cut the problem as the tiling does are left out."""
    now = getattr(tiling, name)
    sizes = {_whole(size, most, multiple) for size in (max(1, now // 2), 2 * now, most)} - {_whole(now, most, multiple)}
    return [tiling._replace(**{name: size}) for size in sorted(sizes)]


def _with_shape(tiling, name, shape, space):
    """The tiling with another shape, its block sizes in multiples of the shape's."""
    made = tiling._replace(**{name: shape})
    for size, (most, multiple) in _fields(made, space).sizes.items():
        made = made._replace(**{size: _whole(getattr(made, size), most, multiple)})
    return made


def _whole(size, most, multiple):
    """A block size in multiples, no more of them than there are: two that cut a problem alike are one."""
    return min(ceil_div(size, multiple), ceil_div(most, multiple)) * multiple


def _fields(t, space):
    """The _Fields of a tiling."""
    problem, lanes = space.problem, space.lanes
    if type(t) in _CONV_OF_BLOCK:
        return _fields_of_block(t, problem, lanes)
    rows = {"lines": (problem.p, 1)}
    if isinstance(t, layers.DenseTiling):
        return _Fields({**rows, "channels": (problem.k_group, t.tile.vectors * lanes)}, {"tile": (problem.q, problem.k_group)})
    if isinstance(t, layers.PartialTiling):
        return _Fields(rows, {"tile": (problem.q, problem.conv.k)})
    if isinstance(t, layers.PointwiseTiling):
        pixels = problem.n * problem.p * problem.q
        sizes = {"pixels": (pixels, int(t.tile.rows)), "channels": (problem.k, t.tile.vectors * lanes)}
        return _Fields(sizes, {"tile": (pixels, problem.k)})
    if isinstance(t, layers.DepthwiseTiling):
        return _Fields({**rows, "channels": (problem.c, lanes), "pixels": (problem.q, int(t.strip.rows))}, {"strip": problem})
    if isinstance(t, layers.DepthwiseRowsTiling):
        return _Fields({"bands": (ceil_div(problem.p, t.strip.rows), 1)}, {"strip": problem.turned})
    if isinstance(t, layers.FewOutputsTiling):
        return _Fields({"pixels": (problem.n * problem.h * problem.w, pixels_of_outputs(t.tile, lanes))}, {})
    if isinstance(t, layers.GroupedTiling | layers.SpreadTiling):
        return _Fields({**rows, "vectors_per_unit": (ceil_div(problem.groups, t.strip.groups), 1)}, {"strip": problem})
    raise TypeError(f"tiling = {t!r}: must be a tiling of refconv.tiling.layers or refconv.tiling.blocks")


MANY = 1 << 20
"""Pixels of a call that has no number of its own."""
_CONV_OF_BLOCK = {
    blocks.FeedForwardTiling: None,
    blocks.ConvFirstTiling: first_conv,
    blocks.ConvFirstDownTiling: first_conv,
    blocks.FusedMBConvTiling: hidden_conv,
    blocks.MBConvTiling: middle_conv,
    blocks.SeparableTiling: middle_conv,
}
"""The convolution of the blocks that have such a tiling."""


def _fields_of_block(t, block, lanes):
    """The _Fields of the tiling of a block.

    Calls of a product have as many pixels as units and steps leave it; here they are taken to be MANY, so that every height is met on the way.
    With squeeze-excitation a thread adds up the pixels of its units, and those must stay the ones that the rule gives it: with other `lines`
    the sums of several threads would be other bits.
    """
    make_conv = _CONV_OF_BLOCK[type(t)]
    most = {"pixels": block.n * block.h * block.w, "lines": block.p, "step": block.p, "hidden": block.hidden}
    wide = getattr(t, "expand", None) or t.conv  # what makes the hidden channels
    sizes = {name: (most[name], wide.vectors * lanes if name == "hidden" else 1) for name in t._fields if name in most}
    if block.gated:
        del sizes["lines"]
    shapes = {name: (MANY, channels) for name, channels in (("expand", block.hidden), ("project", block.k)) if name in t._fields}
    if make_conv is not None:
        conv = make_conv(block)
        shapes["conv"] = (conv.q, conv.k_group) if isinstance(t.conv, Tile) else conv
    return _Fields(sizes, shapes)
