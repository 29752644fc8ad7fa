"""The inner part of every matrix product: pixels times a block of vectors of output channels."""

from refconv.jit import routine
from refconv.parts.operands import elements_asked, first_sum, prefetch_next, prefetch_place, with_bias
from refconv.parts.workspace import widen
from refconv.tile.activations import activate
from refconv.tile.instructions import lanes, outer, store
from refconv.tile.operands import Place, moved


@routine
def matrix_block(to, columns, source, span, weights, bias, start, stretch, activation, tile):
    """to[i, k] = activation(start[i, k] + bias[k] + sum_(c < depth) source[i, c] * weights[k, c]) for the pixels of the Span, k < columns.

    to: a View from the block's first channel on; source: a Source; weights: the block's; bias: its Place, or None; start: a Start, or None;
    stretch: a Prefetch of what the caller wants next, or None. Tiles of tile.rows pixels; the last is moved back to overlap its neighbour,
    so pixel last - rows must exist, and what is stored is not stored again.
    """
    n_lanes, pixels, gone = lanes(weights.buffer), source.pixels, 0
    for i_next in range(span.first, span.last, tile.rows):
        i = min(i_next, span.last - tile.rows)
        acc = first_sum(start, i, columns, tile, to.buffer)
        pixel_at, w_at = pixels.at + i * pixels.pitch, weights.at
        if source.fresh:
            widen(Place(pixels.buffer, pixel_at), moved(source.raw, i * span.depth), tile.rows * span.depth)
        ahead_at = prefetch_place(stretch, gone)
        for c in range(span.depth):
            acc = outer(acc, pixels.buffer, pixel_at + c, pixels.pitch, weights.buffer, w_at, weights.stride)
            w_at += n_lanes
            ahead_at = prefetch_next(stretch, ahead_at)
        gone += elements_asked(stretch, span.depth)
        acc = activate(with_bias(acc, bias, columns, tile.vectors), activation)
        store(to.buffer, to.at + i * to.pitch, to.pitch, acc, columns, i_next - i)
