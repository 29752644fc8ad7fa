"""The numbers of a kernel: register tile and cache blocks, chosen from the target's registers and caches by rule.

A tiling is a NamedTuple of integers; those the compiler must know are Static. Every field is a legal choice or `checked`
says which would be. The functions below are the rules, one a kernel; whoever knows better passes `tiling=`.
"""

import math
from typing import NamedTuple

from refconv.parts.staging import staged_count
from refconv.problem.conv import LARGEST, is_integer
from refconv.static import Static
from refconv.weights.packed import MOST_VECTORS, ceil_div, groups_per_vector

ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16)
"""Tile heights in use: each one used costs a compilation, and these leave at most a tenth of a row of up to 112 pixels idle."""
NEAR_VECTORS = 4
"""Fewer contiguous vectors of channels than this are not worth walking down the rows with."""
FEW_PIXELS = 96
"""A block of weights from beyond the L2 that meets fewer pixels than this is prefetched while the one before is computed with."""
MOST_AHEAD = 256
MOST_TAPS = 7
"""Windows up to this width keep their weights in registers."""


class DenseTiling(NamedTuple):
    """rows x vectors accumulators; a unit of work is `lines` output rows x `channels` output channels (of a group).

    tail: the vectors of the last block of channels, where `vectors` does not divide them. ahead: elements of the next block's weights
    prefetched with every step of the sum, 0 for none.
    """

    rows: Static
    vectors: Static
    tail: Static
    lines: int
    channels: int
    ahead: Static = Static(0)


class PointwiseTiling(NamedTuple):
    """rows x vectors accumulators, `tail` vectors in the last block; a unit of work is `pixels` pixels x `channels` output channels.

    ahead: elements of the next block's weights prefetched with every step of the sum, 0 for none.
    """

    rows: Static
    vectors: Static
    tail: Static
    pixels: int
    channels: int
    ahead: int = 0


class DepthwiseTiling(NamedTuple):
    """Strips of `rows` outputs, `taps` columns a step at a distance of `stride`; a unit is `lines` rows x `channels` channels."""

    rows: Static
    taps: Static
    stride: Static
    lines: int
    channels: int


class GroupedTiling(NamedTuple):
    """Strips as in DepthwiseTiling, with rows x inputs accumulators; a vector holds `groups` groups of `inputs` channels."""

    rows: Static
    taps: Static
    stride: Static
    inputs: Static
    groups: int
    lines: int
    vectors_per_unit: int


class SpreadTiling(NamedTuple):
    """Strips as in DepthwiseTiling; a vector holds `groups` groups of `inputs` -> `outputs` channels."""

    rows: Static
    taps: Static
    stride: Static
    inputs: Static
    outputs: Static
    groups: int
    lines: int
    vectors_per_unit: int


class PartialTiling(NamedTuple):
    """rows x vectors accumulators, `tail` vectors in the last block; a unit of work is `lines` output rows."""

    rows: Static
    vectors: Static
    tail: Static
    lines: int


