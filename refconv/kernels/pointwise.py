"""Pointwise (1x1) convolution: a matrix product of all pixels with the weights, straight from the input.

    out[i, k] = bias[k] + sum_c x[i, c] * weight[k, c]        i = (n, p, q)

Loops, outer to inner:

    unit: block of t.pixels pixels, block of t.channels output channels      (units run in parallel)
        k  blocks of t.tile.vectors vectors of output channels    the block's c * t.tile.vectors weight vectors come from L1 or L2
        i  tiles of t.tile.rows pixels                            the block's pixels stay in L2 from one k to the next (halves: widened, once)
        c                                                    one outer product a step: rows * vectors FMAs, rows + vectors loads

The last block of channels may be narrower: t.tile.tail vectors.
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.channel_blocks import Channels, channel_blocks
from refconv.parts.dense import dense_weights
from refconv.parts.epilogue import Epilogue, from_channel, layer_epilogue
from refconv.parts.matrix import matrix_block
from refconv.parts.operands import WHOLE, Prefetch, Source, Span
from refconv.parts.workspace import in_work_type, own_part
from refconv.problem.conv import Conv2d
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes
from refconv.tile.operands import Place, View, shifted
from refconv.tiling.words import kib, tile_registers
from refconv.weights.packed import ceil_div


def units(problem, t):
    """The number of independent pieces of work."""
    return ceil_div(problem.n * problem.p * problem.q, t.pixels) * ceil_div(problem.k, t.channels)


class Work(NamedTuple):
    """A unit's pixels and a block of weights, widened from halves."""

    wide_pixels: Any
    wide_weights: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since windows of one pixel need no border."""
    pixels = min(t.pixels, problem.n * problem.h * problem.w)
    return Work(max(pixels, t.tile.rows) * problem.c if half else 0, problem.c * t.tile.vectors * lanes if half else 0)


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile, over the pixels of all images as one row: that row is their problem."""
    row = Conv2d(1, problem.c, 1, problem.n * problem.h * problem.w, problem.k, 1, 1)
    unit = ("Q", t.pixels), ("K", t.channels)
    block = ("K", t.tile.vectors * lanes), ("Q", t.tile.rows), ("C", 1)
    return kernel_loops(row, (*unit, *block), products=t.tile.rows * t.tile.vectors, loads=t.tile.rows + t.tile.vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    tile = t.tile
    block, pixels = problem.c * tile.vectors * target.vector_bytes, t.pixels * problem.c * itemsize
    return (
        f"{tile_registers(tile, target)}; a block of weights {kib(block)} beside {tile.rows} pixels "
        f"in L1 {kib(target.l1_bytes)} or L2, {t.pixels} pixels {kib(pixels)} in L2 {kib(target.l2_bytes)}"
    )


class _Pixels(NamedTuple):
    to: View
    source: Source
    span: Span
    epilogue: Epilogue
    next_pixels: Prefetch
    next_weights: Prefetch
    k_first: int
    once: bool


@routine
def _channels(pixels, k, columns, weights, tile):
    stretch, following = pixels.next_pixels, pixels.next_weights
    fresh = k == pixels.k_first
    if pixels.once or not fresh:  # where weights are read again and again the first block prefetches the next tile's pixels, which are contiguous
        stretch = Prefetch(following.buffer, following.at + k // lanes(weights.buffer) * weights.stride, following.step, WHOLE, 0)
    source = Source(pixels.source.pixels, pixels.source.raw, fresh)
    matrix_block(shifted(pixels.to, k), columns, source, pixels.span, weights, from_channel(pixels.epilogue, k), None, stretch, tile)


@kernel
def pointwise(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed dense, bias of length K or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight = operands.x, operands.weight
    wide_pixels, wide = own_part(work.wide_pixels, part), own_part(work.wide_weights, part)
    pixels, rows, chunks = problem.n * problem.h * problem.w, t.tile.rows + 0, ceil_div(problem.k, t.channels)
    weights = dense_weights(weight, 0, problem.c)
    next_weights = Prefetch(weight, t.tile.vectors * weights.stride, t.ahead, WHOLE, 0)
    for unit in range(part.first, part.last):
        block, chunk = divmod(unit, chunks)
        i_start, i_last = block * t.pixels, min((block + 1) * t.pixels, pixels)
        i_first = min(i_start, pixels - rows)  # the last tile of all is moved back into its neighbour
        raw = Place(x, i_first * problem.c)
        source = in_work_type(raw, wide_pixels)
        channels = Channels(chunk * t.channels, min((chunk + 1) * t.channels, problem.k), problem.k)
        those = _Pixels(
            View(out, i_first * problem.k, problem.k),
            Source(View(source.buffer, source.at, problem.c), raw, True),
            Span(i_start - i_first, i_last - i_first, problem.c),
            layer_epilogue(operands),
            Prefetch(x, (i_start + rows) * problem.c, rows, WHOLE, 0),
            next_weights,
            channels.first,
            pixels <= t.pixels,
        )
        channel_blocks(_channels, those, channels, weights, wide, t.tile)
