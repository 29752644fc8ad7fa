"""FusedMBConv in one kernel: a dense convolution expands, its activation, project, and the input again where the shape is kept.

    out[n, p, q] = x[n, p, q] + b2 + activation(conv(x)[n, p, q] + b1) @ V

The convolution comes first, so that its halo enlarges only what is read of the input: nothing is computed twice. Source of the block:
Lavin, "On the Efficiency of Convolutional Neural Networks", Fig. 6 (a); the loops are derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        stage the input rows of the block, border included, into `lines`
        h  chunks of t.hidden hidden channels: convolved into `hidden`, then projected and added up in `sums`
"""

from refconv.jit import kernel
from refconv.parts.convolve import ZERO
from refconv.parts.dense import dense_block
from refconv.parts.feed_forward import first_sums, odd_pitch, project_chunk
from refconv.parts.staging import image_rows, share, stage_lines, staged_count, widened
from refconv.problem.conv import out_height, out_width
from refconv.problem.fused import hidden_conv
from refconv.tile import lanes
from refconv.weights.packed import ceil_div


def units(block, t):
    """Independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread; `wide_weights` is for tensors stored as halves."""
    conv, rows = hidden_conv(block), min(t.lines, block.p)
    staged = staged_count(rows, conv.stride_h, conv.r, 1) * staged_count(conv.q, conv.stride_w, conv.s, 1) * conv.c
    widest = max(t.conv_vectors * conv.r * conv.s * conv.c, t.project_vectors * block.hidden) * lanes
    return {
        "lines": staged,
        "hidden": rows * conv.q * odd_pitch(min(t.hidden, block.hidden), lanes),
        "sums": rows * conv.q * block.k if half or t.hidden < block.hidden else 0,
        "wide_weights": widest if half else 0,
        "absent": 0,
    }


@kernel
def fused_mbconv(x, weight, bias, out, work, block, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight (conv, project) packed dense, bias (hidden or 0, K or 0); all flat."""
    (conv_weight, project), (conv_bias, project_bias) = weight, bias
    lines, hidden, sums, wide, absent = work
    lines_at, hidden_at = share(lines, slot, slots), share(hidden, slot, slots)
    sums_at, wide_at = share(sums, slot, slots), share(wide, slot, slots)
    conv, n_lanes = hidden_conv(block), lanes(project)
    height, width, pitch = out_height(conv), out_width(conv), odd_pitch(min(t.hidden, block.hidden), n_lanes)
    blocks, stride = ceil_div(height, t.lines), conv.r * conv.s * conv.c * n_lanes
    columns = staged_count(width, conv.stride_w, conv.s, 1)
    for unit in range(first, last):
        n, row = divmod(unit, blocks)
        p_first = row * t.lines
        count = min(t.lines, height - p_first)
        at, pixels, top = (n * height + p_first) * width, count * width, p_first * conv.stride_h - conv.pad_top
        rows = staged_count(count, conv.stride_h, conv.r, 1)
        stage_lines(lines, lines_at, x, image_rows(0, conv.c, conv.h, n, top), conv, conv.c, top, rows, columns)
        base, base_at = first_sums(x, at * block.c, block.residual, 0, pixels, block.k, sums, sums_at, absent)
        for h in range(0, block.hidden, t.hidden):
            h_last = min(h + t.hidden, block.hidden)
            for k in range(h, h_last, t.conv_vectors * n_lanes):
                near, near_at = widened(conv_weight, k // n_lanes * stride, t.conv_vectors * stride, wide, wide_at)
                to = hidden, hidden_at + k - h, pitch, h_last - k
                those = lines, lines_at, conv, conv.c, count, near, near_at, conv_bias, k, block.activation, t.conv_rows
                if block.hidden - k > t.conv_tail * n_lanes:
                    dense_block(*to, *those, t.conv_vectors, ZERO)
                else:
                    dense_block(*to, *those, t.conv_tail, ZERO)
            places = project, 0, project_bias, base, base_at, hidden, hidden_at, pitch, sums, sums_at, wide, wide_at, absent
            project_chunk(out, at * block.k, 0, pixels, h, h_last, block.hidden, block.k, *places, t)
