"""Depthwise convolution of few channels: the rows of the image sit in the lanes, pixels and channels side by side.

    out[n, p, e] = bias[e mod C] + sum_(s, r) x[n, p*stride_h + r*dilation_h - pad_top, e + (s*dilation_w - pad_left)*C] * weight[e mod C, r, s]

A row of an NHWC image is W * C contiguous elements, and where the horizontal stride is 1, output element e = q * C + c meets input element
e + s * dilation_w * C of it, whatever C is: a vector holds as many pixels as it has room for, and a tap of the window is the same vector C elements
further on. The weights are repeated along a vector with the period C; a vector that begins with channel c takes them from there on. Of
7 channels, 16 lanes so hold 16 elements instead of 7. Derived here. Loops, outer to inner:

    at first: the weights are repeated along `taps`, R * S * (C + lanes - 1) elements, which stay in L1
    unit: image n, t.bands bands of t.strip.rows output rows      (units run in parallel)
        p  bands                        the rows' beginnings that reach into the left border are staged into `edge`, zeros before them
        e  vectors along the rows       accumulators: t.strip.rows registers, one under another; elements right of the image are zeros
        s  columns of the kernel        the input rows of the band, s * dilation_w * C elements further on
        r  t.strip.taps rows of the kernel a step     each vector is loaded once for all the taps and output rows it meets; rows are clipped
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.copy import copy, fill
from refconv.parts.epilogue import layer_epilogue, store_sums, with_bias, without_bias
from refconv.parts.operands import ONE
from refconv.parts.strips import clipped_slide, near_border
from refconv.parts.workspace import own_part
from refconv.problem.conv import out_height, out_reach, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes, length, zero
from refconv.tile.operands import Place, View, Weights
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div, pixels_of_whole_vectors


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n * ceil_div(ceil_div(problem.p, t.strip.rows), t.bands)


class Work(NamedTuple):
    """The weights and the bias repeated along a vector; the beginnings of a band's input rows, with the border before them."""

    taps: Any
    edge: Any


@routine
def repeated(channels, n_lanes):
    """Elements over which a tap is repeated: a vector may begin with any channel."""
    return channels + n_lanes - 1


@routine
def edge_outputs(problem, n_lanes):
    """Output elements of a row, in whole vectors, that are made of its staged beginning: all whose windows reach over its left end."""
    return ceil_div(problem.pad_left * problem.c, n_lanes) * n_lanes


