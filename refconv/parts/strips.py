"""One output row of a convolution whose channels sit in the lanes: strips of pixels in registers, the border clipped.

The input's rows may lie in a ring (parts/staging.py, `Rows`), so that a block can make them as it goes down the map.
"""

from typing import Any, NamedTuple

from refconv.jit import routine
from refconv.parts.operands import ONE, with_bias
from refconv.parts.staging import row_view
from refconv.problem.conv import out_width
from refconv.tile.activations import activate
from refconv.tile.instructions import lanes, slide, store, zero
from refconv.tile.operands import Below, View, Weights, moved
from refconv.tile.registers import gather_diagonals


class Under(NamedTuple):
    """The rows of the input that the window of an output row meets: kernel rows first <= r < last, those before `turn` at `at` + (r - first) * `step`,
    the others, which lie behind the end of a ring, at `again` + (r - turn) * `step`."""

    buffer: Any
    pitch: int
    step: int
    first: int
    turn: int
    last: int
    at: int
    again: int


@routine
def rows_under(rows, p, conv):
    """The Under of output row p; rows: the Rows of the input from that under kernel row 0 on."""
    top, last = p * conv.stride_h - conv.pad_top, conv.r
    first = 0
    while first < last and top + first * conv.dilation_h < 0:
        first += 1
    while last > first and top + (last - 1) * conv.dilation_h >= conv.h:
        last -= 1
    turn = first
    while turn < last and rows.first + turn * conv.dilation_h < rows.held:
        turn += 1
    at, again = row_view(rows, first * conv.dilation_h, conv.w).at, row_view(rows, turn * conv.dilation_h, conv.w).at
    return Under(rows.buffer, rows.pitch, conv.dilation_h * conv.w * rows.pitch, first, turn, last, at, again)


@routine
def clipped_slide(acc, row, start, step, pixels, columns, width, taps, strip, below):
    """slide along the `row` of `width` pixels, a View, from column `start` on, `step` columns a pixel, `pixels` of them; taps: Weights."""
    inside, end = -(start // step), -((start - width) // step)
    n_lanes, under = lanes(taps.buffer), View(row.buffer, row.at + start * row.pitch, step * row.pitch)
    if columns >= n_lanes:
        if inside <= 0 and end >= pixels:
            return slide(acc, strip, under, None, None, None, taps, below)
        if strip.taps == 1 or (inside < strip.taps and end > pixels - strip.taps):
            return slide(acc, strip, under, None, inside, end, taps, below)
    return slide(acc, strip, under, columns, inside, end, taps, below)


@routine
def slide_rows(acc, under, q, conv, c, columns, taps, strip):
    """acc + the window of the strip that begins with output pixel q, channels c on, of which `columns` exist.

    under: the Under of its row; taps: the Weights of the strip's channels, a tap `taps.stride` elements after the last.
    """
    step = 1 if strip.taps > 1 else conv.stride_w  # input columns from one pixel of a slide to the next
    pixels, left, row_size = (strip.rows - 1) * strip.stride + strip.taps, q * conv.stride_w - conv.pad_left, conv.s * taps.stride
    r, at, end = under.first, under.at, under.turn if under.turn > under.first else under.last
    if under.turn == under.first:
        at = under.again
    while r < end:
        row, here = View(under.buffer, at + c, under.pitch), Weights(taps.buffer, taps.at + r * row_size, taps.stride)
        if strip.taps > 1:  # all columns of the window at once: down the rows without a pause
            acc = clipped_slide(acc, row, left, step, pixels, columns, conv.w, here, strip, Below(end - r, under.step, row_size))
            r = end
        else:
            for s in range(conv.s):
                tap = Weights(taps.buffer, here.at + s * taps.stride, taps.stride)
                acc = clipped_slide(acc, row, left + s * conv.dilation_w, step, pixels, columns, conv.w, tap, strip, None)
            r, at = r + 1, at + under.step
        if r == under.turn:
            at, end = under.again, under.last
    return acc


@routine
def depthwise_row(to, rows, p, conv, channels, outputs, weights, bias, activation, strip):
    """Pixels first <= q < last of output row p of a depthwise convolution, outputs = (first, last): activation(sum + bias) of channels
    first <= c < last, channels = (first, last). As many pixels as the strip has rows, or all of the row; the last strip of the row is moved back.

    to: the View of the row's pixels from channel 0 on; rows: the Rows of the input beneath it; weights: the Place of channel `first`'s,
    packed depthwise; bias: the Place of channel 0's.
    """
    n_lanes, width, (c_first, c_last), (q_first, q_last) = lanes(weights.buffer), out_width(conv), channels, outputs
    under = rows_under(rows, p, conv)
    for q_next in range(q_first, q_last, strip.rows):
        q = min(q_next, width - strip.rows)
        for c in range(c_first, c_last, n_lanes):
            columns, taps = conv.c - c, Weights(weights.buffer, weights.at + (c - c_first) * conv.r * conv.s, n_lanes)
            acc = slide_rows(zero(strip.rows, ONE, to.buffer), under, q, conv, c, columns, taps, strip)
            acc = activate(with_bias(acc, moved(bias, c), columns, ONE), activation)
            store(to.buffer, to.at + q * to.pitch + c, to.pitch, acc, columns, q_next - q)


@routine
def grouped_row(to, rows, p, conv, vectors, weights, bias, activation, strip):
    """As depthwise_row for groups of strip.inputs channels, strip.groups of them a vector: vectors = (first, last); weights by diagonals."""
    width, tap_size, (v_first, v_last) = out_width(conv), strip.inputs * lanes(weights.buffer), vectors
    under = rows_under(rows, p, conv)
    for v in range(v_first, v_last):
        c = v * strip.groups * strip.inputs
        columns = min(strip.groups * strip.inputs, conv.c - c)
        taps = Weights(weights.buffer, weights.at + (v - v_first) * conv.r * conv.s * tap_size, tap_size)
        for q_next in range(0, width, strip.rows):
            q = min(q_next, width - strip.rows)
            acc = slide_rows(zero(strip.rows, strip.inputs, to.buffer), under, q, conv, c, columns, taps, strip)
            acc = activate(with_bias(gather_diagonals(acc, strip.inputs), moved(bias, c), columns, ONE), activation)
            store(to.buffer, to.at + q * to.pitch + c, to.pitch, acc, columns, q_next - q)
