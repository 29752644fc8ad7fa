"""One output row of a convolution whose channels sit in the lanes: strips of pixels in registers, the border clipped.

The input's rows may lie in a ring (parts/staging.py, `Rows`), so that a block can make them as it goes down the map.
"""

from refconv.jit import routine
from refconv.parts.operands import ONE, with_bias
from refconv.parts.staging import row_view
from refconv.problem.conv import out_width
from refconv.tile.activations import activate
from refconv.tile.instructions import lanes, slide, store, zero
from refconv.tile.operands import View, Weights, moved
from refconv.tile.registers import gather_diagonals


@routine
def clipped_slide(acc, row, start, step, pixels, columns, width, taps, strip):
    """slide along the `row` of `width` pixels, a View, from column `start` on, `step` columns a pixel, `pixels` of them; taps: Weights."""
    inside, end = -(start // step), -((start - width) // step)
    n_lanes, under = lanes(taps.buffer), View(row.buffer, row.at + start * row.pitch, step * row.pitch)
    if columns >= n_lanes:
        if inside <= 0 and end >= pixels:
            return slide(acc, strip, under, None, None, None, taps)
        return slide(acc, strip, under, None, inside, end, taps)
    return slide(acc, strip, under, columns, inside, end, taps)


@routine
def slide_rows(acc, rows, p, q, conv, c, columns, taps, strip):
    """acc + the window of the strip that begins with output pixel (p, q), channels c on, of which `columns` exist.

    rows: the Rows of the input under output row p; taps: the Weights of the strip's channels, a tap `taps.stride` elements after the last.
    """
    step = 1 if strip.taps > 1 else conv.stride_w  # input columns from one pixel of a slide to the next
    pixels, top = (strip.rows - 1) * strip.stride + strip.taps, p * conv.stride_h - conv.pad_top
    for r in range(conv.r):
        if 0 <= top + r * conv.dilation_h < conv.h:
            whole = row_view(rows, r * conv.dilation_h, conv.w)
            row = View(whole.buffer, whole.at + c, whole.pitch)
            w_at = taps.at + r * conv.s * taps.stride
            for s in range(0, conv.s, strip.taps):
                start = q * conv.stride_w + s * conv.dilation_w - conv.pad_left
                here = Weights(taps.buffer, w_at + s * taps.stride, taps.stride)
                acc = clipped_slide(acc, row, start, step, pixels, columns, conv.w, here, strip)
    return acc


@routine
def depthwise_row(to, rows, p, conv, channels, weights, bias, activation, strip):
    """Output row p of a depthwise convolution: activation(sum + bias) of channels first <= c < last, channels = (first, last).

    to: the View of the row's pixels from channel 0 on; rows: the Rows of the input beneath it; weights: the Place of channel `first`'s,
    packed depthwise; bias: the Place of channel 0's.
    """
    n_lanes, width, (c_first, c_last) = lanes(weights.buffer), out_width(conv), channels
    for c in range(c_first, c_last, n_lanes):
        columns, taps = conv.c - c, Weights(weights.buffer, weights.at + (c - c_first) * conv.r * conv.s, n_lanes)
        for q_next in range(0, width, strip.rows):
            q = min(q_next, width - strip.rows)
            acc = slide_rows(zero(strip.rows, ONE, to.buffer), rows, p, q, conv, c, columns, taps, strip)
            acc = activate(with_bias(acc, moved(bias, c), columns, ONE), activation)
            store(to.buffer, to.at + q * to.pitch + c, to.pitch, acc, columns, q_next - q)


@routine
def grouped_row(to, rows, p, conv, vectors, weights, bias, activation, strip):
    """As depthwise_row for groups of strip.inputs channels, strip.groups of them a vector: vectors = (first, last); weights by diagonals."""
    width, tap_size, (v_first, v_last) = out_width(conv), strip.inputs * lanes(weights.buffer), vectors
    for v in range(v_first, v_last):
        c = v * strip.groups * strip.inputs
        columns = min(strip.groups * strip.inputs, conv.c - c)
        taps = Weights(weights.buffer, weights.at + (v - v_first) * conv.r * conv.s * tap_size, tap_size)
        for q_next in range(0, width, strip.rows):
            q = min(q_next, width - strip.rows)
            acc = slide_rows(zero(strip.rows, strip.inputs, to.buffer), rows, p, q, conv, c, columns, taps, strip)
            acc = activate(with_bias(gather_diagonals(acc, strip.inputs), moved(bias, c), columns, ONE), activation)
            store(to.buffer, to.at + q * to.pitch + c, to.pitch, acc, columns, q_next - q)
