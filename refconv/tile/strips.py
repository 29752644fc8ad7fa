"""One output row of a convolution whose channels sit in the lanes: strips of pixels in registers, the border clipped."""

from refconv.jit import routine
from refconv.problem import out_width
from refconv.tile.instructions import lanes, length, load, slide, store, zero
from refconv.tile.lines import ONE
from refconv.tile.registers import add_row, gather_diagonals


@routine
def clipped_slide(acc, x, row_at, start, step, pixels, c, columns, conv, weight, weight_at, tap_size, taps, stride):
    """slide along row `row_at` of x (in pixels) from column `start` on, `step` columns a pixel, `pixels` of them, channels from c on."""
    inside, end = -(start // step), -((start - conv.w) // step)
    x_at, n_lanes = (row_at + start) * conv.c + c, lanes(weight)
    if inside <= 0 and end >= pixels and columns >= n_lanes:  # constants: no branch is left
        return slide(acc, taps, stride, x, x_at, step * conv.c, n_lanes, 0, 1 << 30, weight, weight_at, tap_size)
    return slide(acc, taps, stride, x, x_at, step * conv.c, columns, inside, end, weight, weight_at, tap_size)


@routine
def depthwise_row(out, out_at, out_pitch, x, image, p, conv, c_first, c_last, weight, weight_at, bias, rows, taps, stride):
    """Output row p of image number `image` of a depthwise convolution, channels c_first to c_last-1.

    out_at is the row's first pixel's channel 0, out_pitch the elements between neighbouring pixels of the output; weight_at is the place of
    channel c_first's weights, packed depthwise.
    """
    n_lanes, width = lanes(weight), out_width(conv)
    step = 1 if taps > 1 else conv.stride_w  # input columns from one pixel of a slide to the next
    pixels = (rows - 1) * stride + taps
    for c in range(c_first, c_last, n_lanes):
        columns = conv.c - c
        for q_next in range(0, width, rows):
            q = min(q_next, width - rows)
            acc = zero(rows, ONE, out)
            for r in range(conv.r):
                y = p * conv.stride_h + r * conv.dilation_h - conv.pad_top
                if 0 <= y < conv.h:
                    row_at, w_at = (image * conv.h + y) * conv.w, weight_at + ((c - c_first) * conv.r + r * n_lanes) * conv.s
                    for s in range(0, conv.s, taps):
                        start = q * conv.stride_w + s * conv.dilation_w - conv.pad_left
                        acc = clipped_slide(acc, x, row_at, start, step, pixels, c, columns, conv, weight, w_at + s * n_lanes, n_lanes, taps, stride)
            if length(bias) > 0:
                acc = add_row(acc, load(ONE, ONE, bias, c, 0, columns))
            store(out, out_at + q * out_pitch + c, out_pitch, acc, columns, q_next - q)


@routine
def grouped_row(out, out_at, out_pitch, x, image, p, conv, v_first, v_last, weight, weight_at, bias, groups, inputs, rows, taps, stride):
    """As depthwise_row for groups of `inputs` channels, `groups` of them a vector: vectors v_first to v_last-1, weights by diagonals."""
    width, tap_size = out_width(conv), inputs * lanes(weight)
    step = 1 if taps > 1 else conv.stride_w
    pixels = (rows - 1) * stride + taps
    for v in range(v_first, v_last):
        c = v * groups * inputs
        columns = min(groups * inputs, conv.c - c)
        for q_next in range(0, width, rows):
            q = min(q_next, width - rows)
            acc = zero(rows, inputs, out)
            for r in range(conv.r):
                y = p * conv.stride_h + r * conv.dilation_h - conv.pad_top
                if 0 <= y < conv.h:
                    row_at, w_at = (image * conv.h + y) * conv.w, weight_at + ((v - v_first) * conv.r + r) * conv.s * tap_size
                    for s in range(0, conv.s, taps):
                        start = q * conv.stride_w + s * conv.dilation_w - conv.pad_left
                        s_at = w_at + s * tap_size
                        acc = clipped_slide(acc, x, row_at, start, step, pixels, c, columns, conv, weight, s_at, tap_size, taps, stride)
            result = gather_diagonals(acc, inputs)
            if length(bias) > 0:
                result = add_row(result, load(ONE, ONE, bias, c, 0, columns))
            store(out, out_at + q * out_pitch + c, out_pitch, result, columns, q_next - q)
