"""The inner part of every matrix product: pixels times a block of vectors of output channels."""

from numba import types
from numba.extending import overload

from refconv.jit import routine
from refconv.parts.epilogue import store_sums
from refconv.parts.operands import L2, first_sum
from refconv.parts.workspace import widen
from refconv.routine_code import INLINED
from refconv.tile.instructions import outer_sum
from refconv.tile.operands import Ahead, Place, View, moved, shifted


def wanted_ahead(stretch, steps):
    """The Ahead of a sum in which `steps` steps of the Prefetch `stretch` have been asked for already, or None where there is none."""
    if stretch is None:
        return None
    return _next_of(stretch, steps)


@routine
def _next_of(stretch, steps):
    gone = steps * stretch.step
    return Ahead(stretch.buffer, stretch.at + gone // stretch.run * stretch.jump + gone % stretch.run, stretch.step, L2)


@overload(wanted_ahead, jit_options=INLINED)
def _wanted_ahead(stretch, steps):
    if stretch == types.none:
        return lambda stretch, steps: None
    return lambda stretch, steps: _next_of(stretch, steps)


@routine
def matrix_block(to, columns, source, span, weights, epilogue, start, stretch, tile):
    """to[i, k] = epilogue(start[i, k] + sum_(c < depth) source[i, c] * weights[k, c]) for the pixels of the Span, k < columns.

    to: a View from the block's first channel on; source: a Source; weights, epilogue: the block's; start: a Start, or None;
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
        acc = outer_sum(acc, View(pixels.buffer, pixel_at, pitch), weights, span.depth, wanted_ahead(stretch, steps))
        steps += span.depth
        store_sums(shifted(to, (i_next - skipped) * to.pitch), acc, columns, skipped, epilogue, tile.vectors)
