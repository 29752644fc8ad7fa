"""The numbers of a kernel: register tile and cache blocks, chosen from the target's registers and caches by rule.

A tiling is a NamedTuple of integers; those the compiler must know are Static. Every field is a legal choice or `checked`
says which would be. The functions below are the rules, one a kernel; whoever knows better passes `tiling=`.
"""

import math
from typing import NamedTuple

from refconv.parts.staging import staged_count, staged_lines, staged_step
from refconv.static import Static
from refconv.tile.fit import most_rows_of, most_rows_of_slide
from refconv.tiling.cycles import finish_cycles, rows_in_l1, step_cycles
from refconv.tiling.shapes import (
    DepthwiseStrip,
    GroupedStrip,
    SpreadStrip,
    SumTile,
    Tile,
    check_strip,
    most_vectors,
    pixels_of_outputs,
    require,
    slide_shape,
    tile_of,
)
from refconv.weights.packed import ceil_div, groups_per_vector

ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16)
"""Tile heights in use: each one used costs a compilation, and these leave at most a tenth of a row of up to 112 pixels idle
(without 11 and 13, 64 pixels made 70: a layer of 8 groups of 8 channels took 1.07 times as long on AVX2)."""
NEAR_BYTES = 128
"""Fewer contiguous bytes of channels than this are not worth walking down the rows with: a CPU fetches cache lines in pairs."""
MOST_AHEAD = 256


def check_ahead(ahead):
    """ValueError unless so many elements may be prefetched with a step."""
    require(ahead <= MOST_AHEAD, "ahead", ahead, f"from 0 to {MOST_AHEAD}")


def check_channels(channels, block, follows=None):
    """ValueError unless the channels of a unit are whole blocks; follows: the field that says how wide those are."""
    require(channels % block == 0, "channels", channels, f"a multiple of {block} (the vectors of a block * lanes)", follows)


class DenseTiling(NamedTuple):
    """A register tile; a unit of work is `lines` output rows x `channels` output channels (of a group).

    ahead: elements of the next block's weights prefetched with every step of the sum, 0 for none.
    """

    tile: Tile
    lines: int
    channels: int
    ahead: Static = Static(0)

    def check(self, chosen, problem, lanes):
        """A ValueError that names the field that is illegal for the problem, if one is."""
        self.tile.check("tile", problem.q, problem.k_group, lanes)
        check_ahead(self.ahead)
        check_channels(self.channels, self.tile.vectors * lanes, "tile.vectors")


class PointwiseTiling(NamedTuple):
    """A register tile; a unit of work is `pixels` pixels x `channels` output channels.

    ahead: elements of the next block's weights prefetched with every step of the sum, 0 for none.
    """

    tile: Tile
    pixels: int
    channels: int
    ahead: int = 0

    def check(self, chosen, problem, lanes):
        """As DenseTiling.check."""
        self.tile.check("tile", problem.n * problem.p * problem.q, problem.k, lanes)
        check_ahead(self.ahead)
        require(self.pixels % self.tile.rows == 0, "pixels", self.pixels, f"a multiple of tile.rows = {self.tile.rows}", "tile.rows")
        check_channels(self.channels, self.tile.vectors * lanes, "tile.vectors")


class FewOutputsTiling(NamedTuple):
    """A tile of sums; a unit of work is `pixels` pixels."""

    tile: SumTile
    pixels: int

    def check(self, chosen, problem, lanes):
        """As DenseTiling.check."""
        self.tile.check("tile", chosen.tile)
        step = pixels_of_outputs(self.tile, lanes)
        require(self.pixels % step == 0, "pixels", self.pixels, f"a multiple of {step} (the pixels of a vector of outputs)", "tile.rows")


class DepthwiseTiling(NamedTuple):
    """A strip; a unit of work is `lines` output rows x `channels` channels, in blocks of columns `pixels` output pixels wide."""

    strip: DepthwiseStrip
    lines: int
    channels: int
    pixels: int

    def check(self, chosen, problem, lanes):
        """As DenseTiling.check."""
        check_channels(self.channels, lanes)
        check_strip("strip", self.strip, chosen.strip, problem, problem.q)
        require(self.pixels % self.strip.rows == 0, "pixels", self.pixels, f"a multiple of strip.rows = {self.strip.rows}", "strip.rows")


class DepthwiseRowsTiling(NamedTuple):
    """A strip of output rows one under another; a unit of work is `bands` strips of them, whole rows."""

    strip: DepthwiseStrip
    bands: int

    def check(self, chosen, problem, lanes):
        """As DenseTiling.check."""
        check_strip("strip", self.strip, chosen.strip, problem.turned, problem.p)


