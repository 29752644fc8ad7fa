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

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.convolve import convolve_rows, own_convolution, staged_elements
from refconv.parts.copy import copy
from refconv.parts.feed_forward import NextInput, feed_forward, feed_forward_places, feed_forward_weights, feed_forward_workspace, odd_pitch
from refconv.parts.normalise import normalise
from refconv.parts.operands import ConvFirstOperands, as_source
from refconv.parts.staging import image_rows
from refconv.parts.workspace import own_part
from refconv.problem.activations import IDENTITY
from refconv.problem.fused import first_conv
from refconv.tile import lanes
from refconv.tile.operands import Place, View
from refconv.weights.packed import ceil_div


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.h, t.lines)


Operands = ConvFirstOperands


class Work(NamedTuple):
    """The convolved pixels; staged lines; the convolution's weights widened from halves; and as in the kernel ffn."""

    mixed: Any
    lines: Any
    wide_conv: Any
    hidden: Any
    sums: Any
    wide_weights: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    rows = min(t.lines, block.h)
    return Work(
        rows * block.w * odd_pitch(block.c, lanes),
        staged_elements(first_conv(block), rows, t.conv),
        block.conv_size if half else 0,
        *feed_forward_workspace(block, t, rows * block.w, lanes, half),
    )


@kernel
def conv_first(operands, out, work, block, t, part):
    """Compute the units of the Part. x and out NHWC; all flat."""
    x, conv = operands.x, first_conv(block)
    weights, places = feed_forward_weights(operands), feed_forward_places(work, part)
    convolution = own_convolution(conv, IDENTITY, block, operands, own_part(work.wide_conv, part))
    lines = own_part(work.lines, part)
    mixed, pitch, blocks = own_part(work.mixed, part), odd_pitch(block.c, lanes(operands.expand)), ceil_div(block.h, t.lines)
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        p_first = row * t.lines
        count = min(t.lines, block.h - p_first)
        at, pixels = (n * block.h + p_first) * block.w, count * block.w
        rows, convolved = image_rows(Place(x, 0), block.c, block.h, n, p_first - conv.pad_top), View(mixed.buffer, mixed.at, pitch)
        convolve_rows(convolved, rows, p_first, count, convolution, lines, t.conv)
        if conv.c < block.c:
            for i in range(pixels):
                copy(mixed.buffer, mixed.at + i * pitch + conv.c, x, (at + i) * block.c + conv.c, block.c - conv.c)
        if block.norm > 0:
            normalise(convolved, convolved, pixels, block.c, block.eps, None, None)
        next_at = (at + pixels + conv.pad_bottom * block.w) * block.c
        next_input = NextInput(next_at, t.lines * block.w * block.c if unit + 1 < part.last else 0)
        to = View(out, at * block.k, block.k)
        feed_forward(to, as_source(convolved), Place(x, at * block.c), (0, pixels), next_input, block, weights, places, t)
