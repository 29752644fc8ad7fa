"""The second half of most residual blocks: expand, activation, project. The hidden layer lives in the workspace, a chunk at a time.

    out[i] = x[i] (where there is a residual) + b2 + sum over chunks h of hidden channels: activation(source[i] @ U[:, h] + b1[h]) @ V[h]

Source of the formula: Lavin, "On the Efficiency of Convolutional Neural Networks", Sec. 5.2, eq. (30). The chunks and buffers are derived here:
all pixels of a unit meet a block of expand_vectors vectors of U, whose hidden pixels stay in cache until a block of V takes them; t.hidden
hidden channels are made at a time, and the projections of several such chunks are added up in `sums`.
"""

from numba.extending import overload

from refconv.jit import routine
from refconv.parts.matrix import WHOLE, matrix_block
from refconv.parts.staging import wide, widen, widened
from refconv.problem.activations import IDENTITY
from refconv.tile.instructions import lanes
from refconv.weights.packed import ceil_div


@routine
def odd_pitch(channels, n_lanes):
    """Elements between neighbouring pixels of a buffer: an odd number of vectors, so that the rows of a tile fall into different cache sets."""
    return (ceil_div(channels, n_lanes) | 1) * n_lanes


def feed_forward_workspace(block, t, pixels, lanes, half):
    """Elements of each buffer of one thread, for at most `pixels` pixels a unit; `wide_weights` is for tensors stored as halves."""
    widest = max(t.expand_vectors * block.source, t.project_vectors * block.hidden) * lanes
    return {
        "hidden": pixels * odd_pitch(min(t.hidden, block.hidden), lanes),
        "sums": pixels * block.k if half or t.hidden < block.hidden else 0,
        "wide_weights": widest if half else 0,
        "absent": 0,
    }


def first_sums(x, x_at, residual, first, last, channels, sums, sums_at, absent):
    """(buffer, place) of what the first chunk of pixels first <= i < last is added to: the block's input, or nothing without a residual.

    A chunk's sums begin in the registers with the input itself; only halves are widened into `sums` before.
    """
    if residual > 0:
        widen(sums, sums_at + first * channels, x, x_at + first * channels, (last - first) * channels)
        return wide(x, x_at, sums, sums_at)
    return absent, 0


@overload(first_sums, jit_options={"forceinline": True})
def _first_sums(x, x_at, residual, first, last, channels, sums, sums_at, absent):
    return first_sums


@routine
def pace(elements, pixels, rows, depth):
    """Elements to call in with each step of the sums of a block of pixels, so that `elements` are there at its end."""
    return max(1, elements // (ceil_div(pixels, rows + 0) * depth))


@routine
def project_chunk(
    out, out_at, first, last, h, h_last, hidden_channels, channels, weight, weight_at, bias, base, base_at, hidden, hidden_at, pitch, sums, sums_at,
    wide, wide_at, absent, t
):  # fmt: skip
    """Pixels first <= i < last of hidden channels h to h_last-1 projected.

    They are added to `base` (`first_sums`) where h = 0, else to `sums`, where the chunks before have left theirs; the last chunk's go to `out`,
    with the bias.
    """
    n_lanes = lanes(weight)
    stride, run = hidden_channels * n_lanes, (h_last - h) * n_lanes
    step = pace(t.project_vectors * run, last - first, t.project_rows, h_last - h)
    start, start_at = (base, base_at) if h == 0 else (sums, sums_at)
    for k in range(0, channels, t.project_vectors * n_lanes):
        near, near_at = widened(weight, weight_at + k // n_lanes * stride, t.project_vectors * stride, wide, wide_at)
        pixels = hidden, hidden_at, pitch, first, last, h_last - h, near, near_at + h * n_lanes, stride
        ahead = weight, weight_at + (k // n_lanes + t.project_vectors) * stride + h * n_lanes, step, run, stride
        rest = start, start_at + k, channels, hidden, hidden_at, False, *ahead, IDENTITY, t.project_rows
        narrow = channels - k <= t.project_tail * n_lanes
        if h_last < hidden_channels:
            to = sums, sums_at + k, channels, channels - k
            if narrow:
                matrix_block(*to, *pixels, absent, 0, *rest, t.project_tail)
            else:
                matrix_block(*to, *pixels, absent, 0, *rest, t.project_vectors)
        elif narrow:
            matrix_block(out, out_at + k, channels, channels - k, *pixels, bias, k, *rest, t.project_tail)
        else:
            matrix_block(out, out_at + k, channels, channels - k, *pixels, bias, k, *rest, t.project_vectors)


@routine
def feed_forward(
    out, out_at, source, source_at, source_pitch, raw, raw_at, x, x_at, first, last, coming_at, coming, block, weight, bias, work, places, t
):  # fmt: skip
    """Pixels first <= i < last of a unit, from its expanded sources to the output; *_at is the place of the unit's pixel 0.

    source: `block.source` channels a pixel, as floats of the workspace, or to be widened into it from `raw` as they are met; x: the block's
    input, for the residual, of which `coming` elements from coming_at on, those of the next unit, are called in during the expansion; with
    none coming it is the next block of weights. weight, bias: (expand, project). work, places: (hidden, sums, wide_weights, absent) and where
    this thread's parts of the first three begin.
    """
    (expand, project), (expand_bias, project_bias) = weight, bias
    (hidden, sums, wide, absent), (hidden_at, sums_at, wide_at) = work, places
    n_lanes, pitch = lanes(expand), odd_pitch(min(t.hidden, block.hidden), lanes(expand))
    expand_stride = block.source * n_lanes
    expand_step = pace(t.expand_vectors * expand_stride, last - first, t.expand_rows, block.source)
    blocks = ceil_div(block.hidden, t.expand_vectors * n_lanes)
    coming_step = ceil_div(coming, blocks * ceil_div(last - first, t.expand_rows + 0) * block.source)
    base, base_at = first_sums(x, x_at, block.residual, first, last, block.k, sums, sums_at, absent)
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
        project_chunk(out, out_at, first, last, h, h_last, block.hidden, block.k, project, 0, project_bias, base, base_at, *at, t)