@routine
def edge_line(problem, n_lanes):
    """Elements of a staged beginning: none without a border."""
    outputs = edge_outputs(problem, n_lanes)
    return outputs + (problem.s - 1) * problem.dilation_w * problem.c if outputs > 0 else 0


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread."""
    rows = out_reach(t.strip.rows, problem.r, problem.stride_h, problem.dilation_h)
    return Work((problem.r * problem.s + 1) * repeated(problem.c, lanes), rows * edge_line(problem, lanes))


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the strip, over the pixels that fill whole vectors."""
    pixels = pixels_of_whole_vectors(problem.c, lanes)
    vectors, loaded = pixels * problem.c // lanes, (t.strip.rows - 1) * t.strip.stride + t.strip.taps
    unit = ("N", 1), ("P", t.bands * t.strip.rows)
    strip = ("P", t.strip.rows), ("Q", pixels), ("G", problem.c), ("S", 1), ("R", t.strip.taps)
    return kernel_loops(problem, (*unit, *strip), products=t.strip.rows * t.strip.taps * vectors, loads=(loaded + t.strip.taps) * vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    buffers = workspace(problem, t, target.lanes(itemsize), half=False)
    rows = out_reach(t.strip.rows, problem.r, problem.stride_h, problem.dilation_h)
    return (
        f"{registers(t.strip.rows, 1, t.strip.taps, target)}; pixels side by side in the lanes; repeated weights {kib(buffers.taps * itemsize)} "
        f"and edges {kib(buffers.edge * itemsize)} in L1 {kib(target.l1_bytes)}, "
        f"{rows} input rows {kib(rows * problem.w * problem.c * itemsize)} in L2 {kib(target.l2_bytes)}"
    )


@routine
def _repeat(to, source, channels, n_lanes):
    """to[i] = channel i mod channels, for a vector that begins with any channel; source: the Place of channel 0 to its vector's."""
    count = repeated(channels, n_lanes)
    for i in range(0, count, channels):
        copy(to.buffer, to.at + i, source.buffer, source.at, min(channels, count - i))


@routine
def _repeat_taps(taps, weight, bias, conv, n_lanes):
    """The weights packed depthwise, and after them the bias, repeated at the Place `taps`: tap (r, s) as number r * S + s."""
    window, count = conv.r * conv.s, repeated(conv.c, n_lanes)
    for tap in range(window):
        for first in range(0, conv.c, n_lanes):  # a vector of packed channels at a time
            here, packed = min(n_lanes, conv.c - first), (first // n_lanes * window + tap) * n_lanes
            for i in range(first, count, conv.c):
                copy(taps.buffer, taps.at + tap * count + i, weight, packed, min(here, count - i))
    if length(bias) > 0:
        _repeat(Place(taps.buffer, taps.at + window * count), Place(bias, 0), conv.c, n_lanes)


@routine
def _stage_edge(edge, x, row_size, top, rows, conv, line):
    """Line i at the Place `edge`: the border's zeros, then the beginning of the input row top + i, then zeros. x: the Place of row 0."""
    border = conv.pad_left * conv.c
    there = min(row_size, line - border)
    for i in range(max(0, -top), min(rows, conv.h - top)):
        at = edge.at + i * line
        fill(edge.buffer, at, border)
        copy(edge.buffer, at + border, x.buffer, x.at + (top + i) * row_size, there)
        fill(edge.buffer, at + border + there, line - border - there)


@routine
def _window(column, p, conv, existing, taps, strip):
    """The sums of the strip's output rows from p on, one vector of each.

    column: the View of the vectors that the first column of the kernel meets, row by row from row 0 on; `existing`: the elements from there to
    the row's end; taps: the Weights of the first tap, from the vector's first channel on.
    """
    acc = zero(strip.rows, ONE, taps.buffer)
    step = 1 if strip.taps > 1 else conv.stride_h  # input rows from one vector of a slide to the next
    apart = conv.dilation_w * conv.c
    for s in range(conv.s):
        if s * apart < existing:
            under = View(column.buffer, column.at + s * apart, column.pitch)
            for r in range(0, conv.r, strip.taps):
                start = p * conv.stride_h + r * conv.dilation_h - conv.pad_top
                here = Weights(taps.buffer, taps.at + (r * conv.s + s) * taps.stride, conv.s * taps.stride)
                if existing - s * apart >= lanes(taps.buffer) and near_border(strip, start, step, conv.h):
                    acc = clipped_slide(acc, under, start, step, None, conv.h, here, strip, None)
                else:
                    acc = clipped_slide(acc, under, start, step, existing - s * apart, conv.h, here, strip, None)
    return acc


@kernel
def depthwise_rows(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed depthwise, bias of length C or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight, bias = operands.x, operands.weight, operands.bias
    taps, edge = own_part(work.taps, part), own_part(work.edge, part)
    n_lanes, channels, rows, height = lanes(weight), problem.c, t.strip.rows + 0, out_height(problem)
    row_size, out_row, count = problem.w * channels, out_width(problem) * channels, repeated(channels, n_lanes)
    border, outputs, line = problem.pad_left * channels, edge_outputs(problem, n_lanes), edge_line(problem, n_lanes)
    reach, bands = out_reach(rows, problem.r, problem.stride_h, problem.dilation_h), ceil_div(height, rows)
    blocks = ceil_div(bands, t.bands)
    _repeat_taps(taps, weight, bias, problem, n_lanes)
    for unit in range(part.first, part.last):
        n, block = divmod(unit, blocks)
        image = n * problem.h * row_size
        for band in range(block * t.bands, min((block + 1) * t.bands, bands)):
            p = min(band * rows, height - rows)  # the last band of all is moved back into its neighbour
            top = p * problem.stride_h - problem.pad_top
            _stage_edge(edge, Place(x, image), row_size, top, reach, problem, line)
            for e in range(0, out_row, n_lanes):
                those = Weights(taps.buffer, taps.at + e % channels, count)
                if e < outputs:
                    acc = _window(View(edge.buffer, edge.at - top * line + e, line), p, problem, line - e, those, t.strip)
                else:
                    first = e - border
                    acc = _window(View(x, image + first, row_size), p, problem, row_size - first, those, t.strip)
                if length(bias) > 0:
                    acc = with_bias(acc, Place(taps.buffer, those.at + problem.r * problem.s * count), n_lanes, ONE)
                to = View(out, (n * height + p) * out_row + e, out_row)
                store_sums(to, acc, out_row - e, band * rows - p, without_bias(layer_epilogue(operands)), ONE)
