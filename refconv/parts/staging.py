"""Rows of an image, and lines of it staged with their border.

A *staged* line is a row of the padded input, columns side by side with only the channels a kernel wants, zeros where
the border is. Windows then slide without a branch, and neighbouring taps are contiguous: for dilation 1 one run of S * C elements.
Where the stride exceeds the reach of the kernel, the lines and columns in between are left out.
"""

from typing import Any, NamedTuple

from refconv.jit import routine
from refconv.parts.copy import copy, copy_pixels, fill
from refconv.problem.conv import Conv2d, out_width
from refconv.tile.operands import Place, View


class Rows(NamedTuple):
    """Where rows of an image lie: some row in slot `first` of `held`, the next in the next slot, after the last slot the first again.

    Slot 0 begins at `at`; pixels are `pitch` elements apart.
    """

    buffer: Any
    at: int
    pitch: int
    first: int
    held: int


@routine
def image_rows(x, pitch, height, image, row):
    """The Rows of image number `image` of a whole NHWC tensor, x being the Place of its first channel wanted, from row `row` on.

    That row may lie above the image.
    """
    return Rows(x.buffer, x.at, pitch, image * height + row, 1 << 60)


@routine
def rows_below(rows, count):
    """The Rows `count` further down; a ring holds them all."""
    first = rows.first + count
    return Rows(rows.buffer, rows.at, rows.pitch, first - rows.held if first >= rows.held else first, rows.held)


@routine
def row_view(rows, below, width):
    """The View of the pixels of the row `below` the first, rows being of `width` pixels."""
    slot = rows.first + below
    if slot >= rows.held:
        slot -= rows.held
    return View(rows.buffer, rows.at + slot * width * rows.pitch, rows.pitch)


@routine
def staged_step(stride, kernel, dilation):
    """Distance between successive windows in a staged buffer: the stride, or the kernel's reach where that is less."""
    return min(stride, (kernel - 1) * dilation + 1)


@routine
def staged_count(outputs, stride, kernel, dilation):
    """Lines (or columns) that `outputs` windows need in a staged buffer."""
    return (outputs - 1) * staged_step(stride, kernel, dilation) + (kernel - 1) * dilation + 1


@routine
def staged_gap(outputs, stride, kernel, dilation):
    """Staged lines from those that one kernel row meets to those of the next: the dilation, or the lines of `outputs` rows where they are fewer."""
    return min(dilation, (outputs - 1) * staged_step(stride, kernel, dilation) + 1)


@routine
def staged_lines(outputs, stride, kernel, dilation):
    """Lines that `outputs` rows need where what lies between the kernel rows' own lines is left out: staged_count, but where rows are few for the
    dilation."""
    return (outputs - 1) * staged_step(stride, kernel, dilation) + (kernel - 1) * staged_gap(outputs, stride, kernel, dilation) + 1


@routine
def taps_inside(first, reach, size, kernel, dilation):
    """(first, last + 1) of the taps along an axis that meet an image of `size` elements; at least one.

    The tap 0 of neighbouring outputs meets elements from `first`, which may be in the border, to first + reach.
    """
    begin = min(max(0, -((first + reach) // dilation)), kernel - 1)
    return begin, max(begin + 1, min(kernel, -((first - size) // dilation)))


@routine
def stage_line(line, row, channels, columns, conv):
    """One staged line at the Place `line`: column j holds the `channels` elements of input pixel j // step * stride + j % step - pad.

    step is the staged step along a row; pixels outside the image are zeros.
    """
    stride, step = conv.stride_w, staged_step(conv.stride_w, conv.s, conv.dilation_w)
    j = 0
    while j < columns:
        pixel = j // step * stride + j % step - conv.pad_left
        run = columns - j if step == stride else min(step - j % step, columns - j)
        if pixel < 0:
            run = min(run, -pixel)
            fill(line.buffer, line.at + j * channels, run * channels)
        elif pixel >= conv.w:
            fill(line.buffer, line.at + j * channels, run * channels)
        else:
            run = min(run, conv.w - pixel)
            if row.pitch == channels:
                copy(line.buffer, line.at + j * channels, row.buffer, row.at + pixel * row.pitch, run * channels)
            else:
                copy_pixels(line.buffer, line.at + j * channels, row.buffer, row.at + pixel * row.pitch, row.pitch, channels, run)
        j += run


@routine
def stage_kernel_rows(lines, rows, conv, channels, row, outputs, kernel_rows):
    """As stage_lines for `outputs` output rows fewer than the dilation: the lines of each of the kernel rows (first, last + 1), one after another.

    Returns the Conv2d of those kernel rows, their dilation that of the staged lines.
    """
    span, (first, last) = staged_gap(outputs, conv.stride_h, conv.r, conv.dilation_h), kernel_rows
    line = staged_count(out_width(conv), conv.stride_w, conv.s, conv.dilation_w) * channels
    for r in range(first, last):
        below = r * conv.dilation_h
        stage_lines(Place(lines.buffer, lines.at + (r - first) * span * line), rows_below(rows, below), conv, channels, row + below, span)
    n, c, h, w, k, _, s, stride_h, stride_w, top, left, bottom, right, _, dilation_w, groups = conv
    return Conv2d(n, c, h, w, k, last - first, s, stride_h, stride_w, top, left, bottom, right, span, dilation_w, groups)


@routine
def stage_lines(lines, rows, conv, channels, row, count):
    """Stage `count` lines of one image of `conv` at the Place `lines`, the first being input row `row` (from -pad_top on).

    rows: where the input's lie from row `row` on, the first of the channels wanted.
    """
    columns = staged_count(out_width(conv), conv.stride_w, conv.s, conv.dilation_w)
    step_h = staged_step(conv.stride_h, conv.r, conv.dilation_h)
    for i in range(count):
        below = i // step_h * conv.stride_h + i % step_h
        line = Place(lines.buffer, lines.at + i * columns * channels)
        if 0 <= row + below < conv.h:
            stage_line(line, row_view(rows, below, conv.w), channels, columns, conv)
        else:
            fill(line.buffer, line.at, columns * channels)
