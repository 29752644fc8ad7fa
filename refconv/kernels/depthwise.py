"""Depthwise convolution: each channel its own window; channels sit in the lanes, a strip of output pixels in registers.

    out[n, p, q, c] = bias[c] + sum_(r, s) x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w - pad_left, c] * weight[c, r, s]

Loops, outer to inner:

    unit: image n, block of t.lines output rows, block of t.channels channels   (units run in parallel; weights that are halves are widened here)
        q  blocks of t.pixels columns
            p  rows of the block            the r input rows under the window, and the weights, stay in L1 as p moves down
                q  strips of t.strip.rows pixels
                    c  vectors of channels          accumulators: t.strip.rows registers
                        r  kernel rows inside the image     the border is clipped, not padded: no work outside the image
                            s  t.strip.taps columns a step            each pixel is loaded once for all the taps and outputs it meets

What a strip has at its border and beneath it is found out once for all its channels. With t.strip.taps = S (dilation 1) a strip loads
rows * stride + S - stride pixels for rows * S multiply-adds; with t.strip.taps = 1 any dilation and stride works, at one load for each multiply-add.
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.epilogue import layer_epilogue
from refconv.parts.staging import image_rows
from refconv.parts.strips import depthwise_row
from refconv.parts.workspace import own_part, widened
from refconv.problem.conv import out_height, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes
from refconv.tile.operands import Place, View
from refconv.tiling.layers import window_bytes
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * ceil_div(problem.c, t.channels)


class Work(NamedTuple):
    """A unit's weights, widened from halves."""

    wide_weights: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since the border is clipped."""
    return Work(min(t.channels, ceil_div(problem.c, lanes) * lanes) * problem.r * problem.s if half else 0)


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    pixels = (t.strip.rows - 1) * t.strip.stride + t.strip.taps  # those that a slide loads
    unit = ("N", 1), ("P", t.lines), ("G", t.channels), ("Q", t.pixels)
    strip = ("P", 1), ("Q", t.strip.rows), ("G", lanes), ("R", 1), ("S", t.strip.taps)
    return kernel_loops(problem, (*unit, *strip), products=t.strip.rows * t.strip.taps, loads=pixels + t.strip.taps)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    window = window_bytes(min(t.pixels, problem.q), problem, itemsize) * min(problem.c, t.channels)
    near, held = ("L1", target.l1_bytes) if window <= target.l1_bytes else ("L2", target.l2_bytes)
    block = f"window of {t.pixels} pixels and {t.channels} channels {kib(window)} in {near} {kib(held)}"
    return f"{registers(t.strip.rows, 1, t.strip.taps, target)}; {block}"


@kernel
def depthwise(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed depthwise, bias of length C or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight = operands.x, operands.weight
    wide = own_part(work.wide_weights, part)
    height, width, n_lanes, channels = out_height(problem), out_width(problem), lanes(weight), problem.c
    blocks, chunks, window_size = ceil_div(height, t.lines), ceil_div(channels, t.channels), problem.r * problem.s
    for unit in range(part.first, part.last):
        rest, chunk = divmod(unit, chunks)
        n, block = divmod(rest, blocks)
        c_first = chunk * t.channels
        c_last = min(c_first + t.channels, channels)
        weights = widened(Place(weight, c_first * window_size), ceil_div(c_last - c_first, n_lanes) * n_lanes * window_size, wide)
        for q in range(0, width, t.pixels):
            for p in range(block * t.lines, min((block + 1) * t.lines, height)):
                to = View(out, (n * height + p) * width * channels, channels)
                under = image_rows(Place(x, 0), channels, problem.h, n, p * problem.stride_h - problem.pad_top)
                outputs = q, min(q + t.pixels, width)
                depthwise_row(to, under, p, problem, (c_first, c_last), outputs, weights, layer_epilogue(operands), t.strip)
