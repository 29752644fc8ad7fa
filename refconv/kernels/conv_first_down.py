"""ConvFirst of stride 2 in one kernel: convolution, blur pool of it and of the input side by side, expand, activation, project; no residual.

    m[n, p, q]   = blur_pool([conv(x), x])[n, p, q]                       2C channels, never concatenated before they are blurred
    out[n, p, q] = b2 + activation(m[n, p, q] @ U + b1) @ V

Output row p sees rows 2p - 1, 2p and 2p + 1 of the convolution and of the input, reflected at the border. The three convolved rows lie in
`window`, whose last is the first of the next: within a unit nothing is computed twice, and every unit but an image's first makes one row
again. A unit of all rows of a thread is the mode halo="cache", units of t.step rows are halo="recompute". Source of the block: Lavin, "On
the Efficiency of Convolutional Neural Networks", Fig. 6 (c), with the choices told in refconv/problem/blocks.py; the window and the loops are
derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        steps of t.step output rows
            p  rows of the step: what is new of the convolved rows into `window`, then the window and the input blurred into `mixed`
            feed_forward (parts/feed_forward.py): the hidden layer of these rows alone, in the workspace
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.blur import blur_row, reflected
from refconv.parts.convolve import convolve_rows, own_convolution, staged_elements
from refconv.parts.copy import copy
from refconv.parts.feed_forward import NextInput, feed_forward, feed_forward_places, feed_forward_weights, feed_forward_workspace, odd_pitch
from refconv.parts.operands import ConvFirstOperands, as_source
from refconv.parts.staging import image_rows
from refconv.parts.workspace import own_part
from refconv.problem.activations import IDENTITY
from refconv.problem.fused import first_conv
from refconv.tile import lanes
from refconv.tile.operands import Place, View, shifted
from refconv.weights.packed import ceil_div

WINDOW_ROWS = 3


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


Operands = ConvFirstOperands


class Work(NamedTuple):
    """Three convolved rows; the blurred pixels; staged lines; the convolution's weights widened from halves; and as in the kernel ffn."""

    window: Any
    mixed: Any
    lines: Any
    wide_conv: Any
    hidden: Any
    sums: Any
    wide_weights: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    pixels = min(t.step, t.lines, block.p) * block.q
    return Work(
        WINDOW_ROWS * block.w * ceil_div(block.c, lanes) * lanes,
        pixels * odd_pitch(block.source, lanes),
        staged_elements(first_conv(block), WINDOW_ROWS, t.conv),
        block.conv_size if half else 0,
        *feed_forward_workspace(block, t, pixels, lanes, half),
    )


def recomputed_macs(block, t, squeeze="recompute"):
    """Multiply-adds beyond those of the layers: a convolved row for every unit but the first of an image."""
    conv = first_conv(block)
    return conv.macs // conv.h * (ceil_div(block.p, t.lines) - 1)


@routine
def seen_rows(p, height, at, row):
    """Places of the three rows of a map of `height` that output row p sees, rows being `row` elements, row 0 at `at`."""
    return at + reflected(2 * p - 1, height) * row, at + 2 * p * row, at + reflected(2 * p + 1, height) * row


@kernel
def conv_first_down(operands, out, work, block, t, part):
    """Compute the units of the Part. x and out NHWC; all flat."""
    x, conv, n_lanes = operands.x, first_conv(block), lanes(operands.expand)
    weights, places = feed_forward_weights(operands), feed_forward_places(work, part)
    convolution = own_convolution(conv, IDENTITY, block, operands, own_part(work.wide_conv, part))
    lines = own_part(work.lines, part)
    window, mixed = own_part(work.window, part), own_part(work.mixed, part)
    height, width, blocks = ceil_div(block.h, 2), ceil_div(block.w, 2), ceil_div(ceil_div(block.h, 2), t.lines)
    conv_pitch, pitch = ceil_div(block.c, n_lanes) * n_lanes, odd_pitch(block.source, n_lanes)
    conv_row, raw_row = block.w * conv_pitch, block.w * block.c
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        p_last = min((row + 1) * t.lines, height)
        for p_first in range(row * t.lines, p_last, t.step):
            p_end = min(p_first + t.step, p_last)
            for p in range(p_first, p_end):
                top, new = 2 * p - 1, max(2 * p - 1, 0)
                if p > row * t.lines:
                    copy(window.buffer, window.at, window.buffer, window.at + 2 * conv_row, conv_row)
                    new = 2 * p
                convolved, count = View(window.buffer, window.at + (new - top) * conv_row, conv_pitch), min(2 * p + 2, block.h) - new
                rows = image_rows(Place(x, 0), block.c, block.h, n, new - conv.pad_top)
                convolve_rows(convolved, rows, new, count, convolution, lines, t.conv)
                blurred = View(mixed.buffer, mixed.at + (p - p_first) * width * pitch, pitch)
                seen = seen_rows(p, block.h, window.at - top * conv_row, conv_row)
                blur_row(blurred, window.buffer, seen, conv_pitch, block.w, block.c)
                seen = seen_rows(p, block.h, n * block.h * raw_row, raw_row)
                blur_row(shifted(blurred, block.c), x, seen, block.c, block.w, block.c)
            at = (n * height + p_first) * width
            next_at = (n * block.h + 2 * p_end + conv.pad_bottom) * raw_row
            next_input = NextInput(next_at, 2 * t.step * raw_row if p_end < p_last else 0)
            to, source = View(out, at * block.k, block.k), as_source(View(mixed.buffer, mixed.at, pitch))
            feed_forward(to, source, Place(x, 0), (0, (p_end - p_first) * width), next_input, block, weights, places, t)
