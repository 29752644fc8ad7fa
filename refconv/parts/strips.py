"""One output row of a convolution whose channels sit in the lanes: strips of pixels in registers, the border clipped.

The input's rows may lie in a ring (parts/staging.py, `Rows`), so that a block can make them as it goes down the map.
"""

from refconv.jit import routine
from refconv.parts.staging import ONE, row_place
from refconv.problem.conv import out_width
from refconv.tile.activations import activate
from refconv.tile.instructions import lanes, length, load, slide, store, zero
from refconv.tile.registers import add_row, gather_diagonals


@routine
def clipped_slide(acc, x, row_at, pitch, start, step, pixels, columns, width, weight, weight_at, tap_size, taps, stride):
    """slide along the row of `width` pixels at row_at from column `start` on, `step` columns a pixel, `pixels` of them."""
    inside, end = -(start // step), -((start - width) // step)
    x_at, n_lanes = row_at + start * pitch, lanes(weight)
    if inside <= 0 and end >= pixels and columns >= n_lanes:  # constants: no branch is left
        return slide(acc, taps, stride, x, x_at, step * pitch, n_lanes, 0, 1 << 30, weight, weight_at, tap_size)
    return slide(acc, taps, stride, x, x_at, step * pitch, columns, inside, end, weight, weight_at, tap_size)


@routine
def finished(acc, bias, c, columns, activation):
    """activation(acc + bias) of channels c on; the bias may be absent."""
    if length(bias) > 0:
        acc = add_row(acc, load(ONE, ONE, bias, c, 0, columns))
    return activate(acc, activation)


@routine
def depthwise_row(
    out, out_at, out_pitch, x, under, p, conv, c_first, c_last, weight, weight_at, bias, activation, rows, taps, stride
):  # fmt: skip
    """Output row p of a depthwise convolution, channels c_first to c_last-1; under: the Rows of x beneath it.

    out_at is the row's first pixel's channel 0, out_pitch the elements between neighbouring pixels of the output; weight_at is the place of
    channel c_first's weights, packed depthwise. The result goes through `finished`.
    """
    n_lanes, width = lanes(weight), out_width(conv)
    step = 1 if taps > 1 else conv.stride_w  # input columns from one pixel of a slide to the next
    pixels, top = (rows - 1) * stride + taps, p * conv.stride_h - conv.pad_top
    for c in range(c_first, c_last, n_lanes):
        columns = conv.c - c
        for q_next in range(0, width, rows):
            q = min(q_next, width - rows)
            acc = zero(rows, ONE, out)
            for r in range(conv.r):
                if 0 <= top + r * conv.dilation_h < conv.h:
                    row_at, w_at = row_place(under, r * conv.dilation_h, conv.w) + c, weight_at + ((c - c_first) * conv.r + r * n_lanes) * conv.s
                    for s in range(0, conv.s, taps):
                        start, s_at = q * conv.stride_w + s * conv.dilation_w - conv.pad_left, w_at + s * n_lanes
                        acc = clipped_slide(acc, x, row_at, under.pitch, start, step, pixels, columns, conv.w, weight, s_at, n_lanes, taps, stride)
            acc = finished(acc, bias, c, columns, activation)
            store(out, out_at + q * out_pitch + c, out_pitch, acc, columns, q_next - q)


@routine
def grouped_row(
    out, out_at, out_pitch, x, under, p, conv, v_first, v_last, weight, weight_at, bias, activation, groups, inputs, rows, taps,
    stride
):  # fmt: skip
    """As depthwise_row for groups of `inputs` channels, `groups` of them a vector: vectors v_first to v_last-1, weights by diagonals."""
    width, tap_size = out_width(conv), inputs * lanes(weight)
    step = 1 if taps > 1 else conv.stride_w
    pixels, top = (rows - 1) * stride + taps, p * conv.stride_h - conv.pad_top
    for v in range(v_first, v_last):
        c = v * groups * inputs
        columns = min(groups * inputs, conv.c - c)
        for q_next in range(0, width, rows):
            q = min(q_next, width - rows)
            acc = zero(rows, inputs, out)
            for r in range(conv.r):
                if 0 <= top + r * conv.dilation_h < conv.h:
                    row_at, w_at = row_place(under, r * conv.dilation_h, conv.w) + c, weight_at + ((v - v_first) * conv.r + r) * conv.s * tap_size
                    for s in range(0, conv.s, taps):
                        start, s_at = q * conv.stride_w + s * conv.dilation_w - conv.pad_left, w_at + s * tap_size
                        acc = clipped_slide(acc, x, row_at, under.pitch, start, step, pixels, columns, conv.w, weight, s_at, tap_size, taps, stride)
            result = finished(gather_diagonals(acc, inputs), bias, c, columns, activation)
            store(out, out_at + q * out_pitch + c, out_pitch, result, columns, q_next - q)
