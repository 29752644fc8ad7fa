"""Pieces of kernels made of instructions: copy, and lines of the input staged with their border.

A *staged* line is a row of the padded input, columns side by side with only the channels a kernel wants, zeros where
the border is. Windows then slide without a branch, and neighbouring taps are contiguous: for dilation 1 one run of S * C elements.
Where the stride exceeds the reach of the kernel, the lines and columns in between are left out.
"""

from typing import NamedTuple

from numba.extending import overload

from refconv.jit import routine
from refconv.static import Static
from refconv.tile.instructions import lanes, length, load, store, zero

ZERO, ONE, FOUR = Static(0), Static(1), Static(4)
L1 = Static(1)


@routine
def copy(out, out_at, x, x_at, elements):
    """out[out_at + i] = x[x_at + i] for i < elements: four whole vectors at a time, without a branch, then what is left."""
    n = lanes(x)
    whole = elements - elements % (4 * n)
    for i in range(0, whole, 4 * n):
        store(out, out_at + i, 0, load(ONE, FOUR, x, x_at + i, 0, 4 * n), 4 * n, 0)
    for i in range(whole, elements, n):
        store(out, out_at + i, 0, load(ONE, ONE, x, x_at + i, 0, elements - i), elements - i, 0)


@routine
def fill(out, out_at, elements):
    """out[out_at + i] = 0 for i < elements."""
    n = lanes(out)
    for i in range(0, elements, n):
        store(out, out_at + i, 0, zero(ONE, ONE, out), elements - i, 0)


@routine
def share(buffer, slot, slots):
    """Where in a workspace buffer the part of thread `slot` of `slots` begins."""
    return length(buffer) // slots * slot


def wide(buffer, at, work, work_at):
    """(buffer, at) where the elements are of the workspace's type, else (work, work_at), which `widen` fills with a copy.

    For halves that are read again and again: one conversion an element in the place of one a read.
    """
    return (buffer, at) if buffer.dtype == work.dtype else (work, work_at)


def widen(work, work_at, buffer, at, elements):
    """work[work_at + i] = buffer[at + i] for i < elements, unless the buffer is of the workspace's type (see `wide`)."""
    if buffer.dtype != work.dtype:
        copy(work, work_at, buffer, at, elements)


@overload(wide, jit_options={"forceinline": True})
def _wide(buffer, at, work, work_at):
    if buffer == work:
        return lambda buffer, at, work, work_at: (buffer, at)
    return lambda buffer, at, work, work_at: (work, work_at)


@overload(widen, jit_options={"forceinline": True})
def _widen(work, work_at, buffer, at, elements):
    if buffer == work:
        return lambda work, work_at, buffer, at, elements: None
    return lambda work, work_at, buffer, at, elements: copy(work, work_at, buffer, at, elements)


@routine
def widened(buffer, at, elements, work, work_at):
    """(buffer, at) of those elements in the type of the workspace: the same where they are of it, else their copy in `work`."""
    widen(work, work_at, buffer, at, elements)
    return wide(buffer, at, work, work_at)


class Rows(NamedTuple):
    """Where rows of an image lie in a buffer: some row in slot `first` of `held`, the next in the next slot, after the last slot the first again.

    Slot 0 begins at `at`; pixels are `pitch` elements apart.
    """

    at: int
    pitch: int
    first: int
    held: int


@routine
def image_rows(at, pitch, height, image, row):
    """The Rows of image number `image` of a whole NHWC tensor from row `row` on (which may lie above the image)."""
    return Rows(at, pitch, image * height + row, 1 << 60)


@routine
def rows_below(rows, count):
    """The Rows `count` further down; a ring holds them all."""
    first = rows.first + count
    return Rows(rows.at, rows.pitch, first - rows.held if first >= rows.held else first, rows.held)


@routine
def row_place(rows, below, width):
    """The place of column 0 of the row `below` the first, rows being of `width` pixels."""
    slot = rows.first + below
    if slot >= rows.held:
        slot -= rows.held
    return rows.at + slot * width * rows.pitch


@routine
def staged_step(stride, kernel, dilation):
    """Distance between successive windows in a staged buffer: the stride, or the kernel's reach where that is less."""
    return min(stride, (kernel - 1) * dilation + 1)


@routine
def staged_count(outputs, stride, kernel, dilation):
    """Lines (or columns) that `outputs` windows need in a staged buffer."""
    return (outputs - 1) * staged_step(stride, kernel, dilation) + (kernel - 1) * dilation + 1


@routine
def stage_line(lines, lines_at, x, x_at, width, pixel_stride, channels, columns, stride, step, pad):
    """One staged line: column j holds the `channels` elements of input pixel j // step * stride + j % step - pad, 0 outside."""
    j = 0
    while j < columns:
        pixel = j // step * stride + j % step - pad
        run = columns - j if step == stride else min(step - j % step, columns - j)
        if pixel < 0:
            run = min(run, -pixel)
            fill(lines, lines_at + j * channels, run * channels)
        elif pixel >= width:
            fill(lines, lines_at + j * channels, run * channels)
        else:
            run = min(run, width - pixel)
            if pixel_stride == channels:
                copy(lines, lines_at + j * channels, x, x_at + pixel * pixel_stride, run * channels)
            else:
                for i in range(run):
                    copy(lines, lines_at + (j + i) * channels, x, x_at + (pixel + i) * pixel_stride, channels)
        j += run


@routine
def stage_lines(lines, lines_at, x, rows, conv, channels, row, count, columns):
    """Stage `count` lines of one image of `conv`, the first being input row `row` (from -pad_top on), each of `columns` pixels.

    rows: where the input's lie from row `row` on, the first of the channels wanted.
    """
    step_h = staged_step(conv.stride_h, conv.r, conv.dilation_h)
    step_w = staged_step(conv.stride_w, conv.s, conv.dilation_w)
    for i in range(count):
        below = i // step_h * conv.stride_h + i % step_h
        at = lines_at + i * columns * channels
        if 0 <= row + below < conv.h:
            row_at = row_place(rows, below, conv.w)
            stage_line(lines, at, x, row_at, conv.w, rows.pitch, channels, columns, conv.stride_w, step_w, conv.pad_left)
        else:
            fill(lines, at, columns * channels)
