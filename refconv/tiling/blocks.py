"""The numbers of a fused kernel, by rule from the target's registers and caches."""

from typing import Any, NamedTuple

from refconv.parts.feed_forward import odd_pitch
from refconv.problem.fused import first_conv, hidden_conv, middle_conv
from refconv.static import Static
from refconv.tiling import layers
from refconv.tiling.layers import register_tile
from refconv.tiling.shapes import MOST_ROWS, Tile, check_strip, require, tile_of
from refconv.weights import packed
from refconv.weights.packed import MOST_VECTORS, ceil_div


def check_lines(t, block):
    """ValueError unless a unit and a step have at most as many rows as the output."""
    for name in ("lines", "step") if hasattr(t, "step") else ("lines",):
        require(getattr(t, name) <= block.p, name, getattr(t, name), f"from 1 to {block.p}")


def check_hidden(t, vectors, name, lanes):
    """ValueError unless hidden channels are made in whole blocks."""
    multiple = vectors * lanes
    require(t.hidden % multiple == 0, "hidden", t.hidden, f"a multiple of {multiple} ({name}.vectors * lanes)", f"{name}.vectors")


def check_products(t, block, lanes):
    """ValueError unless the two products of a feed-forward tiling are legal."""
    t.expand.check("expand", MOST_ROWS, block.hidden, lanes)
    t.project.check("project", MOST_ROWS, block.k, lanes)
    check_hidden(t, t.expand.vectors, "expand", lanes)


def check_conv(shape, chosen, conv, lanes):
    """ValueError unless a shape is legal for the convolution inside a block."""
    if isinstance(shape, Tile):
        shape.check("conv", MOST_ROWS, conv.k_group, lanes)
    else:
        check_strip("conv", shape, chosen, conv, MOST_ROWS)


class FeedForwardTiling(NamedTuple):
    """A unit is `pixels` pixels; `hidden` hidden channels at a time; register tiles of the two products."""

    pixels: int
    hidden: int
    expand: Tile
    project: Tile

    def check(self, chosen, block, lanes):
        """A ValueError that names the field that is illegal for the block, if one is."""
        check_products(self, block, lanes)


class ConvFirstTiling(NamedTuple):
    """A unit is `lines` rows; conv: the shape of the first convolution, of the kind that its weights are packed for; else as FeedForwardTiling."""

    lines: int
    hidden: int
    expand: Tile
    project: Tile
    conv: Any

    def check(self, chosen, block, lanes):
        """As FeedForwardTiling.check."""
        check_lines(self, block)
        check_products(self, block, lanes)
        check_conv(self.conv, chosen.conv, first_conv(block), lanes)


class ConvFirstDownTiling(NamedTuple):
    """A unit is `lines` output rows, made in steps of `step`; the rest as in ConvFirstTiling."""

    lines: int
    step: int
    hidden: int
    expand: Tile
    project: Tile
    conv: Any

    def check(self, chosen, block, lanes):
        """As FeedForwardTiling.check."""
        check_lines(self, block)
        check_products(self, block, lanes)
        check_conv(self.conv, chosen.conv, first_conv(block), lanes)


class FusedMBConvTiling(NamedTuple):
    """A unit is `lines` output rows; `hidden` hidden channels at a time; register tiles of the convolution and of the projection."""

    lines: int
    hidden: int
    conv: Tile
    project: Tile

    def check(self, chosen, block, lanes):
        """As FeedForwardTiling.check."""
        check_lines(self, block)
        self.conv.check("conv", MOST_ROWS, block.hidden, lanes)
        self.project.check("project", MOST_ROWS, block.k, lanes)
        check_hidden(self, self.conv.vectors, "conv", lanes)