class GroupedTiling(NamedTuple):
    """A strip; a unit of work is `lines` output rows x `vectors_per_unit` vectors of channels."""

    strip: GroupedStrip
    lines: int
    vectors_per_unit: int

    def check(self, chosen, problem, lanes):
        """As DenseTiling.check."""
        check_strip("strip", self.strip, chosen.strip, problem, problem.q)


class SpreadTiling(NamedTuple):
    """A strip; a unit of work is `lines` output rows x `vectors_per_unit` vectors of output channels."""

    strip: SpreadStrip
    lines: int
    vectors_per_unit: int

    def check(self, chosen, problem, lanes):
        """As DenseTiling.check."""
        check_strip("strip", self.strip, chosen.strip, problem, problem.q)


class PartialTiling(NamedTuple):
    """A register tile; a unit of work is `lines` output rows."""

    tile: Tile
    lines: int

    def check(self, chosen, problem, lanes):
        """As DenseTiling.check."""
        self.tile.check("tile", problem.conv.q, problem.conv.k, lanes)


def most_rows(vectors, target):
    """Rows of a tile whose sums stay in the registers; 14 at most (latency is hidden by 8)."""
    return min(14, most_rows_of(vectors, target.registers, target.fused, target.memory_operands))


def register_tile(pixels, channels, depth, pitch, itemsize, target):
    """(rows, vectors) with the least estimated cycles for `pixels` outputs of `channels` channels, sums of `depth` products; pixels lie `pitch`
    elements apart.

    Every started tile costs its steps and its finish; derived here. Weights are near where a block of them takes at most half the L1.
    """
    pixels_near = rows_in_l1(pitch * itemsize, target)
    wanted = ceil_div(channels, target.lanes(itemsize))
    best = None
    for vectors in range(1, most_vectors(channels, target.lanes(itemsize)) + 1):
        near = depth * vectors * target.vector_bytes <= target.l1_bytes // 2
        for rows in ROWS:
            if rows > min(pixels, pixels_near, most_rows(vectors, target)):
                continue
            whole, last = (depth * step_cycles(rows, v, near, target) + finish_cycles(rows, v, target) for v in (vectors, wanted % vectors))
            cost = ceil_div(pixels, rows) * (wanted // vectors * whole + (last if wanted % vectors else 0))
            key = (cost, -rows * vectors, vectors)
            if best is None or key < best[0]:
                best = key, (rows, vectors)
    return best[1]


def most_strip_rows(taps, stride, target, width=1):
    """The most outputs of a strip, each `width` vectors, whose slide stays in the registers, or 1."""
    return max(1, most_rows_of_slide(width, taps, stride, target.registers, target.fused))


def strip_rows(pixels, taps, stride, target):
    """Outputs of a strip whose slide stays in the registers: of those the height with the fewest loads, then the one that makes the fewest outputs
    twice."""
    most = min(16, most_strip_rows(taps, stride, target))
    strips = lambda rows: ceil_div(pixels, rows)
    return min((rows for rows in ROWS if rows <= min(pixels, most)), key=lambda rows: (strips(rows) * (rows + taps - 1), strips(rows) * rows, -rows))


def lines_within(budget_bytes, outputs, line_bytes, kernel, stride, dilation, count=staged_count):
    """The most output rows (at least 1) whose staged input rows stay within the budget; count: of those rows, staged_count or staged_lines."""
    lines = outputs
    while lines > 1 and count(lines, stride, kernel, dilation) * line_bytes > budget_bytes:
        lines = ceil_div(lines, 2)
    return lines


def lines_of_thread(problem, itemsize, target):
    """Output rows whose input rows, not staged, stay in half the L2, at most an even share for each thread."""
    most, line_bytes = ceil_div(problem.p, parts(problem.n, target.threads)), problem.w * problem.c * itemsize
    return lines_within(target.l2_bytes // 2, most, line_bytes, problem.r, problem.stride_h, problem.dilation_h)


def parts(units, threads):
    """The least number of parts to cut each of `units` pieces of work into so that the threads share them evenly."""
    return threads // math.gcd(units, threads)


def unit_channels(channels, units, threads, lanes):
    """Output channels a unit, in whole vectors: all, or where there are fewer units than threads a part of them for each thread."""
    chunks = parts(units, threads) if units < threads else 1
    return min(channels, ceil_div(ceil_div(channels, lanes), chunks) * lanes)


def even_blocks(outputs, lines, images, threads):
    """At most `lines` output rows a block, the blocks alike and, where there are several, a multiple of the threads over all images."""
    blocks, multiple = ceil_div(outputs, lines), parts(images, threads)
    return lines if blocks == 1 else ceil_div(outputs, ceil_div(blocks, multiple) * multiple)


def few_pixels(target):
    """The pixels below which a block of weights from beyond the L2 takes a third of its multiply-adds' time or more to come.

    A vector takes vector_bytes / beyond_l2_bytes_per_cycle cycles, its products with n pixels n / multiply_adds_per_cycle: 96 pixels with
    AVX-512 (64 / 4 = 96 / 2 / 3), 48 with AVX2.
    """
    return 3 * target.multiply_adds_per_cycle * target.vector_bytes / target.beyond_l2_bytes_per_cycle


def dense_tiling(problem, itemsize, target):
    """Rule: input rows of a unit stay in half the L2 while its output channels are walked through.

    A single block of rows is not cut for several threads, which would all read all weights: its output channels are.
    Where the weights do not stay in a quarter of the L2, from one call to the next or beside those of a network's other layers, each block of them
    comes from beyond it, at some 4 bytes a cycle: 16 cycles a vector of 64
    bytes, against half a cycle for each of the unit's pixels (`few_pixels`). Below 96 pixels that is a third of the time or more, and worth
    the twentieth that prefetching the next block inside the sum costs (512 channels at 7x7: 0.88 of the time; 256 at 14x14: 1.05). Half
    of the block is prefetched, what the hardware's own prefetcher does not reach in time (measured: all of it takes 1.03 times as long).
    """
    lanes = target.lanes(itemsize)
    line_bytes = staged_count(problem.q, problem.stride_w, problem.s, problem.dilation_w) * problem.c_group * itemsize
    pitch = staged_step(problem.stride_w, problem.s, problem.dilation_w) * problem.c_group
    lines = lines_within(target.l2_bytes // 2, min(problem.p, 16), line_bytes, problem.r, problem.stride_h, problem.dilation_h, staged_lines)
    lines = even_blocks(problem.p, lines, problem.n, target.threads)
    most = unit_channels(problem.k_group, problem.n * problem.groups * ceil_div(problem.p, lines), target.threads, lanes)
    rows, vectors = register_tile(problem.q, most, problem.r * problem.s * problem.c_group, pitch, itemsize, target)
    block = vectors * lanes
    tiles = lines * ceil_div(problem.q, rows)
    streams = problem.tensors["weight"] * itemsize > target.l2_bytes // 4 and lines * problem.q < few_pixels(target)
    ahead = ceil_div(block, 2 * tiles) if streams else 0
    return DenseTiling(tile_of(rows, vectors, problem.k_group, lanes), lines, ceil_div(most, block) * block, Static(ahead))


def pointwise_tiling(problem, itemsize, target):
    """Rule: where all weights stay in a quarter of the L2, a unit is 16 tiles of pixels, which stay in L1 or near it; else the pixels
    of a unit stay in that quarter, and the weights stream."""
    lanes, pixels = target.lanes(itemsize), problem.n * problem.p * problem.q
    most = unit_channels(problem.k, pixels, target.threads, lanes)
    rows, vectors = register_tile(pixels, most, problem.c, problem.c, itemsize, target)
    if problem.tensors["weight"] * itemsize <= target.l2_bytes // 4:
        tiles = 16
    else:
        tiles = target.l2_bytes // 4 // (problem.c * itemsize) // rows
    block = rows * max(1, min(tiles, ceil_div(ceil_div(pixels, rows), target.threads)))
    ahead = max(1, ceil_div(vectors * lanes * rows, block))  # all of the next block; the prefetch is there for the pixels anyway
    channels = ceil_div(most, vectors * lanes) * vectors * lanes
    return PointwiseTiling(tile_of(rows, vectors, problem.k, lanes), block, channels, ahead)


MOST_SUMMED_APART = 7
"""The widest odd runs that are added where they lie side by side: `width` registers then take width * (width - 1) blends."""


def side_by_side(channels, lanes):
    """Whether runs of so many channels are added where pixels lie side by side: the odd part of their number is small."""
    return channels < lanes and channels // (channels & -channels) <= MOST_SUMMED_APART


def few_outputs_tiling(problem, itemsize, target):
    """Rule: the sums of a tile fill one vector of outputs; each thread has an even share of the pixels."""
    lanes, pixels = target.lanes(itemsize), problem.n * problem.h * problem.w
    if problem.k == 1 and side_by_side(problem.c, lanes):
        tile = SumTile(Static(1), Static(problem.c), Static(problem.c))
    else:
        tile = SumTile(Static(lanes // problem.k), Static(problem.k), Static(lanes))
    step = pixels_of_outputs(tile, lanes)
    return FewOutputsTiling(tile, ceil_div(ceil_div(pixels, step), target.threads) * step)


def window_bytes(pixels, problem, itemsize):
    """Bytes that one channel of a depthwise window takes: the input under `pixels` pixels of an output row, and the weights."""
    columns = (pixels - 1) * problem.stride_w + (problem.s - 1) * problem.dilation_w + 1
    return problem.r * (columns + problem.s) * itemsize


def depthwise_tiling(problem, itemsize, target):
    """Rule: the window of a block, its r input rows and its weights, stays in two thirds of the L1 as the block goes down the map; the outputs
    pass through the rest.

    As many channels as that holds under a single strip, for they are contiguous, in even blocks of NEAR_BYTES at least; where those are all,
    as many strips side by side as it holds. (144 channels at 56x56, by the channels of a block, with AVX2: 32 take 1.25 times as long as all; 384
    channels at 14x14: all 1.2 times as long as 128. 32 channels at 112x112: rows of 112 pixels take 1.06 times as long as of 36.)
    """
    lanes, near = target.lanes(itemsize), 2 * target.l1_bytes // 3
    taps, stride = slide_shape(problem.s, problem.stride_w, problem.dilation_w)
    rows = strip_rows(problem.q, taps, stride, target)
    most = max(NEAR_BYTES // itemsize, near // window_bytes(rows, problem, itemsize))
    vectors = ceil_div(problem.c, lanes)
    channels = ceil_div(vectors, ceil_div(vectors, max(1, most // lanes))) * lanes
    strips = 1
    while channels >= problem.c and strips * rows < problem.q and window_bytes((strips + 1) * rows, problem, itemsize) * channels <= near:
        strips += 1
    return DepthwiseTiling(DepthwiseStrip(*map(Static, (rows, taps, stride))), lines_of_thread(problem, itemsize, target), channels, strips * rows)


def depthwise_rows_tiling(problem, itemsize, target):
    """Rule: accumulators of output rows one under another, the weights of a kernel column and one vector fit the registers; of those the
    height with the fewest loads of inputs and weights a kernel column. A unit's input rows stay in half the L2."""
    taps, stride = slide_shape(problem.r, problem.stride_h, problem.dilation_h)
    most = min(16, most_strip_rows(taps, stride, target), problem.p)
    loads = lambda rows: ceil_div(problem.p, rows) * ((rows - 1) * stride + 2 * taps)
    rows = min((rows for rows in ROWS if rows <= most), key=lambda rows: (loads(rows), -rows))
    bands = max(1, lines_of_thread(problem, itemsize, target) // rows)
    return DepthwiseRowsTiling(DepthwiseStrip(*map(Static, (rows, taps, stride))), bands)


def grouped_tiling(problem, itemsize, target):
    """Rule: rows x g accumulators and the pixels of a slide fit the registers; input rows as in depthwise_tiling.

    Cycles of a slide: rows * taps * g FMAs at 2 a cycle, its loads a fifth each, and 3 for the rest.
    """
    lanes, g = target.lanes(itemsize), problem.c_group
    taps, stride = slide_shape(problem.s, problem.stride_w, problem.dilation_w)
    if not most_rows_of_slide(g, taps, stride, target.registers, target.fused):
        taps, stride = 1, 1
    most = min(problem.q, most_strip_rows(taps, stride, target, g))
    rows = min(
        (rows for rows in ROWS if rows <= most),
        key=lambda rows: ceil_div(problem.q, rows) * (rows * taps * g / 2 + (rows + taps - 1 + taps * g) / 5 + 3),
    )
    per_vector = groups_per_vector(g, g, lanes)
    lines = lines_of_thread(problem, itemsize, target)
    strip = GroupedStrip(*map(Static, (rows, taps, stride, g, per_vector)))
    return GroupedTiling(strip, lines, ceil_div(problem.groups, per_vector))


def spread_tiling(problem, itemsize, target):
    """Rule: the unit's input rows stay in half the L2; the spread strip is a few rows of one vector and stays in L1."""
    lanes = target.lanes(itemsize)
    step = min(problem.stride_w, (problem.s - 1) * problem.dilation_w + 1)
    taps, stride = slide_shape(problem.s, step, problem.dilation_w)
    rows = strip_rows(problem.q, taps, stride, target)
    per_vector = groups_per_vector(problem.c_group, problem.k_group, lanes)
    lines = lines_of_thread(problem, itemsize, target)
    strip = SpreadStrip(*map(Static, (rows, taps, stride, problem.c_group, problem.k_group, per_vector)))
    return SpreadTiling(strip, lines, ceil_div(problem.groups, per_vector))


def partial_tiling(problem, itemsize, target):
    """Rule: as the dense convolution of the convolved channels."""
    dense = dense_tiling(problem.conv, itemsize, target)
    return PartialTiling(dense.tile, min(dense.lines, ceil_div(problem.p, parts(problem.n, target.threads))))
