"""The inner part of every matrix product: pixels times a block of vectors of output channels."""

from numba import types
from numba.extending import overload

from refconv.jit import routine
from refconv.parts.operands import L1, first_sum, with_bias
from refconv.parts.workspace import widen
from refconv.routine_code import INLINED
from refconv.tile.activations import activate
from refconv.tile.instructions import lanes, outer, prefetch, store
from refconv.tile.operands import Place, View, moved


def sum_products(acc, pixels, at, weights, depth, stretch, steps):
    """acc + the products of a tile of pixels, the first at `at` in the View `pixels`, with a block of weights: a sum of `depth` steps.

    stretch: a Prefetch, of which `steps` steps have been asked for already, or None. Either way the loop is instructions alone: a call of a
    piece within it leaves a branch for its status, and LLVM then moves the multiply-adds of a step behind all its loads, out of
    registers (measured: half the speed).
    """
    if stretch is None:
        return _sum(acc, pixels, at, weights, depth, stretch, steps)
    return _sum_and_prefetch(acc, pixels, at, weights, depth, stretch, steps)


def _sum(acc, pixels, at, weights, depth, stretch, steps):
    n_lanes, w_at = lanes(weights.buffer), weights.at
    for c in range(depth):
        acc = outer(acc, pixels.buffer, at + c, pixels.pitch, weights.buffer, w_at, weights.stride)
        w_at += n_lanes
    return acc


def _sum_and_prefetch(acc, pixels, at, weights, depth, stretch, steps):
    n_lanes, w_at, gone = lanes(weights.buffer), weights.at, steps * stretch.step
    ahead_at = stretch.at + gone // stretch.run * stretch.jump + gone % stretch.run
    for c in range(depth):
        acc = outer(acc, pixels.buffer, at + c, pixels.pitch, weights.buffer, w_at, weights.stride)
        prefetch(stretch.buffer, ahead_at, L1)
        w_at += n_lanes
        ahead_at += stretch.step
    return acc


@overload(sum_products, jit_options=INLINED)
def _sum_products(acc, pixels, at, weights, depth, stretch, steps):
    return _sum if stretch == types.none else _sum_and_prefetch


@routine
def matrix_block(to, columns, source, span, weights, bias, start, stretch, activation, tile):
    """to[i, k] = activation(start[i, k] + bias[k] + sum_(c < depth) source[i, c] * weights[k, c]) for the pixels of the Span, k < columns.

    to: a View from the block's first channel on; source: a Source; weights: the block's; bias: its Place, or None; start: a Start, or None;
    stretch: a Prefetch of what the caller wants next, or None. Tiles of tile.rows pixels; the last is moved back to overlap its neighbour, and
    what is stored is not stored again. Where there are fewer pixels than that, 0 to last - 1, each has a tile whose rows are all that pixel
    (their pitch is 0), and the last row is stored: no height is compiled for them.
    """
    pixels, steps, few = source.pixels, 0, span.last < tile.rows
    step, pitch = (1, 0) if few else (tile.rows + 0, pixels.pitch)
    for i_next in range(span.first, span.last, step):
        i = min(i_next, span.last - step)
        skipped = tile.rows - 1 if few else i_next - i
        acc, pixel_at = first_sum(start, i, few, columns, tile, to.buffer), pixels.at + i * pixels.pitch
        if source.fresh:
            widen(Place(pixels.buffer, pixel_at), moved(source.raw, i * span.depth), step * span.depth)
        acc = sum_products(acc, View(pixels.buffer, pixels.at, pitch), pixel_at, weights, span.depth, stretch, steps)
        steps += span.depth
        acc = activate(with_bias(acc, bias, columns, tile.vectors), activation)
        store(to.buffer, to.at + (i_next - skipped) * to.pitch, to.pitch, acc, columns, skipped)