def most_rows(vectors, target):
    """Rows of a tile so that accumulators, one row of weights and one pixel fit the registers; 14 at most (latency is hidden by 8)."""
    return max(1, min(14, (target.registers - vectors - 1) // vectors))


def register_tile(pixels, channels, depth, run, itemsize, target):
    """(rows, vectors) with the least estimated cycles for `pixels` outputs of `channels` channels, sums of `depth` products in runs of `run`.

    A step of a tile takes its rows * vectors FMAs at 2 a cycle, at least the 4 cycles of an FMA's latency. Loads run beside them
    but not for nothing: 0.15 cycles a pixel, and 4 whenever a run begins (its address is set up); a vector of weights 0.2 where
    the depth * vectors of them fit half the L1 and 0.4 where they come from the L2. Every started tile costs whole steps. The form is
    derived here, the four numbers are fitted to the dense and pointwise layers of ResNet-50 and ConvNeXt-T on an AVX-512 core (7 x 3 beats
    7 x 2 by 4 % on 512 channels at 7x7, 14 x 2 beats 4 x 4 by 10 % on 64 channels at 56x56, 6 x 4 beats 14 x 2 by 8 % where three channels
    are convolved by 7x7).
    """
    wanted = ceil_div(channels, target.lanes(itemsize))
    best = None
    for vectors in range(1, min(MOST_VECTORS, wanted) + 1):
        near = depth * vectors * target.vector_bytes <= target.l1_bytes // 2
        for rows in ROWS:
            if rows > min(pixels, most_rows(vectors, target)):
                continue
            steps = [max(rows * v / 2, 4) + (0.15 + 4 / run) * rows + (0.2 if near else 0.4) * v for v in (vectors, wanted % vectors)]
            cost = ceil_div(pixels, rows) * (wanted // vectors * steps[0] + (steps[1] if wanted % vectors else 0))
            key = (cost, -rows * vectors, vectors)
            if best is None or key < best[0]:
                best = key, (rows, vectors)
    return best[1]


def tail(problem, vectors, lanes):
    """Vectors of the last block of output channels (of a group) where each but the last has `vectors`."""
    return tail_of(problem.weight_shape[0] // problem.groups, vectors, lanes)


def tail_of(channels, vectors, lanes):
    """Vectors of the last block of so many channels where each but the last has `vectors`."""
    return Static((ceil_div(channels, lanes) - 1) % vectors + 1)


def strip_rows(pixels, taps, target):
    """Outputs of a strip: accumulators, `taps` weights and one pixel fit the registers."""
    most = max(1, min(16, target.registers - taps - 1))
    return min((rows for rows in ROWS if rows <= min(pixels, most)), key=lambda rows: (ceil_div(pixels, rows) * (rows + taps - 1), -rows))


def slide_shape(width, stride, dilation):
    """(taps, stride) of the slides of one kernel row: all taps at once where they are dense and few, else one by one."""
    if dilation == 1 and 1 < width <= MOST_TAPS and stride <= 2:
        return width, stride
    return 1, 1


def lines_within(budget_bytes, outputs, line_bytes, kernel, stride, dilation):
    """The most output rows (at least 1) whose staged input rows stay within the budget."""
    lines = outputs
    while lines > 1 and staged_count(lines, stride, kernel, dilation) * line_bytes > budget_bytes:
        lines = ceil_div(lines, 2)
    return lines


def parts(units, threads):
    """The least number of parts to cut each of `units` pieces of work into so that the threads share them evenly."""
    return threads // math.gcd(units, threads)


def channel_share(channels, units, threads, lanes):
    """Output channels a unit, in whole vectors: all, or where there are fewer units than threads a part of them for each thread."""
    chunks = parts(units, threads) if units < threads else 1
    return min(channels, ceil_div(ceil_div(channels, lanes), chunks) * lanes)


def even_blocks(outputs, lines, images, threads):
    """At most `lines` output rows a block, the blocks alike and, where there are several, a multiple of the threads over all images."""
    blocks, multiple = ceil_div(outputs, lines), parts(images, threads)
    return lines if blocks == 1 else ceil_div(outputs, ceil_div(blocks, multiple) * multiple)


def dense_tiling(problem, itemsize, target):
    """Rule: input rows of a unit stay in half the L2 while its output channels are walked through.

    A single block of rows is not cut for several threads, which would all read all weights: its output channels are.
    Where the weights do not fit the L2, each block of them comes from beyond it, at some 4 bytes a cycle: 16 cycles a vector of 64
    bytes, against half a cycle for each of the unit's pixels. Below FEW_PIXELS that is a third of the time or more, and worth
    the twentieth that prefetching the next block inside the sum costs (512 channels at 7x7: 0.88 of the time; 256 at 14x14: 1.05). Half
    of the block is called, what the hardware's own prefetcher does not reach in time (measured: all of it takes 1.03 times as long).
    """
    lanes = target.lanes(itemsize)
    run = problem.c_group * (problem.s if problem.dilation_w == 1 else 1)
    line_bytes = staged_count(problem.q, problem.stride_w, problem.s, problem.dilation_w) * problem.c_group * itemsize
    lines = lines_within(target.l2_bytes // 2, min(problem.p, 16), line_bytes, problem.r, problem.stride_h, problem.dilation_h)
    lines = even_blocks(problem.p, lines, problem.n, target.threads)
    share = channel_share(problem.k_group, problem.n * problem.groups * ceil_div(problem.p, lines), target.threads, lanes)
    rows, vectors = register_tile(problem.q, share, problem.r * problem.s * problem.c_group, run, itemsize, target)
    block = vectors * lanes
    tiles = lines * ceil_div(problem.q, rows)
    streams = problem.tensors["weight"] * itemsize > target.l2_bytes and lines * problem.q < FEW_PIXELS
    ahead = ceil_div(block, 2 * tiles) if streams else 0
    return DenseTiling(Static(rows), Static(vectors), tail(problem, vectors, lanes), lines, ceil_div(share, block) * block, Static(ahead))


def pointwise_tiling(problem, itemsize, target):
    """Rule: where all weights stay in a quarter of the L2, a unit is 16 tiles of pixels, which stay in L1 or near it; else the pixels
    of a unit stay in that quarter, and the weights stream."""
    lanes, pixels = target.lanes(itemsize), problem.n * problem.p * problem.q
    share = channel_share(problem.k, pixels, target.threads, lanes)
    rows, vectors = register_tile(pixels, share, problem.c, problem.c, itemsize, target)
    if problem.tensors["weight"] * itemsize <= target.l2_bytes // 4:
        tiles = 16
    else:
        tiles = target.l2_bytes // 4 // (problem.c * itemsize) // rows
    block = rows * max(1, min(tiles, ceil_div(ceil_div(pixels, rows), target.threads)))
    ahead = max(1, vectors * lanes * rows // (2 * block))  # half of the block, as in dense_tiling; the prefetch is there for the pixels anyway
    return PointwiseTiling(
        Static(rows), Static(vectors), tail(problem, vectors, lanes), block, ceil_div(share, vectors * lanes) * vectors * lanes, ahead
    )


def depthwise_tiling(problem, itemsize, target):
    """Rule: the r input rows under a window stay in half the L1 if that holds enough channels of them, else in the L2.

    Enough is 4 vectors (256 contiguous bytes): fewer turn the input into short strided reads, which the hardware does not
    prefetch (measured: 144 channels at 56x56 take 1.1 times as long with 1 vector as with all 9; 384 channels at 14x14 take
    1.2 times as long with all 24 as with 6, which the L1 holds).
    """
    lanes = target.lanes(itemsize)
    taps, stride = slide_shape(problem.s, problem.stride_w, problem.dilation_w)
    rows = strip_rows(problem.q, taps, target)
    line_bytes = problem.w * problem.c * itemsize
    lines = lines_within(
        target.l2_bytes // 2, ceil_div(problem.p, parts(problem.n, target.threads)), line_bytes, problem.r, problem.stride_h, problem.dilation_h
    )
    near = target.l1_bytes // 2 // (problem.r * problem.w * itemsize) // lanes * lanes
    channels = near if near >= NEAR_VECTORS * lanes else ceil_div(problem.c, lanes) * lanes
    return DepthwiseTiling(Static(rows), Static(taps), Static(stride), lines, channels)


def grouped_tiling(problem, itemsize, target):
    """Rule: rows x g accumulators and the pixels of a slide fit the registers; input rows as in depthwise_tiling.

    Cycles of a slide: rows * taps * g FMAs at 2 a cycle, its loads a fifth each, and 3 for the rest.
    """
    lanes, g = target.lanes(itemsize), problem.c_group
    taps, stride = slide_shape(problem.s, problem.stride_w, problem.dilation_w)
    fits = lambda rows, taps: rows * g + (rows - 1) * stride + taps + 1 <= target.registers
    if not fits(1, taps):
        taps, stride = 1, 1
    rows = min(
        (rows for rows in ROWS if rows <= problem.q and (rows == 1 or fits(rows, taps))),
        key=lambda rows: ceil_div(problem.q, rows) * (rows * taps * g / 2 + (rows + taps - 1 + taps * g) / 5 + 3),
    )
    per_vector = groups_per_vector(g, g, lanes)
    line_bytes = problem.w * problem.c * itemsize
    lines = lines_within(
        target.l2_bytes // 2, ceil_div(problem.p, parts(problem.n, target.threads)), line_bytes, problem.r, problem.stride_h, problem.dilation_h
    )
    statics = (Static(i) for i in (rows, taps, stride, g))
    return GroupedTiling(*statics, per_vector, lines, ceil_div(problem.groups, per_vector))


def spread_tiling(problem, itemsize, target):
    """Rule: the unit's input rows stay in half the L2; the spread strip is a few rows of one vector and stays in L1."""
    lanes = target.lanes(itemsize)
    step = min(problem.stride_w, (problem.s - 1) * problem.dilation_w + 1)
    taps, stride = slide_shape(problem.s, step, problem.dilation_w)
    rows = strip_rows(problem.q, taps, target)
    per_vector = groups_per_vector(problem.c_group, problem.k_group, lanes)
    line_bytes = problem.w * problem.c * itemsize
    lines = lines_within(
        target.l2_bytes // 2, ceil_div(problem.p, parts(problem.n, target.threads)), line_bytes, problem.r, problem.stride_h, problem.dilation_h
    )
    statics = (Static(i) for i in (rows, taps, stride, problem.c_group, problem.k_group))
    return SpreadTiling(*statics, per_vector, lines, ceil_div(problem.groups, per_vector))


def partial_tiling(problem, itemsize, target):
    """Rule: as the dense convolution of the convolved channels."""
    dense = dense_tiling(problem.conv, itemsize, target)
    return PartialTiling(dense.rows, dense.vectors, dense.tail, min(dense.lines, ceil_div(problem.p, parts(problem.n, target.threads))))


def require(legal, tiling, name, rule):
    """A ValueError that names the field of the tiling, unless `legal`."""
    if not legal:
        raise ValueError(f"tiling.{name} = {getattr(tiling, name)!r}: must be {rule}")


def normalised(tiling):
    """The tiling with plain ints, so that equal numbers of other types are told apart before anything is cached."""
    if not isinstance(tiling, tuple) or not hasattr(tiling, "_fields"):
        raise TypeError(f"tiling = {tiling!r}: must be a tiling of refconv.tiling, as refconv.tilings yields them")
    for name, value in zip(tiling._fields, tiling, strict=True):
        least = 0 if name in ("ahead", "conv_kind") else 1
        require(is_integer(value) and least <= value < LARGEST, tiling, name, f"an integer from {least} to {LARGEST - 1}")
    return tiling._make(map(int, tiling))


def checked(tiling, chosen, problem, lanes):
    """The tiling with its statics made Static, or an error that names the field: `chosen` is the rule's tiling for the problem."""
    if type(tiling) is not type(chosen):
        raise TypeError(f"tiling = {tiling!r}: must be a {type(chosen).__name__}")
    pixels = problem.n * problem.p * problem.q if isinstance(tiling, PointwiseTiling) else problem.q
    require(tiling.rows <= min(pixels, 28), tiling, "rows", f"from 1 to {min(pixels, 28)}")
    fixed = {}
    if hasattr(tiling, "vectors"):
        widest = min(MOST_VECTORS, ceil_div(problem.weight_shape[0] // problem.groups, lanes))
        require(tiling.vectors <= widest, tiling, "vectors", f"from 1 to {widest}")
        fixed["tail"] = int(tail(problem, tiling.vectors, lanes))
    if hasattr(tiling, "ahead"):
        require(tiling.ahead <= MOST_AHEAD, tiling, "ahead", f"from 0 to {MOST_AHEAD}")
    if hasattr(tiling, "pixels"):
        require(tiling.pixels % tiling.rows == 0, tiling, "pixels", f"a multiple of rows = {tiling.rows}")
    if hasattr(tiling, "channels"):
        block = lanes * getattr(tiling, "vectors", 1)
        require(tiling.channels % block == 0, tiling, "channels", f"a multiple of {block} (vectors * lanes)")
    if hasattr(tiling, "taps"):
        fixed.update({name: getattr(chosen, name) for name in ("inputs", "outputs", "groups") if hasattr(chosen, name)})
        dense = slide_shape(problem.s, problem.stride_w, problem.dilation_w)
        legal = {(1, 1), (chosen.taps, chosen.stride), dense}
        shape = (tiling.taps, tiling.stride)
        if shape not in legal:
            raise ValueError(f"tiling.taps, tiling.stride = {shape}: must be one of {sorted(legal)}")
    for name, value in fixed.items():
        require(getattr(tiling, name) == value, tiling, name, f"{value} for this problem")
    statics = [Static(v) if isinstance(c, Static) else int(v) for v, c in zip(tiling, chosen, strict=True)]
    return type(chosen)(*statics)
