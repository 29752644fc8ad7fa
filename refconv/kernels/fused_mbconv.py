"""FusedMBConv in one kernel: a dense convolution expands, its activation, project, and the input added where the shape is kept.

    out[n, p, q] = x[n, p, q] + b2 + activation(conv(x)[n, p, q] + b1) @ V

The convolution comes first, so that its halo enlarges only what is read of the input: nothing is computed twice. Source of the block:
Lavin, "On the Efficiency of Convolutional Neural Networks", Fig. 6 (a); the loops are derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        stage the input rows of the block, border included, into `lines`
        h  chunks of t.hidden hidden channels: convolved into `hidden`, then projected and added up in `sums`
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.channel_blocks import Channels
from refconv.parts.dense import NO_PREFETCH, DenseRows, Staged, dense_rows, dense_weights
from refconv.parts.feed_forward import Projection, odd_pitch, project_chunk, residual_start
from refconv.parts.operands import Span
from refconv.parts.staging import image_rows, stage_lines, staged_count
from refconv.parts.workspace import own_part
from refconv.problem.activations import IDENTITY
from refconv.problem.conv import out_height, out_width
from refconv.problem.fused import hidden_conv
from refconv.tile import lanes
from refconv.tile.operands import Place, View
from refconv.weights.packed import ceil_div


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


class Operands(NamedTuple):
    """The input, the weights packed dense, the biases (of length 0: none)."""

    x: Any
    conv: Any
    project: Any
    conv_bias: Any
    project_bias: Any


class Work(NamedTuple):
    """Staged input lines; a chunk of hidden channels; sums of chunks; a block of weights widened from halves."""

    lines: Any
    hidden: Any
    sums: Any
    wide_weights: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    conv, rows = hidden_conv(block), min(t.lines, block.p)
    staged = staged_count(rows, conv.stride_h, conv.r, 1) * staged_count(conv.q, conv.stride_w, conv.s, 1) * conv.c
    widest = max(t.conv.vectors * conv.r * conv.s * conv.c, t.project.vectors * block.hidden) * lanes
    return Work(
        staged,
        rows * conv.q * odd_pitch(min(t.hidden, block.hidden), lanes),
        rows * conv.q * block.k if half or t.hidden < block.hidden else 0,
        widest if half else 0,
    )


@kernel
def fused_mbconv(operands, out, work, block, t, part):
    """Compute the units of the Part. x and out NHWC; all flat."""
    x, conv, n_lanes = operands.x, hidden_conv(block), lanes(operands.project)
    lines, hidden = own_part(work.lines, part), own_part(work.hidden, part)
    sums, wide = own_part(work.sums, part), own_part(work.wide_weights, part)
    height, width, pitch = out_height(conv), out_width(conv), odd_pitch(min(t.hidden, block.hidden), n_lanes)
    blocks, weights = ceil_div(height, t.lines), dense_weights(operands.conv, 0, conv.r * conv.s * conv.c)
    projection = Projection(Place(operands.project, 0), Place(operands.project_bias, 0), block.hidden, block.k, sums, wide, IDENTITY)
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        p_first = row * t.lines
        count = min(t.lines, height - p_first)
        at, pixels, top = (n * height + p_first) * width, count * width, p_first * conv.stride_h - conv.pad_top
        staged_rows = staged_count(count, conv.stride_h, conv.r, 1)
        stage_lines(lines, image_rows(Place(x, 0), conv.c, conv.h, n, top), conv, conv.c, top, staged_rows)
        start = residual_start(Place(x, at * block.c), block.residual, Span(0, pixels, block.k), sums)
        staged = Staged(lines.buffer, lines.at, conv, conv.c)
        for h in range(0, block.hidden, t.hidden):
            h_last = min(h + t.hidden, block.hidden)
            chunk = View(hidden.buffer, hidden.at - h, pitch)
            rows = DenseRows(chunk, staged, count, Place(operands.conv_bias, 0), block.activation, NO_PREFETCH)
            dense_rows(rows, Channels(h, h_last, block.hidden), weights, wide, t.conv)
            to, made = View(out, at * block.k, block.k), View(hidden.buffer, hidden.at, pitch)
            project_chunk(to, (0, pixels), (h, h_last), projection, made, start, t.project)
