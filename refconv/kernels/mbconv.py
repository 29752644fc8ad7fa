"""MBConv in one kernel: expand, a depthwise or grouped convolution, project; the hidden rows live in a ring.

    e = activation(x @ U + b1);  m[n, p, q] = activation(conv(e)[n, p, q] + b);  out = x + b2 + m @ V

With squeeze-excitation m is multiplied by gate[n]; here V is multiplied instead, row by row: the same for less work. The convolution is in the
middle, so its halo is of hidden rows. Rows of e stay in `ring` as long as a window needs them: within a unit
nothing is computed twice; where two units meet, the rows that the windows of both need are. A unit of all rows of a thread is the mode
halo="cache"; units of t.step rows compute every halo again, halo="recompute". Source of the block: Lavin, "On the Efficiency of
Convolutional Neural Networks"; both modes and the loops are derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        p  steps of t.step output rows
            the input rows that are new under them, expanded into `ring`
            the rows convolved into `hidden`
            projected to the output, or, where only gates are wanted, added up in `pooled` for squeeze-excitation
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.channel_blocks import Channels, channel_blocks
from refconv.parts.convolve import convolve_rows, own_convolution, staged_elements
from refconv.parts.dense import dense_weights
from refconv.parts.ending import begin_ending, end_rows, hidden_rows, image_projection
from refconv.parts.epilogue import inside_block
from refconv.parts.feed_forward import odd_pitch, prefetch_step
from refconv.parts.gates import projection_size
from refconv.parts.matrix import matrix_block
from refconv.parts.operands import WHOLE, Prefetch, Source, Span
from refconv.parts.staging import Rows, row_view
from refconv.parts.workspace import in_work_type, own_part
from refconv.problem.conv import out_height, out_width
from refconv.problem.fused import middle_conv
from refconv.tile import lanes
from refconv.tile.operands import Place, View, moved, shifted
from refconv.weights.packed import ceil_div


@routine
def ring_rows(block, t):
    """Rows of hidden pixels under t.step output rows."""
    return (t.step - 1) * block.stride_h + block.r


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


class Operands(NamedTuple):
    """The input, the packed weights, the biases (of length 0: none), the gates of a pass that projects (of length 0: none)."""

    x: Any
    expand: Any
    conv: Any
    project: Any
    expand_bias: Any
    conv_bias: Any
    project_bias: Any
    gates: Any


class Work(NamedTuple):
    """Hidden rows in a ring; convolved rows; sums begun with the residual, widened from halves; this thread's sums for the gates.

    projection: the projection's weights with the gates of an image in them; lines: staged lines; and what is widened from halves.
    """

    ring: Any
    hidden: Any
    sums: Any
    pooled: Any
    projection: Any
    lines: Any
    wide_pixels: Any
    wide_weights: Any
    wide_conv: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    conv, held, pitch = middle_conv(block), ring_rows(block, t), odd_pitch(block.hidden, lanes)
    return Work(
        held * block.w * pitch,
        t.step * conv.q * pitch,
        t.step * conv.q * block.k if half else 0,
        block.n * pitch if block.gated else 0,
        projection_size(block, lanes, half),
        staged_elements(conv, t.step, t.conv),
        held * block.w * block.c if half else 0,
        t.expand.vectors * block.c * lanes if half else 0,
        block.conv_size if half else 0,
    )


def recomputed_macs(block, t, squeeze="recompute"):
    """Multiply-adds beyond those of the layers: hidden rows that several units make and, unless the hidden layer is spilled, the whole first pass."""
    conv, rows, passes = middle_conv(block), 0, 2 if block.gated and squeeze == "recompute" else 1
    for first in range(0, block.p, t.lines):
        last = min(first + t.lines, block.p)
        made = first * conv.stride_h - conv.pad_top
        for p in range(first, last, t.step):
            top, end = p * conv.stride_h - conv.pad_top, (min(p + t.step, last) - 1) * conv.stride_h - conv.pad_top + block.r
            rows += max(0, min(end, block.h) - max(made, top, 0))
            made = end
    row_macs = block.n * block.w * block.c * block.hidden
    return max(0, passes * rows - block.h) * row_macs + (passes - 1) * conv.macs


class _NewRows(NamedTuple):
    ring: Rows
    ring_first: int
    x: Place
    first: int
    last: int
    wide_pixels: Place
    bias: Place
    block: Any


@routine
def _expand_channels(rows, k, columns, weights, tile):
    block, ring, y = rows.block, rows.ring, rows.first
    while y < rows.last:  # twice at most: rows lie one after another in the ring up to its end
        count = min(rows.last - y, ring.held - (ring.first + y - rows.ring_first) % ring.held)
        raw = moved(rows.x, y * block.w * block.c)
        pixels = in_work_type(raw, moved(rows.wide_pixels, (y - rows.first) * block.w * block.c))
        source, span = Source(View(pixels.buffer, pixels.at, block.c), raw, k == 0), Span(0, count * block.w, block.c)
        to, block_size = shifted(row_view(ring, y - rows.ring_first, block.w), k), tile.vectors * weights.stride
        ahead = prefetch_step(block_size, span.last, tile.rows, block.c)
        stretch = Prefetch(weights.buffer, weights.at + block_size, ahead, WHOLE, 0)
        matrix_block(to, columns, source, span, weights, inside_block(moved(rows.bias, k), block.activation), None, stretch, tile)
        y += count


@kernel
def mbconv(operands, out, work, block, t, part):
    """Compute the units of the Part. x and out NHWC; all flat.

    Where block.result is not PROJECTED, nothing is projected: this thread's part of `pooled` holds the sums over its pixels of every image's
    hidden channels, and with SPILLED out is the hidden layer itself.
    """
    x, conv, n_lanes = operands.x, middle_conv(block), lanes(operands.expand)
    ring, hidden, lines = own_part(work.ring, part), own_part(work.hidden, part), own_part(work.lines, part)
    wide_pixels, wide_weights = own_part(work.wide_pixels, part), own_part(work.wide_weights, part)
    convolution = own_convolution(conv, block.activation, block, operands, own_part(work.wide_conv, part))
    height, width, pitch, held = out_height(conv), out_width(conv), odd_pitch(block.hidden, n_lanes), ring_rows(block, t)
    blocks, ending = ceil_div(height, t.lines), begin_ending(operands, work, block, part)
    matrix, image_before = ending.plain, -1
    expand, every = dense_weights(operands.expand, 0, block.c), Channels(0, block.hidden, block.hidden)
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        if n != image_before:
            matrix, image_before = image_projection(ending, block, n), n
        base = row * t.lines * conv.stride_h - conv.pad_top  # the row that lies in slot 0
        made = base
        for p in range(row * t.lines, min((row + 1) * t.lines, height), t.step):
            count = min(t.step, min((row + 1) * t.lines, height) - p)
            top = p * conv.stride_h - conv.pad_top
            end = top + (count - 1) * conv.stride_h + block.r
            new = max(made, max(top, 0))
            made = end
            rows, image = Rows(ring.buffer, ring.at, pitch, (top - base) % held, held), Place(x, n * block.h * block.w * block.c)
            fresh = _NewRows(rows, top, image, new, min(end, block.h), wide_pixels, Place(operands.expand_bias, 0), block)
            channel_blocks(_expand_channels, fresh, every, expand, wide_weights, t.expand)
            at = (n * height + p) * width
            convolved = hidden_rows(out, at, 0, View(hidden.buffer, hidden.at, pitch), block)
            convolve_rows(convolved, rows, p, count, convolution, lines, t.conv)
            end_rows(out, at, convolved, (0, block.hidden), count * width, n, matrix, ending, block, t.project)
