"""FusedMBConv in one kernel: a dense convolution expands, its activation, project, and the input added where the shape is kept.

    out[n, p, q] = x[n, p, q] + b2 + activation(conv(x)[n, p, q] + b1) @ V

With squeeze-excitation the hidden channels are multiplied by gate[n], as in the kernel mbconv. The convolution comes first, so that its halo
enlarges only what is read of the input: nothing is computed twice. Source of the block: Lavin, "On the Efficiency of Convolutional Neural
Networks", Fig. 6 (a); the loops are derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        stage the input rows of the block, border included, into `lines`
        h  chunks of t.hidden hidden channels: convolved into `hidden`, then projected and added up in `sums`, or, where only gates are wanted,
           their pixels added up in `pooled` for squeeze-excitation (parts/ending.py)
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.channel_blocks import Channels
from refconv.parts.dense import NO_PREFETCH, DenseRows, Staged, dense_rows, dense_weights
from refconv.parts.ending import begin_ending, end_rows, hidden_rows, image_projection
from refconv.parts.epilogue import inside_block
from refconv.parts.feed_forward import odd_pitch
from refconv.parts.gates import projection_size
from refconv.parts.staging import image_rows, stage_lines, staged_count
from refconv.parts.workspace import own_part
from refconv.problem.conv import out_height, out_width
from refconv.problem.fused import hidden_conv
from refconv.tile import lanes
from refconv.tile.operands import Place, View, shifted
from refconv.weights.packed import ceil_div


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


class Operands(NamedTuple):
    """The input, the weights packed dense, the biases (of length 0: none), the gates of a pass that projects (of length 0: none)."""

    x: Any
    conv: Any
    project: Any
    conv_bias: Any
    project_bias: Any
    gates: Any


class Work(NamedTuple):
    """Staged input lines; a chunk of hidden channels; sums of chunks; this thread's sums for the gates; the projection's weights, widened or with
    the gates of an image in them; a block of the convolution's weights, widened from halves."""

    lines: Any
    hidden: Any
    sums: Any
    pooled: Any
    projection: Any
    wide_weights: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    conv, rows = hidden_conv(block), min(t.lines, block.p)
    staged = staged_count(rows, conv.stride_h, conv.r, 1) * staged_count(conv.q, conv.stride_w, conv.s, 1) * conv.c
    return Work(
        staged,
        rows * conv.q * odd_pitch(min(t.hidden, block.hidden), lanes),
        rows * conv.q * block.k if half or t.hidden < block.hidden else 0,
        block.n * odd_pitch(block.hidden, lanes) if block.gated else 0,
        projection_size(block, lanes, half),
        t.conv.vectors * conv.r * conv.s * conv.c * lanes if half else 0,
    )


def recomputed_macs(block, t, squeeze="recompute"):
    """Multiply-adds beyond those of the layers: with squeeze-excitation the first pass, unless it spills the hidden layer."""
    return hidden_conv(block).macs if block.gated and squeeze == "recompute" else 0


@kernel
def fused_mbconv(operands, out, work, block, t, part):
    """Compute the units of the Part. x and out NHWC; all flat. Of block.result as mbconv."""
    x, conv, n_lanes = operands.x, hidden_conv(block), lanes(operands.project)
    lines, hidden, wide = own_part(work.lines, part), own_part(work.hidden, part), own_part(work.wide_weights, part)
    height, width, pitch = out_height(conv), out_width(conv), odd_pitch(min(t.hidden, block.hidden), n_lanes)
    blocks, weights = ceil_div(height, t.lines), dense_weights(operands.conv, 0, conv.r * conv.s * conv.c)
    ending = begin_ending(operands, work, block, part)
    matrix, image_before = ending.plain, -1
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        if n != image_before:
            matrix, image_before = image_projection(ending, block, n), n
        p_first = row * t.lines
        count = min(t.lines, height - p_first)
        at, pixels, top = (n * height + p_first) * width, count * width, p_first * conv.stride_h - conv.pad_top
        staged_rows = staged_count(count, conv.stride_h, conv.r, 1)
        stage_lines(lines, image_rows(Place(x, 0), conv.c, conv.h, n, top), conv, conv.c, top, staged_rows)
        staged = Staged(lines.buffer, lines.at, conv, conv.c)
        for h in range(0, block.hidden, t.hidden):
            h_last = min(h + t.hidden, block.hidden)
            made = hidden_rows(out, at, h, View(hidden.buffer, hidden.at, pitch), block)
            rows = DenseRows(shifted(made, -h), staged, count, inside_block(Place(operands.conv_bias, 0), block.activation), NO_PREFETCH)
            dense_rows(rows, Channels(h, h_last, block.hidden), weights, wide, t.conv)
            end_rows(out, at, made, (h, h_last), pixels, n, matrix, ending, block, t.project)
