"""Blocks that begin with a spatial convolution of the channels, in one kernel: ConvFirst, ConvNeXt (with its norm) and FasterNet (partial).

    m[n, p, q]   = conv(x)[n, p, q], and for ConvNeXt (m - mean) / sqrt(variance + eps) over its channels
    out[n, p, q] = x[n, p, q] + b2 + activation(m[n, p, q] @ U + b1) @ V

The convolution comes first, so that its halo enlarges only what is read of the input: nothing is computed twice. Source of the block and
its name: Lavin, "On the Efficiency of Convolutional Neural Networks", Fig. 6; the loops are derived here. ConvNeXt's norm weight and
bias are folded into U and b1, its layer scale into V and b2 when the record is packed. Loops, outer to inner:

    unit: image n, block of t.lines rows                 (units run in parallel)
        the rows convolved into `mixed`; a partial convolution passes the other channels through
        mixed normalised, a pixel at a time
        feed_forward (parts/feed_forward.py): the hidden layer of these rows alone, in the workspace
"""

from refconv.jit import kernel
from refconv.parts.convolve import DENSE, convolve_rows
from refconv.parts.feed_forward import feed_forward, feed_forward_workspace, odd_pitch
from refconv.parts.normalise import normalise
from refconv.parts.staging import copy, image_rows, share, staged_count, widened
from refconv.problem.activations import IDENTITY
from refconv.problem.fused import first_conv
from refconv.tile import lanes
from refconv.weights.packed import ceil_div


def units(block, t):
    """Independent pieces of work."""
    return block.n * ceil_div(block.h, t.lines)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread; `wide_*` are for tensors stored as halves."""
    rows, conv = min(t.lines, block.h), first_conv(block)
    lines = staged_count(rows, 1, conv.r, 1) * staged_count(block.w, 1, conv.s, 1) * conv.c_group if t.conv_kind == DENSE else 0
    return {
        "mixed": rows * block.w * odd_pitch(block.c, lanes),
        "lines": lines,
        "wide_conv": block.conv_size if half else 0,
        **feed_forward_workspace(block, t, rows * block.w, lanes, half),
    }


@kernel
def conv_first(x, weight, bias, out, work, block, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight (conv, expand, project) packed, bias (C or 0, hidden or 0, K or 0); all flat."""
    conv_weight, expand, project = weight
    conv_bias, expand_bias, project_bias = bias
    mixed, lines, conv_wide, hidden, sums, weights, absent = work
    mixed_at, lines_at = share(mixed, slot, slots), share(lines, slot, slots)
    places = share(hidden, slot, slots), share(sums, slot, slots), share(weights, slot, slots)
    near, near_at = widened(conv_weight, 0, block.conv_size, conv_wide, share(conv_wide, slot, slots))
    blocks, pitch, conv = ceil_div(block.h, t.lines), odd_pitch(block.c, lanes(expand)), first_conv(block)
    for unit in range(first, last):
        n, row = divmod(unit, blocks)
        p_first = row * t.lines
        count = min(t.lines, block.h - p_first)
        at, pixels = (n * block.h + p_first) * block.w, count * block.w
        rows = image_rows(0, block.c, block.h, n, p_first - conv.pad_top)
        convolve_rows((mixed, mixed_at, pitch), x, rows, p_first, count, conv, near, near_at, conv_bias, IDENTITY, lines, lines_at, t)
        if conv.c < block.c:
            for i in range(pixels):
                copy(mixed, mixed_at + i * pitch + conv.c, x, (at + i) * block.c + conv.c, block.c - conv.c)
        if block.norm > 0:
            normalise(mixed, mixed_at, pitch, pixels, block.c, block.eps)
        coming_at = (at + pixels + conv.pad_bottom * block.w) * block.c
        coming = t.lines * block.w * block.c if unit + 1 < last else 0
        to = out, at * block.k, mixed, mixed_at, pitch, mixed, mixed_at, x, at * block.c, 0, pixels, coming_at, coming
        feed_forward(*to, block, (expand, project), (expand_bias, project_bias), (hidden, sums, weights, absent), places, t)
