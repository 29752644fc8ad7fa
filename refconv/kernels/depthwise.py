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
from refconv.parts.staging import image_rows, share, widened
from refconv.parts.strips import depthwise_row
from refconv.problem.activations import IDENTITY
from refconv.problem.conv import out_height, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div


def units(problem, t):
    """Independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * ceil_div(problem.c, t.channels)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since the border is clipped."""
    return {"wide_weights": min(t.channels, ceil_div(problem.c, lanes) * lanes) * problem.r * problem.s if half else 0}


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    pixels = (t.rows - 1) * t.stride + t.taps  # those that a slide loads
    unit = ("N", 1), ("P", t.lines), ("G", t.channels)
    strip = ("P", 1), ("G", lanes), ("Q", t.rows), ("R", 1), ("S", t.taps)
    return kernel_loops(problem, (*unit, *strip), products=t.rows * t.taps, loads=pixels + t.taps)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    rows = problem.r * problem.w * min(problem.c, t.channels) * itemsize
    near, held = ("L1", target.l1_bytes) if rows <= target.l1_bytes else ("L2", target.l2_bytes)
    return f"{registers(t.rows, 1, t.taps, target)}; {problem.r} input rows of {t.channels} channels {kib(rows)} in {near} {kib(held)}"


@kernel
def depthwise(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed depthwise, bias of length C or 0; all flat."""
    (weights,) = work
    weights_at = share(weights, slot, slots)
    height, width, n_lanes, channels = out_height(problem), out_width(problem), lanes(weight), problem.c
    blocks, chunks, window_size = ceil_div(height, t.lines), ceil_div(channels, t.channels), problem.r * problem.s
    for unit in range(first, last):
        rest, chunk = divmod(unit, chunks)
        n, block = divmod(rest, blocks)
        c_first = chunk * t.channels
        c_last = min(c_first + t.channels, channels)
        near, near_at = widened(weight, c_first * window_size, ceil_div(c_last - c_first, n_lanes) * n_lanes * window_size, weights, weights_at)
        for p in range(block * t.lines, min((block + 1) * t.lines, height)):
            out_at = (n * height + p) * width * channels
            under = image_rows(0, channels, problem.h, n, p * problem.stride_h - problem.pad_top)
            those = c_first, c_last, near, near_at, bias, IDENTITY
            depthwise_row(out, out_at, channels, x, under, p, problem, *those, t.rows, t.taps, t.stride)
