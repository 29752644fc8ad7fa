"""The first pass over a block that begins with a convolution and whose hidden channels respond to each other (ConvNeXt-V2): the hidden layer.

    m[n, p, q]      = conv(x)[n, p, q], normalised over its channels
    hidden[n, p, q] = activation(m[n, p, q] @ U + b1)
    pooled[n]      += hidden[n, p, q] ** 2, channel by channel

Global response normalisation needs the norm of every hidden channel over the whole map before anything is projected, as squeeze-excitation needs its
means; the kernel `response` makes gates of these sums, and `gated` projects. Derived here. The hidden layer is written once and read once: making
it a second time would take half of the block's multiply-adds again. Loops, outer to inner:

    unit: image n, block of t.lines rows                 (units run in parallel)
        the rows convolved into `mixed`, and normalised, a pixel at a time
        chunks of t.hidden hidden channels
            expanded into `hidden`, then stored, and their squares added up
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.channel_blocks import Channels, channel_blocks
from refconv.parts.convolve import convolve_rows, own_convolution, staged_elements
from refconv.parts.copy import FOUR, fill
from refconv.parts.dense import dense_weights
from refconv.parts.epilogue import inside_block
from refconv.parts.feed_forward import odd_pitch
from refconv.parts.matrix import matrix_block
from refconv.parts.normalise import normalise
from refconv.parts.operands import ONE, ConvFirstOperands, Source, Span, as_source
from refconv.parts.staging import image_rows
from refconv.parts.workspace import own_part
from refconv.problem.activations import IDENTITY
from refconv.problem.fused import first_conv
from refconv.tile import fused_multiply_add, lanes, load, store
from refconv.tile.operands import Place, View, moved, shifted
from refconv.weights.packed import ceil_div


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.h, t.lines)


Operands = ConvFirstOperands


class Work(NamedTuple):
    """The convolved pixels; staged lines; the convolution's weights widened from halves; a chunk of hidden channels; this thread's sums of squares;
    a block of weights widened from halves."""

    mixed: Any
    lines: Any
    wide_conv: Any
    hidden: Any
    pooled: Any
    wide_weights: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    rows = min(t.lines, block.h)
    return Work(
        rows * block.w * odd_pitch(block.c, lanes),
        staged_elements(first_conv(block), rows, t.conv),
        block.conv_size if half else 0,
        rows * block.w * odd_pitch(min(t.hidden, block.hidden), lanes),
        block.n * odd_pitch(block.hidden, lanes),
        t.expand.vectors * block.source * lanes if half else 0,
    )


class _Chunk(NamedTuple):
    to: View
    first: int
    source: Source
    span: Span
    bias: Place
    activation: Any


@routine
def _expand_channels(chunk, k, columns, weights, tile):
    epilogue = inside_block(moved(chunk.bias, k), chunk.activation)
    matrix_block(shifted(chunk.to, k - chunk.first), columns, chunk.source, chunk.span, weights, epilogue, None, None, tile)


@routine
def _store_and_square(to, sums, hidden, pixels, channels):
    """The pixels of the View `hidden` copied to the View `to`, and sums[c] += the sum of the squares of their channel c; sums: a Place."""
    step = FOUR * lanes(hidden.buffer)
    for c in range(0, channels, step):
        total = load(ONE, FOUR, sums.buffer, sums.at + c, 0, channels - c)
        for i in range(pixels):
            pixel = load(ONE, FOUR, hidden.buffer, hidden.at + i * hidden.pitch + c, 0, channels - c)
            total = fused_multiply_add(total, pixel, pixel)
            store(to.buffer, to.at + i * to.pitch + c, 0, pixel, channels - c, 0)
        store(sums.buffer, sums.at + c, 0, total, channels - c, 0)


@kernel
def conv_first_hidden(operands, out, work, block, t, part):
    """Compute the units of the Part. x NHWC, out the hidden layer (N, H, W, hidden); all flat."""
    x, conv, n_lanes = operands.x, first_conv(block), lanes(operands.expand)
    convolution = own_convolution(conv, IDENTITY, block, operands, own_part(work.wide_conv, part))
    lines, mixed, chunk = own_part(work.lines, part), own_part(work.mixed, part), own_part(work.hidden, part)
    pooled, wide, blocks = own_part(work.pooled, part), own_part(work.wide_weights, part), ceil_div(block.h, t.lines)
    expand, bias, sums_pitch = dense_weights(operands.expand, 0, block.source), Place(operands.expand_bias, 0), odd_pitch(block.hidden, n_lanes)
    convolved = View(mixed.buffer, mixed.at, odd_pitch(block.c, n_lanes))
    hidden = View(chunk.buffer, chunk.at, odd_pitch(min(t.hidden, block.hidden), n_lanes))
    fill(pooled.buffer, pooled.at, block.n * sums_pitch)
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        p_first = row * t.lines
        count = min(t.lines, block.h - p_first)
        at, pixels = (n * block.h + p_first) * block.w, count * block.w
        rows = image_rows(Place(x, 0), block.c, block.h, n, p_first - conv.pad_top)
        convolve_rows(convolved, rows, p_first, count, convolution, lines, t.conv)
        normalise(convolved, convolved, pixels, block.c, block.eps, None, None)
        for h in range(0, block.hidden, t.hidden):
            last = min(h + t.hidden, block.hidden)
            made = _Chunk(hidden, h, as_source(convolved), Span(0, pixels, block.source), bias, block.activation)
            channel_blocks(_expand_channels, made, Channels(h, last, block.hidden), expand, wide, t.expand)
            _store_and_square(View(out, at * block.hidden + h, block.hidden), moved(pooled, n * sums_pitch + h), hidden, pixels, last - h)
