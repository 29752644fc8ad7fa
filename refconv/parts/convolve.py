"""Rows of any spatial convolution inside a block, written where the caller wants them; the shape in the tiling tells how.

A DepthwiseStrip or GroupedStrip clips at the border (parts/strips.py); a Tile stages lines with their border (parts/staging.py, dense.py).
"""

from typing import Any, NamedTuple

from numba.extending import overload

from refconv.jit import routine
from refconv.parts.channel_blocks import Channels
from refconv.parts.dense import NO_PREFETCH, DenseRows, Staged, dense_rows, dense_weights
from refconv.parts.epilogue import Epilogue, from_channel, inside_block
from refconv.parts.staging import Rows, rows_below, stage_lines, staged_count
from refconv.parts.strips import depthwise_row, grouped_row
from refconv.parts.workspace import widened
from refconv.problem.conv import out_width
from refconv.routine_code import INLINED
from refconv.tile.instructions import lanes
from refconv.tile.operands import Place, moved, shifted
from refconv.weights.packed import ceil_div


class Convolution(NamedTuple):
    """A convolution inside a block: its Conv2d, the Place of its packed weights, its Epilogue."""

    conv: Any
    weights: Place
    epilogue: Epilogue


@routine
def own_convolution(conv, activation, block, operands, wide):
    """The Convolution of a block from its kernel's operands; weights that are halves are widened at the Place `wide`."""
    near = widened(Place(operands.conv, 0), block.conv_size, wide)
    return Convolution(conv, near, inside_block(Place(operands.conv_bias, 0), activation))


def staged_elements(conv, count, shape):
    """Elements of the lines that convolve_rows stages for `count` output rows: none for strips."""
    if shape.kind != "dense":
        return 0
    lines = staged_count(count, conv.stride_h, conv.r, conv.dilation_h)
    return lines * staged_count(conv.q, conv.stride_w, conv.s, conv.dilation_w) * conv.c_group


def convolve_rows(to, rows, p_first, count, convolution, lines, shape):
    """Output rows p_first to p_first + count - 1: activation(conv(x) + bias), written to the View `to`.

    rows: the Rows of the input, from the one under kernel row 0 of output row p_first on. lines: a Place for staged lines
    (staged_elements of them). shape: a Tile or a strip, by which the weights are packed.
    """
    _KINDS[shape.kind](to, rows, p_first, count, convolution, lines, shape)


NEAR_ELEMENTS = 6144
"""Of the input rows under a window, of the channels that are convolved together down several output rows: 24 KiB of float32 stay in any L1 beside
weights and outputs. All channels of a row together, and then the next row, would bring each input row from the L2 again for every kernel row."""


@routine
def vectors_together(conv, count, size):
    """How many vectors of `size` channels are convolved together down `count` output rows: at least two, since lines are fetched in pairs."""
    every = ceil_div(conv.c, size)
    return every if count == 1 else min(every, max(2, NEAR_ELEMENTS // (conv.r * conv.w * size)))


def _depthwise(to, rows, p_first, count, convolution, lines, shape):
    conv, weights, epilogue = convolution
    step = vectors_together(conv, count, lanes(weights.buffer)) * lanes(weights.buffer)
    for c in range(0, conv.c, step):
        channels, near = (c, min(c + step, conv.c)), moved(weights, c * conv.r * conv.s)
        for p in range(count):
            row, under = shifted(to, p * out_width(conv) * to.pitch), rows_below(rows, p * conv.stride_h)
            depthwise_row(row, under, p_first + p, conv, channels, (0, out_width(conv)), near, epilogue, shape)


def _grouped(to, rows, p_first, count, convolution, lines, shape):
    conv, weights, epilogue = convolution
    every, size = ceil_div(conv.groups, shape.groups), shape.groups * shape.inputs
    step, window = vectors_together(conv, count, size), conv.r * conv.s * shape.inputs * lanes(weights.buffer)
    for v in range(0, every, step):
        vectors, near = (v, min(v + step, every)), moved(weights, v * window)
        for p in range(count):
            row, under = shifted(to, p * out_width(conv) * to.pitch), rows_below(rows, p * conv.stride_h)
            grouped_row(row, under, p_first + p, conv, vectors, near, epilogue, shape)


def _dense(to, rows, p_first, count, convolution, lines, shape):
    conv, weights, epilogue = convolution
    c_group, k_group = conv.c // conv.groups, conv.k // conv.groups
    staged_rows = staged_count(count, conv.stride_h, conv.r, conv.dilation_h)
    depth, top = conv.r * conv.s * c_group, p_first * conv.stride_h - conv.pad_top
    group_size = ceil_div(k_group, lanes(weights.buffer)) * depth * lanes(weights.buffer)
    for group in range(conv.groups):
        of_group = Rows(rows.buffer, rows.at + group * c_group, rows.pitch, rows.first, rows.held)
        stage_lines(lines, of_group, conv, c_group, top, staged_rows)
        staged, k_first = Staged(lines.buffer, lines.at, conv, c_group), group * k_group
        those = DenseRows(shifted(to, k_first), staged, count, from_channel(epilogue, k_first), NO_PREFETCH)
        of_group_weights = dense_weights(weights.buffer, weights.at + group * group_size, depth)
        dense_rows(those, Channels(0, k_group, k_group), of_group_weights, None, shape)


_KINDS = {"depthwise": _depthwise, "grouped": _grouped, "dense": _dense}


@overload(convolve_rows, jit_options=INLINED)
def _convolve_rows(to, rows, p_first, count, convolution, lines, shape):
    return _KINDS[shape.record.kind]