class MBConvTiling(NamedTuple):
    """A unit is `lines` output rows, made in steps of `step`; conv: the shape of the convolution in the middle, as in ConvFirstTiling."""

    lines: int
    step: int
    expand: Tile
    project: Tile
    conv: Any

    def check(self, chosen, block, lanes):
        """As FeedForwardTiling.check."""
        check_lines(self, block)
        self.expand.check("expand", MOST_ROWS, block.hidden, lanes)
        self.project.check("project", MOST_ROWS, block.k, lanes)
        check_conv(self.conv, chosen.conv, middle_conv(block), lanes)


class SeparableTiling(NamedTuple):
    """A unit is `lines` output rows; register tile of the projection; conv: the shape of the convolution, as in ConvFirstTiling."""

    lines: int
    project: Tile
    conv: Any

    def check(self, chosen, block, lanes):
        """As FeedForwardTiling.check."""
        check_lines(self, block)
        self.project.check("project", MOST_ROWS, block.k, lanes)
        check_conv(self.conv, chosen.conv, middle_conv(block), lanes)


class GatedTiling(NamedTuple):
    """A unit is `pixels` pixels of an image; the register tile of the projection."""

    pixels: int
    project: Tile

    def check(self, chosen, block, lanes):
        """As FeedForwardTiling.check."""
        self.project.check("project", MOST_ROWS, block.k, lanes)


class GateTiling(NamedTuple):
    """tile: of both matrices, a single row; for the channels that are left after whole blocks its narrow one."""

    tile: Tile

    def check(self, chosen, problem, lanes):
        """ValueError unless it is the rule's: there is no other."""
        require(self == chosen, "tile", self.tile, f"{chosen.tile}")


class Span(NamedTuple):
    """What tiles are chosen for where the fewest pixels of a block's loops are `least` or more: rows of `row` pixels, products of `pixels`."""

    least: int
    row: int
    pixels: int


MANY = 1008
"""Pixels of a product that stand for any large number: a multiple of nearly all heights of a tile, so that none is favoured."""
SPANS = Span(28, 28, MANY), Span(14, 14, MANY), Span(7, 7, 7), Span(1, 3, 3)
"""A map can have any size, and each combination of tiles is compiled, in 3 to 15 s: so tiles are chosen for one of these, the first whose `least`
a block has, and not for its own numbers. A tile may then be higher than there are pixels (parts/matrix.py), though no more than three rows."""
SQUEEZED_SPANS = Span(14, 14, MANY), Span(1, 7, 7)
"""Of blocks with squeeze-excitation, which have two more kernels to compile: their last maps are of 7x7 pixels, and pixels beyond the border cost a
strip next to nothing."""


def span_of(pixels, block):
    """The Span of a block whose loops run over `pixels` pixels or more: of an output row, where it goes by rows."""
    return next(span for span in (SQUEEZED_SPANS if block.gated else SPANS) if pixels >= span.least)


def product(pixels, channels, depth, itemsize, target):
    """The Tile of a matrix product of `depth` channels, for about `pixels` pixels."""
    return tile_of(*register_tile(pixels, channels, depth, depth, itemsize, target), channels, target.lanes(itemsize))


CHUNK = 192
"""Hidden channels at a time: a sum of 192 steps, against which it is little to load and store its accumulators. From 96 to 384 blocks took the
same time within 3 % (96 to 768 channels in, interleaved); more leave less room for pixels beside them."""


def whole_blocks(block, vectors, itemsize, target):
    """About CHUNK hidden channels, or all, in whole blocks of `vectors` vectors."""
    size = vectors * target.lanes(itemsize)
    return ceil_div(min(CHUNK, block.hidden), size) * size


def products(block, pixels, itemsize, target):
    """(hidden chunk, expand and project tiles) for units of about `pixels` pixels."""
    expand = product(pixels, block.hidden, block.source, itemsize, target)
    chunk = whole_blocks(block, expand.vectors, itemsize, target)
    return chunk, expand, product(pixels, block.k, chunk, itemsize, target)


