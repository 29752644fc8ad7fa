"""ConvFirst of stride 2 in one kernel: convolution, blur pool of it and of the input side by side, expand, activation, project; no residual.

    m[n, p, q]   = blur_pool([conv(x), x])[n, p, q]                       2C channels, never concatenated before they are blurred
    out[n, p, q] = b2 + activation(m[n, p, q] @ U + b1) @ V

Output row p sees rows 2p - 1, 2p and 2p + 1 of the convolution and of the input, reflected at the border. The three convolved rows lie in
`window`, whose last is the first of the next: within a unit nothing is computed twice, and every unit but an image's first makes one row
anew. A unit of all rows of a thread is the mode halo="cache", units of t.step rows are halo="recompute". Source of the block: Lavin, "On
the Efficiency of Convolutional Neural Networks", Fig. 6 (c), with the choices told in refconv/problem/blocks.py; the window and the loops are
derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        steps of t.step output rows
            p  rows of the step: what is new of the convolved rows into `window`, then the window and the input blurred into `mixed`
            feed_forward (parts/feed_forward.py): the hidden layer of these rows alone, in the workspace
"""

from refconv.jit import kernel, routine
from refconv.parts.blur import blur_row, reflected
from refconv.parts.convolve import DENSE, convolve_rows
from refconv.parts.feed_forward import feed_forward, feed_forward_workspace, odd_pitch
from refconv.parts.staging import copy, image_rows, share, staged_count, widened
from refconv.problem.activations import IDENTITY
from refconv.problem.fused import first_conv
from refconv.tile import lanes
from refconv.weights.packed import ceil_div

WINDOW_ROWS = 3


def units(block, t):
    """Independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread; `wide_*` are for tensors stored as halves."""
    conv, pixels = first_conv(block), min(t.step, t.lines, block.p) * block.q
    lines = staged_count(WINDOW_ROWS, 1, conv.r, 1) * staged_count(block.w, 1, conv.s, 1) * conv.c_group if t.conv_kind == DENSE else 0
    return {
        "window": WINDOW_ROWS * block.w * ceil_div(block.c, lanes) * lanes,
        "mixed": pixels * odd_pitch(block.source, lanes),
        "lines": lines,
        "wide_conv": block.conv_size if half else 0,
        **feed_forward_workspace(block, t, pixels, lanes, half),
    }


def recomputed_macs(block, t, squeeze="recompute"):
    """Multiply-adds beyond those of the layers: a convolved row for every unit but the first of an image."""
    conv = first_conv(block)
    return conv.macs // conv.h * (ceil_div(block.p, t.lines) - 1)


@routine
def seen_rows(p, height, at, row):
    """Places of the three rows of a map of `height` that output row p sees, rows being `row` elements, row 0 at `at`."""
    return at + reflected(2 * p - 1, height) * row, at + 2 * p * row, at + reflected(2 * p + 1, height) * row


@kernel
def conv_first_down(x, weight, bias, out, work, block, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight (conv, expand, project) packed, bias (C or 0, hidden or 0, K or 0); all flat."""
    conv_weight, expand, project = weight
    conv_bias, expand_bias, project_bias = bias
    window, mixed, lines, conv_wide, hidden, sums, weights, absent = work
    window_at, mixed_at, lines_at = share(window, slot, slots), share(mixed, slot, slots), share(lines, slot, slots)
    places = share(hidden, slot, slots), share(sums, slot, slots), share(weights, slot, slots)
    near, near_at = widened(conv_weight, 0, block.conv_size, conv_wide, share(conv_wide, slot, slots))
    n_lanes, conv = lanes(expand), first_conv(block)
    height, width, blocks = ceil_div(block.h, 2), ceil_div(block.w, 2), ceil_div(ceil_div(block.h, 2), t.lines)
    conv_pitch, pitch = ceil_div(block.c, n_lanes) * n_lanes, odd_pitch(block.source, n_lanes)
    conv_row, raw_row = block.w * conv_pitch, block.w * block.c
    for unit in range(first, last):
        n, part = divmod(unit, blocks)
        p_last = min((part + 1) * t.lines, height)
        for p_first in range(part * t.lines, p_last, t.step):
            p_end = min(p_first + t.step, p_last)
            for p in range(p_first, p_end):
                top, new = 2 * p - 1, max(2 * p - 1, 0)
                if p > part * t.lines:
                    copy(window, window_at, window, window_at + 2 * conv_row, conv_row)
                    new = 2 * p
                to, count = (window, window_at + (new - top) * conv_row, conv_pitch), min(2 * p + 2, block.h) - new
                rows = image_rows(0, block.c, block.h, n, new - conv.pad_top)
                convolve_rows(to, x, rows, new, count, conv, near, near_at, conv_bias, IDENTITY, lines, lines_at, t)
                row_at = mixed_at + (p - p_first) * width * pitch
                seen = seen_rows(p, block.h, window_at - top * conv_row, conv_row)
                blur_row(mixed, row_at, pitch, window, seen, conv_pitch, block.w, block.c)
                seen = seen_rows(p, block.h, n * block.h * raw_row, raw_row)
                blur_row(mixed, row_at + block.c, pitch, x, seen, block.c, block.w, block.c)
            at = (n * height + p_first) * width
            coming_at = (n * block.h + 2 * p_end + conv.pad_bottom) * raw_row
            coming = 2 * t.step * raw_row if p_end < p_last else 0
            to = out, at * block.k, mixed, mixed_at, pitch, mixed, mixed_at, x, 0, 0, (p_end - p_first) * width, coming_at, coming
            feed_forward(*to, block, (expand, project), (expand_bias, project_bias), (hidden, sums, weights, absent), places, t)
