"""The inner part of every matrix product: pixels times a block of vectors of output channels."""

from refconv.jit import routine
from refconv.parts.staging import L1, ONE, widen
from refconv.tile.activations import activate
from refconv.tile.instructions import lanes, length, load, outer, prefetch, store, zero
from refconv.tile.registers import add_row

WHOLE = 1 << 60
"""The run of what is called in where it is contiguous."""


@routine
def matrix_block(
    out, out_at, out_pitch, columns, x, x_at, x_pitch, first, last, depth, weight, weight_at, vector_stride, bias, bias_at, start, start_at,
    start_pitch, raw, raw_at, fresh, stream, stream_at, stream_step, stream_run, stream_jump, activation, rows, vectors
):  # fmt: skip
    """out[i, k] = activation(start[i, k] + bias[k] + sum_(c < depth) x[i, c] * weight[k, c]) for pixels first <= i < last, k < columns.

    *_at is the place of pixel 0 (of the block's first vector or channel), *_pitch the elements between neighbouring pixels, vector_stride
    those between the weights of neighbouring vectors. Tiles of `rows` pixels; the last is moved back to overlap its neighbour, so
    pixel last - rows must exist, and what is stored is not stored again. `bias` and `start` may be absent (length 0). Where the pixels
    are `fresh`, a tile's are widened into x from `raw` (see `widen`), whose pixels are contiguous. With every step of a sum `stream_step` more
    elements of `stream`, from stream_at on, are called into the L1: what the caller will want next. They lie in runs of stream_run elements, the
    begins of neighbouring runs stream_jump apart.
    """
    n_lanes, gone = lanes(weight), 0
    for i_next in range(first, last, rows):
        i = min(i_next, last - rows)
        acc = zero(rows, vectors, out)
        if length(start) > 0:
            acc = load(rows, vectors, start, start_at + i * start_pitch, start_pitch, columns)
        pixel_at, w_at = x_at + i * x_pitch, weight_at
        if fresh:
            widen(x, pixel_at, raw, raw_at + i * depth, rows * depth)
        ahead_at = stream_at + gone // stream_run * stream_jump + gone % stream_run
        for c in range(depth):
            acc = outer(acc, x, pixel_at + c, x_pitch, weight, w_at, vector_stride)
            prefetch(stream, ahead_at, L1)
            w_at += n_lanes
            ahead_at += stream_step
        gone += depth * stream_step
        if length(bias) > 0:
            acc = add_row(acc, load(ONE, vectors, bias, bias_at, 0, columns))
        store(out, out_at + i * out_pitch, out_pitch, activate(acc, activation), columns, i_next - i)