def unit_bytes(block, weights_of_one, itemsize, target):
    """Bytes of workspace for a unit: an eighth of the L2 where the weights stay in half of it, so that both and the input's rows stay.

    Where the weights do not stay, and every unit reads them again, half of it: each weight read then meets more pixels.
    """
    fits = weights_of_one * itemsize * block.hidden <= target.l2_bytes // 2
    return target.l2_bytes // 8 if fits else target.l2_bytes // 2


def pixel_budget(block, itemsize, target):
    """Pixels whose sources, hidden channels and sums are within `unit_bytes`."""
    of_one = block.source + block.k
    return max(1, unit_bytes(block, of_one, itemsize, target) // ((of_one + min(CHUNK, block.hidden)) * itemsize))


LEAST_PIXELS = 16
"""The fewest pixels of a unit: with fewer, register tiles get low."""


def ffn_tiling(block, itemsize, target):
    """Rule: the pixels of `pixel_budget`, at most an even share for each thread, at least LEAST_PIXELS."""
    total = block.n * block.h * block.w
    pixels = min(pixel_budget(block, itemsize, target), ceil_div(total, target.threads))
    blocks = ceil_div(total, pixels)
    pixels = min(total, max(ceil_div(total, ceil_div(blocks, target.threads) * target.threads), LEAST_PIXELS))
    return FeedForwardTiling(pixels, *products(block, span_of(pixels, block).pixels, itemsize, target))


def conv_first_tiling(block, itemsize, target):
    """Rule: whole rows of `pixel_budget` pixels, in blocks that the threads share evenly."""
    lines = max(1, min(block.h, pixel_budget(block, itemsize, target) // block.w))
    lines, span = shared_lines(block, lines, target), span_of(block.q, block)
    return ConvFirstTiling(lines, *products(block, span.pixels, itemsize, target), conv_shape(first_conv(block), span.row, itemsize, target))


def conv_first_down_tiling(block, itemsize, target, halo="auto"):
    """Rule: steps of whole output rows of `pixel_budget` pixels; a unit is all rows of a thread, with halo "recompute" a step."""
    most = ceil_div(block.p, layers.parts(block.n, target.threads))
    step = max(1, min(most, pixel_budget(block, itemsize, target) // block.q))
    step = ceil_div(most, ceil_div(most, step))
    lines, span = step if halo == "recompute" else most, span_of(block.q, block)
    shape = conv_shape(first_conv(block), span.row, itemsize, target)
    return ConvFirstDownTiling(lines, step, *products(block, span.pixels, itemsize, target), shape)


def shared_lines(block, lines, target):
    """At most about `lines` output rows a unit, so that the threads share the units evenly."""
    blocks, multiple = ceil_div(block.p, lines), layers.parts(block.n, target.threads)
    return ceil_div(block.p, min(block.p, ceil_div(blocks, multiple) * multiple))


def fused_mbconv_tiling(block, itemsize, target):
    """Rule: as many rows as keep their staged input, hidden channels and sums within half of `unit_bytes` (more rows are no faster here)."""
    conv, lanes = hidden_conv(block), target.lanes(itemsize)
    of_one = conv.r * conv.s * conv.c + block.k
    row_bytes = (block.stride_h * block.w * block.c + conv.q * (min(CHUNK, block.hidden) + block.k)) * itemsize
    lines = shared_lines(block, max(1, min(block.p, unit_bytes(block, of_one, itemsize, target) // 2 // row_bytes)), target)
    span = span_of(block.q, block)
    rows, vectors = register_tile(span.row, block.hidden, of_one - block.k, block.stride_w * block.c, itemsize, target)
    chunk = whole_blocks(block, vectors, itemsize, target)
    project = product(span.pixels, block.k, chunk, itemsize, target)
    return FusedMBConvTiling(lines, chunk, tile_of(rows, vectors, block.hidden, lanes), project)


STEP_PIXELS = 56
"""Output pixels that an MBConv projects at once at most: four tiles of 14 meet a block of weights before the next comes; 112 and 224 took the
same time within 2 % and more workspace."""


def mbconv_tiling(block, itemsize, target, halo="auto"):
    """Rule: steps of up to STEP_PIXELS pixels whose ring and hidden rows stay in half the L2; with halo "recompute" a step is a unit."""
    conv, pitch = middle_conv(block), odd_pitch(block.hidden, target.lanes(itemsize))
    row_bytes = (block.stride_h * block.w * pitch + conv.q * (pitch + block.k)) * itemsize
    within = (target.l2_bytes // 2 - block.r * block.w * pitch * itemsize) // row_bytes
    most = ceil_div(block.p, layers.parts(block.n, target.threads))
    step = max(1, min(most, within, ceil_div(STEP_PIXELS, conv.q)))
    step = ceil_div(most, ceil_div(most, step))
    lines, span = step if halo == "recompute" else most, span_of(block.q, block)
    expand = product(span.pixels, block.hidden, block.c, itemsize, target)
    project = product(span.pixels, block.k, block.hidden, itemsize, target)
    return MBConvTiling(lines, step, expand, project, conv_shape(conv, span.row, itemsize, target))


def separable_tiling(block, itemsize, target):
    """Rule: as many rows as keep their hidden pixels and outputs within an eighth of the L2, or within half of it where the weights take more than
    a quarter: each turn of those then meets more pixels. An even share for each thread.

    (512 to 512 channels at 14x14: units of 4 rows take 1.13 times as long as all 14; 32 to 64 at 112x112: from 1 row to 14 the same within 3 %.)
    """
    conv = middle_conv(block)
    row_bytes = conv.q * (odd_pitch(block.hidden, target.lanes(itemsize)) + block.k) * itemsize
    share = 8 if block.k * block.hidden * itemsize <= target.l2_bytes // 4 else 2
    lines = shared_lines(block, max(1, min(block.p, target.l2_bytes // share // row_bytes)), target)
    span = span_of(block.q, block)
    return SeparableTiling(lines, product(span.pixels, block.k, block.hidden, itemsize, target), conv_shape(conv, span.row, itemsize, target))


def gated_tiling(block, itemsize, target):
    """Rule: as many pixels as stay within `unit_bytes` with their sums, though no fewer than STEP_PIXELS; an even share for each thread.

    Tiles of 7 pixels for any map, so that the kernel is compiled once: 49 pixels are seven of them, 196 and 784 whole ones as well.
    """
    total, pixel_bytes = block.p * block.q, (odd_pitch(block.hidden, target.lanes(itemsize)) + block.k) * itemsize
    most = ceil_div(total, layers.parts(block.n, target.threads))
    pixels = min(most, max(STEP_PIXELS, unit_bytes(block, block.k, itemsize, target) // pixel_bytes))
    pixels = ceil_div(most, ceil_div(most, pixels))
    return GatedTiling(pixels, product(SQUEEZED_SPANS[-1].pixels, block.k, block.hidden, itemsize, target))


def gate_tiling(problem, itemsize, target):
    """Rule: four vectors at a time, so that a multiply-add need not wait for the one before, four cycles; of what is left one."""
    return GateTiling(Tile(*map(Static, (1, MOST_VECTORS, 1))))


def conv_shape(conv, row, itemsize, target):
    """The shape of a convolution inside a block, of the kind that its packed weights have, for rows of `row` outputs; a unit's thread makes all."""
    conv, target = conv._replace(w=row * conv.stride_w), target._replace(threads=1)
    order = packed.order_of(conv.weight_shape, conv.groups, target.lanes(itemsize))
    if order == "dense":
        return layers.dense_tiling(conv, itemsize, target).tile
    rule = layers.depthwise_tiling if order == "depthwise" else layers.grouped_tiling
    return rule(conv, itemsize, target).strip
