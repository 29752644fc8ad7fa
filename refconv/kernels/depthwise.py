"""Depthwise convolution: each channel its own window; channels sit in the lanes, a strip of output pixels in registers.

    out[n, p, q, c] = bias[c] + sum_(r, s) x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w - pad_left, c] * weight[c, r, s]

Loops, outer to inner:

    unit: image n, block of t.lines output rows, block of t.channels channels   (units run in parallel; weights that are halves are widened here)
        p  rows of the block            the r input rows under the window stay in L1 or L2 as p moves down
        c  vectors of channels
        q  strips of t.rows pixels          accumulators: t.rows registers
        r  kernel rows inside the image     the border is clipped, not padded: no work outside the image
        s  t.taps columns a step            each pixel is loaded once for all the taps and outputs it meets

With t.taps = S (dilation 1) a strip loads rows * stride + S - stride pixels for rows * S multiply-adds; with t.taps = 1 any dilation
and stride works, at one load for each multiply-add.
"""

from refconv.jit import kernel
from refconv.layout import ceil_div
from refconv.problem import out_height, out_width
from refconv.tile import add_row, lanes, length, load, slide, store, zero
from refconv.tile.lines import ONE, share, widened


def units(problem, t):
    """Independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * ceil_div(problem.c, t.channels)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since the border is clipped."""
    return {"wide_weights": min(t.channels, ceil_div(problem.c, lanes) * lanes) * problem.r * problem.s if half else 0}


@kernel
def depthwise(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed depthwise, bias of length C or 0; all flat."""
    (weights,) = work
    weights_at = share(weights, slot, slots)
    height, width, n_lanes, channels = out_height(problem), out_width(problem), lanes(weight), problem.c
    blocks, chunks = ceil_div(height, t.lines), ceil_div(channels, t.channels)
    step = 1 if t.taps > 1 else problem.stride_w  # input columns from one pixel of a slide to the next
    pixels = (t.rows - 1) * t.stride + t.taps
    for unit in range(first, last):
        rest, chunk = divmod(unit, chunks)
        n, block = divmod(rest, blocks)
        c_first = chunk * t.channels
        c_last = min(c_first + t.channels, channels)
        window_size = problem.r * problem.s
        near, near_at = widened(weight, c_first * window_size, ceil_div(c_last - c_first, n_lanes) * n_lanes * window_size, weights, weights_at)
        for p in range(block * t.lines, min((block + 1) * t.lines, height)):
            for c in range(c_first, c_last, n_lanes):
                columns = channels - c
                for q_next in range(0, width, t.rows):
                    q = min(q_next, width - t.rows)
                    acc = zero(t.rows, ONE, out)
                    for r in range(problem.r):
                        y = p * problem.stride_h + r * problem.dilation_h - problem.pad_top
                        if 0 <= y < problem.h:
                            weight_at = near_at + ((c - c_first) * problem.r + r * n_lanes) * problem.s
                            for s in range(0, problem.s, t.taps):
                                start = q * problem.stride_w + s * problem.dilation_w - problem.pad_left
                                inside, end = -(start // step), -((start - problem.w) // step)
                                x_at = ((n * problem.h + y) * problem.w + start) * channels + c
                                w_at = weight_at + s * n_lanes
                                if inside <= 0 and end >= pixels and columns >= n_lanes:  # constants: no branch is left
                                    acc = slide(acc, t.taps, t.stride, x, x_at, step * channels, n_lanes, 0, 1 << 30, near, w_at, n_lanes)
                                else:
                                    acc = slide(acc, t.taps, t.stride, x, x_at, step * channels, columns, inside, end, near, w_at, n_lanes)
                    if length(bias) > 0:
                        acc = add_row(acc, load(ONE, ONE, bias, c, 0, columns))
                    store(out, ((n * height + p) * width + q) * channels + c, channels, acc, columns, q_next - q)
