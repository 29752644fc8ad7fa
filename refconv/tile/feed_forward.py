"""The second half of most residual blocks: expand, activation, project. The hidden layer lives in the workspace, a chunk at a time.

    out[i] = x[i] (where there is a residual) + b2 + sum over chunks h of hidden channels: activation(source[i] @ U[:, h] + b1[h]) @ V[h]

Source of the formula: Lavin, "On the Efficiency of Convolutional Neural Networks", Sec. 5.2, eq. (30). The chunks and buffers are derived here:
all pixels of a unit meet a block of expand_vectors vectors of U, whose hidden pixels stay in cache until a block of V takes them; where the
weights do not fit beside them, only t.hidden hidden channels are made at a time, and the projections are added up in `sums`.
"""

from refconv.jit import routine
from refconv.layout import ceil_div
from refconv.tile.activations import IDENTITY
from refconv.tile.instructions import lanes, length, load, store, zero
from refconv.tile.lines import ONE, either, widened
from refconv.tile.matrix import matrix_block
from refconv.tile.registers import add_row

WHOLE = 1 << 60


@routine
def odd_pitch(channels, n_lanes):
    """Elements between neighbouring pixels of a buffer: an odd number of vectors, so that the rows of a tile fall into different cache sets."""
    return (ceil_div(channels, n_lanes) | 1) * n_lanes


def feed_forward_workspace(block, t, pixels, lanes, half):
    """Elements of each buffer of one thread, for at most `pixels` pixels a unit; `wide_weights` is for tensors stored as halves."""
    widest = max(t.expand_vectors * block.source, t.project_vectors * block.hidden) * lanes
    return {
        "hidden": pixels * odd_pitch(min(t.hidden, block.hidden), lanes),
        "sums": pixels * block.k,
        "wide_weights": widest if half else 0,
        "absent": 0,
    }


@routine
def begin_sums(sums, sums_at, x, x_at, residual, bias, first, last, channels):
    """sums[i, k] = bias[k], plus x[i, k] where there is a residual, for pixels first <= i < last: what the projections are added to."""
    n_lanes = lanes(sums)
    for i in range(first, last):
        for k in range(0, channels, n_lanes):
            tile = zero(ONE, ONE, sums)
            if residual:
                tile = load(ONE, ONE, x, x_at + i * channels + k, 0, channels - k)
            if length(bias) > 0:
                tile = add_row(tile, load(ONE, ONE, bias, k, 0, channels - k))
            store(sums, sums_at + i * channels + k, 0, tile, channels - k, 0)


@routine
def pace(elements, pixels, rows, depth):
    """Elements to call in with each step of the sums of a block of pixels, so that half of `elements` are there at its end."""
    return max(1, elements // (2 * ceil_div(pixels, rows + 0) * depth))


@routine
def project_chunk(
    out, out_at, first, last, h, h_last, hidden_channels, channels, weight, weight_at, hidden, hidden_at, pitch, sums, sums_at, wide, wide_at,
    absent, t
):  # fmt: skip
    """Pixels first <= i < last of hidden channels h to h_last-1 projected and added to `sums`; with the last chunk the sums go to `out`."""
    n_lanes = lanes(weight)
    stride = hidden_channels * n_lanes
    run = (h_last - h) * n_lanes
    step = pace(t.project_vectors * run, last - first, t.project_rows, h_last - h)
    out_step = ceil_div((last - first) * channels, ceil_div(last - first, t.project_rows + 0) * (h_last - h))
    for k in range(0, channels, t.project_vectors * n_lanes):
        near, near_at = widened(weight, weight_at + k // n_lanes * stride, t.project_vectors * stride, wide, wide_at)
        pixels = hidden, hidden_at, pitch, first, last, h_last - h, near, near_at + h * n_lanes, stride
        writes = h_last == hidden_channels and k == 0
        weights_next = weight_at + (k // n_lanes + t.project_vectors) * stride + h * n_lanes
        ahead, ahead_at = either(writes, out, out_at + (first + t.project_rows) * channels, weight, weights_next)
        ahead = ahead, ahead_at, out_step if writes else step, WHOLE if writes else run, stride
        rest = absent, 0, sums, sums_at + k, channels, hidden, hidden_at, False, *ahead, IDENTITY, t.project_rows
        narrow = channels - k <= t.project_tail * n_lanes
        if h_last < hidden_channels:
            to = sums, sums_at + k, channels, channels - k
            if narrow:
                matrix_block(*to, *pixels, *rest, t.project_tail)
            else:
                matrix_block(*to, *pixels, *rest, t.project_vectors)
        elif narrow:
            matrix_block(out, out_at + k, channels, channels - k, *pixels, *rest, t.project_tail)
        else:
            matrix_block(out, out_at + k, channels, channels - k, *pixels, *rest, t.project_vectors)


@routine
def feed_forward(
    out, out_at, source, source_at, source_pitch, raw, raw_at, x, x_at, first, last, coming_at, coming, block, weight, bias, work, places, t
):  # fmt: skip
    """Pixels first <= i < last of a unit, from its expanded sources to the output; *_at is the place of the unit's pixel 0.

    source: `block.source` channels a pixel, as floats of the workspace, or to be widened into it from `raw` as they are met; x: the block's
    input, for the residual. weight, bias: (expand, project). work, places: (hidden, sums, wide_weights, absent) and where this thread's
    parts of the first three begin.
    """
    (expand, project), (expand_bias, project_bias) = weight, bias
    (hidden, sums, wide, absent), (hidden_at, sums_at, wide_at) = work, places
    n_lanes, pitch = lanes(expand), odd_pitch(min(t.hidden, block.hidden), lanes(expand))
    expand_stride = block.source * n_lanes
    expand_step = pace(t.expand_vectors * expand_stride, last - first, t.expand_rows, block.source)
    blocks = ceil_div(block.hidden, t.expand_vectors * n_lanes)
    coming_step = ceil_div(coming, blocks * ceil_div(last - first, t.expand_rows + 0) * block.source)
    begin_sums(sums, sums_at, x, x_at, block.residual, project_bias, first, last, block.k)
    for h in range(0, block.hidden, t.hidden):
        h_last = min(h + t.hidden, block.hidden)
        for k in range(h, h_last, t.expand_vectors * n_lanes):
            near, near_at = widened(expand, k // n_lanes * expand_stride, t.expand_vectors * expand_stride, wide, wide_at)
            to = hidden, hidden_at + k - h, pitch, h_last - k
            pixels = source, source_at, source_pitch, first, last, block.source
            after = k + t.expand_vectors * n_lanes
            if coming > 0:
                ahead = x, coming_at + k * coming // block.hidden, coming_step, WHOLE, 0
            elif after < h_last:
                ahead = expand, after // n_lanes * expand_stride, expand_step, WHOLE, 0
            else:
                run = (h_last - h) * n_lanes
                ahead = project, h * n_lanes, pace(t.project_vectors * run, last - first, t.expand_rows, block.source), run, block.hidden * n_lanes
            start = near, near_at, expand_stride, expand_bias, k, absent, 0, 0, raw, raw_at, k == 0
            rest = *start, *ahead, block.activation, t.expand_rows
            if block.hidden - k > t.expand_tail * n_lanes:
                matrix_block(*to, *pixels, *rest, t.expand_vectors)
            else:
                matrix_block(*to, *pixels, *rest, t.expand_tail)
        at = hidden, hidden_at, pitch, sums, sums_at, wide, wide_at, absent
        project_chunk(out, out_at, first, last, h, h_last, block.hidden, block.k, project, 0, *at, t)
