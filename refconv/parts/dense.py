"""The inner part of a dense convolution: staged lines (parts/staging.py) times a block of vectors of output channels."""

from typing import Any, NamedTuple

from refconv.jit import routine
from refconv.parts.channel_blocks import channel_blocks
from refconv.parts.epilogue import Epilogue, from_channel, store_sums
from refconv.parts.operands import L2
from refconv.parts.staging import staged_count, staged_step, taps_inside
from refconv.problem.conv import out_width
from refconv.static import Static
from refconv.tile.instructions import lanes, outer_sum, zero
from refconv.tile.operands import Ahead, View, Weights, shifted

NO_PREFETCH = Static(0)


class Staged(NamedTuple):
    """Lines of the input of `conv`, staged from `at` on with `channels` channels a pixel."""

    buffer: Any
    at: int
    conv: Any
    channels: int


@routine
def window(acc, staged, at, line, pixel_step, weights, taps, ahead_at, ahead):
    """acc[q] + sum_(r, s, c) line r * dilation_h, pixel q + s * dilation_w, channel c of the staged lines * weight[r, s, c].

    `at` is the first pixel's first element, lines are `line` elements apart, successive q `pixel_step`. Weights run on in the order r, s, c,
    a vector each. taps: (first, last + 1) of the kernel columns where they are dilated; else all are taken, as one run. With every step
    `ahead` more elements of the weights from `ahead_at` on are prefetched into the L2 (NO_PREFETCH: none).
    """
    conv, channels, n = staged.conv, staged.channels, lanes(weights.buffer)
    dense = conv.dilation_w == 1
    (s_first, s_last), run = (0, 1) if dense else taps, conv.s * channels if dense else channels
    for r in range(conv.r):
        for s in range(s_first, s_last):
            tap_at = at + r * conv.dilation_h * line + s * conv.dilation_w * channels
            here = Weights(weights.buffer, weights.at + (r * conv.s + s) * channels * n, weights.stride)
            acc = outer_sum(acc, View(staged.buffer, tap_at, pixel_step), here, run, Ahead(weights.buffer, ahead_at, ahead, L2))
            ahead_at += run * ahead
    return acc


class DenseRows(NamedTuple):
    """`count` output rows to make of the lines staged for them, written to the View `to`.

    to, epilogue: from output channel 0 (of the group) on. ahead: elements of the next block's weights prefetched with every step, or NO_PREFETCH.
    """

    to: View
    staged: Staged
    count: int
    epilogue: Epilogue
    ahead: Any


@routine
def _dense_block(rows, k, columns, weights, tile):
    """Output channels k on, of which `columns` exist.

    The last tile of a row is moved back to overlap its neighbour; what the neighbour has stored is not stored again. A row of fewer pixels than
    a tile is made a pixel at a time, as in parts/matrix.py.
    """
    to, staged, epilogue, ahead = shifted(rows.to, k), rows.staged, from_channel(rows.epilogue, k), rows.ahead
    conv, channels = staged.conv, staged.channels
    width, depth = out_width(conv), conv.r * conv.s * channels
    line = staged_count(width, conv.stride_w, conv.s, conv.dilation_w) * channels
    step_h = staged_step(conv.stride_h, conv.r, conv.dilation_h) * line
    step_w = staged_step(conv.stride_w, conv.s, conv.dilation_w) * channels
    ahead_at = weights.at + tile.vectors * weights.stride
    few = width < tile.rows
    step, pixel_step = (1, 0) if few else (tile.rows + 0, step_w)
    for p in range(rows.count):
        for q_next in range(0, width, step):
            q = min(q_next, width - step)
            skipped = tile.rows - 1 if few else q_next - q
            acc = zero(tile.rows, tile.vectors, to.buffer)
            left = q * conv.stride_w - conv.pad_left
            taps = 0, 0
            if conv.dilation_w > 1:  # two divisions
                taps = taps_inside(left, (step - 1) * conv.stride_w, conv.w, conv.s, conv.dilation_w)
            acc = window(acc, staged, staged.at + p * step_h + q * step_w, line, pixel_step, weights, taps, ahead_at, ahead)
            ahead_at += ahead * depth
            store_sums(shifted(to, (p * width + q_next - skipped) * to.pitch), acc, columns, skipped, epilogue, tile.vectors)


@routine
def dense_rows(rows, channels, weights, wide, tile):
    """The DenseRows in the Channels; weights, wide, tile: as of channel_blocks."""
    channel_blocks(_dense_block, rows, channels, weights, wide, tile)


@routine
def dense_weights(weight, at, depth):
    """The Weights packed dense from `at` on, `depth` products a sum."""
    return Weights(weight, at, depth * lanes(weight))
