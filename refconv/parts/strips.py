"""One output row of a convolution whose channels sit in the lanes: strips of pixels in registers, the border clipped.

The input's rows may lie in a ring (parts/staging.py, `Rows`), so that a block can make them as it goes down the map.
"""

from typing import Any, NamedTuple

from refconv.jit import routine
from refconv.parts.epilogue import from_channel, store_sums
from refconv.parts.operands import ONE
from refconv.parts.staging import row_view
from refconv.problem.conv import out_width
from refconv.tile.instructions import lanes, slide, zero
from refconv.tile.operands import Below, View, Weights, moved, shifted
from refconv.tile.registers import gather_diagonals


class Under(NamedTuple):
    """The rows of the input that the window of an output row meets, `step` elements apart: `rows` kernel rows from `first` on lie from `at` on, those
    after them to row `last` - 1, if there are any, from `again` on, where a ring begins anew."""

    buffer: Any
    pitch: int
    step: int
    first: int
    rows: int
    last: int
    at: int
    again: int


@routine
def rows_under(rows, p, conv):
    """The Under of output row p; rows: the Rows of the input from that under kernel row 0 on."""
    top, first, last = p * conv.stride_h - conv.pad_top, 0, conv.r
    while first < last and top + first * conv.dilation_h < 0:
        first += 1
    while last > first and top + (last - 1) * conv.dilation_h >= conv.h:
        last -= 1
    turn = first
    while turn < last and rows.first + turn * conv.dilation_h < rows.held:
        turn += 1
    again = row_view(rows, turn * conv.dilation_h, conv.w).at
    at, end = (row_view(rows, first * conv.dilation_h, conv.w).at, turn) if turn > first else (again, last)
    return Under(rows.buffer, rows.pitch, conv.dilation_h * conv.w * rows.pitch, first, end - first, last, at, again)


@routine
def pixels_met(strip):
    """Pixels from the first to the last that a slide meets."""
    return (strip.rows - 1) * strip.stride + strip.taps


@routine
def column_step(strip, conv):
    """Input columns from one pixel of a slide to the next."""
    return 1 if strip.taps > 1 else conv.stride_w


@routine
def near_border(strip, start, step, width):
    """Whether a slide from column `start` of a row of `width` pixels on has no more border than one whose `columns` are None may have."""
    return strip.taps == 1 or (-(start // step) < strip.taps and -((start - width) // step) > pixels_met(strip) - strip.taps)


@routine
def clipped_slide(acc, row, start, step, columns, width, taps, strip, below):
    """slide along the `row` of `width` pixels, a View, from column `start` on, `step` columns a pixel; columns: None where every pixel is a whole
    vector and the strip is `near_border`; taps: Weights; below: a Below or None."""
    inside, end = -(start // step), -((start - width) // step)
    under = View(row.buffer, row.at + start * row.pitch, step * row.pitch)
    if columns is None and inside <= 0 and end >= pixels_met(strip):
        return slide(acc, strip, under, None, None, None, taps, below)
    return slide(acc, strip, under, columns, inside, end, taps, below)


@routine
def slide_rows(acc, under, q, conv, c, columns, taps, strip):
    """acc + the window of the strip that begins with output pixel q, channels c on, of which `columns` exist (None: see clipped_slide).

    under: the Under of its row; taps: the Place of the strip's taps, each as many vectors as a row of acc has.
    """
    left, step, tap_size = q * conv.stride_w - conv.pad_left, column_step(strip, conv), strip.inputs * lanes(taps.buffer)
    r, at, rows = under.first, under.at, under.rows
    while rows > 0:
        row, here = View(under.buffer, at + c, under.pitch), taps.at + r * conv.s * tap_size
        if strip.taps > 1:  # all columns of the window at once: down the rows without a pause
            acc = clipped_slide(acc, row, left, step, columns, conv.w, Weights(taps.buffer, here, None), strip, Below(rows, under.step, None))
        else:
            for i in range(rows):
                for s in range(conv.s):
                    along, tap = shifted(row, i * under.step), Weights(taps.buffer, here + (i * conv.s + s) * tap_size, None)
                    acc = clipped_slide(acc, along, left + s * conv.dilation_w, step, columns, conv.w, tap, strip, None)
        r, at, rows = r + rows, under.again, under.last - r - rows
    return acc


@routine
def whole_vectors(strip, conv, q, channels, size):
    """Where the channels first <= c < last end that a strip from pixel q on takes as whole vectors of `size`: at `first` beside a wide border."""
    (first, last), left = channels, q * conv.stride_w - conv.pad_left
    return last - (last - first) % size if near_border(strip, left, column_step(strip, conv), conv.w) else first


@routine
def depthwise_row(to, rows, p, conv, channels, outputs, weights, epilogue, strip):
    """Pixels first <= q < last of output row p of a depthwise convolution, outputs = (first, last): channels first <= c < last,
    channels = (first, last). Of the row's last strip, which is moved back, those from `first` on.

    to: the View of the row's pixels from channel 0 on; rows: the Rows of the input beneath it; weights: the Place of channel `first`'s,
    packed depthwise; epilogue: from channel 0 on.
    """
    (q_first, q_last), (c_first, c_last) = outputs, channels
    n_lanes, width, window = lanes(weights.buffer), out_width(conv), conv.r * conv.s
    under = rows_under(rows, p, conv)
    for q_next in range(q_first, q_last, strip.rows):
        q = min(q_next, width - strip.rows)
        whole = whole_vectors(strip, conv, q, channels, n_lanes)
        for c in range(c_first, whole, n_lanes):
            acc = slide_rows(zero(strip.rows, ONE, to.buffer), under, q, conv, c, None, moved(weights, (c - c_first) * window), strip)
            store_sums(shifted(to, q * to.pitch + c), acc, n_lanes, q_next - q, from_channel(epilogue, c), ONE)
        for c in range(whole, c_last, n_lanes):
            acc = slide_rows(zero(strip.rows, ONE, to.buffer), under, q, conv, c, conv.c - c, moved(weights, (c - c_first) * window), strip)
            store_sums(shifted(to, q * to.pitch + c), acc, conv.c - c, q_next - q, from_channel(epilogue, c), ONE)


@routine
def grouped_row(to, rows, p, conv, vectors, weights, epilogue, strip):
    """As depthwise_row for the whole row and groups of strip.inputs channels, strip.groups of them a vector: vectors = (first, last); weights by
    diagonals."""
    width, window, (v_first, v_last) = out_width(conv), conv.r * conv.s * strip.inputs * lanes(weights.buffer), vectors
    under, size = rows_under(rows, p, conv), strip.groups * strip.inputs
    for v in range(v_first, v_last):
        c = v * size
        columns, taps = min(size, conv.c - c), moved(weights, (v - v_first) * window)
        for q_next in range(0, width, strip.rows):
            q = min(q_next, width - strip.rows)
            acc = zero(strip.rows, strip.inputs, to.buffer)
            if columns == lanes(weights.buffer) and whole_vectors(strip, conv, q, (0, 1), 1) > 0:
                acc = slide_rows(acc, under, q, conv, c, None, taps, strip)
            else:
                acc = slide_rows(acc, under, q, conv, c, columns, taps, strip)
            acc = gather_diagonals(acc, strip.inputs)
            store_sums(shifted(to, q * to.pitch + c), acc, columns, q_next - q, from_channel(epilogue, c), ONE)
