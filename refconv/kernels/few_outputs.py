"""Pointwise (1x1) convolution to very few channels: inner products along the channels, which sit in the lanes; lanes are added at the end.

    out[i, k] = bias[k] + sum_c x[i, c] * weight[k, c]        i = (n, p, q)

A vector of output channels would be nearly empty. So a vector of a pixel's input channels meets one of an output's weights, and the sums of
lanes of lanes // K pixels fill one vector of outputs, which are contiguous in NHWC. A single output of fewer channels than lanes, C, takes as
many pixels as there are lanes, C contiguous vectors, and adds each run of C products. Derived here. Loops, outer to inner:

    at first: the weights are laid along the channels, into `rows`: K vectors for each vector of channels, or C vectors of all weights again and again
    unit: block of t.pixels pixels      (units run in parallel)
        i  vectors of outputs                 accumulators: t.tile.rows pixels * t.tile.vectors outputs, or the C vectors of products
        c  vectors of channels                each vector of a pixel is loaded once and meets t.tile.vectors weights
        sums of runs of t.tile.width lanes    2 shuffles and an addition for each register but one
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.copy import copy, fill
from refconv.parts.epilogue import layer_epilogue, store_sums, with_bias, without_bias
from refconv.parts.operands import ONE
from refconv.parts.workspace import own_part
from refconv.problem.conv import Conv2d
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes, length, load, multiply_row, slide, store, sum_runs, zero
from refconv.tile.operands import View, Weights
from refconv.tiling.shapes import pixels_of_outputs
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div


def units(problem, t):
    """The number of independent pieces of work."""
    return ceil_div(problem.n * problem.h * problem.w, t.pixels)


class Work(NamedTuple):
    """The weights along the channels, and the bias of a vector of outputs."""

    rows: Any
    bias: Any


@routine
def row_vectors(problem, width, n_lanes):
    """Vectors of weights along the channels, sums being of `width` lanes."""
    return problem.c if width < n_lanes else problem.k * ceil_div(problem.c, n_lanes)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread."""
    return Work(row_vectors(problem, t.tile.width, lanes) * lanes, lanes)


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the tile, over the pixels of all images as one row: that row is their problem."""
    row, registers = Conv2d(1, problem.c, 1, problem.n * problem.h * problem.w, problem.k, 1, 1), t.tile.rows * t.tile.vectors
    nest = ("Q", t.pixels), ("Q", pixels_of_outputs(t.tile, lanes)), ("K", problem.k), ("C", t.tile.width)
    return kernel_loops(row, nest, products=registers, loads=2 * registers if t.tile.width < lanes else t.tile.rows + t.tile.vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    tile, lanes = t.tile, target.lanes(itemsize)
    weights = row_vectors(problem, tile.width, lanes) * target.vector_bytes
    return (
        f"{registers(tile.rows, tile.vectors, tile.vectors, target)}; {pixels_of_outputs(tile, lanes)} pixels a vector of outputs, "
        f"sums of {int(tile.width)} lanes; weights along the channels {kib(weights)} in L1 {kib(target.l1_bytes)}"
    )


@routine
def _lay_weights(rows, weight, problem, width):
    """The weights packed dense, laid along the channels at the Place `rows`; lanes past the last channel are zero."""
    n, channels, outputs = lanes(weight), problem.c, problem.k
    if width < n:
        for i in range(channels * n):
            copy(rows.buffer, rows.at + i, weight, i % channels * n, 1)
        return
    whole = channels - channels % n
    for c in range(0, whole, n):  # a lane of each packed vector beside zeros: their sums are the weights side by side
        for k in range(outputs):
            along = sum_runs(load(width, ONE, weight, c * n + k, n, 1), width)
            store(rows.buffer, rows.at + (c // n * outputs + k) * n, 0, along, n, 0)
    if whole < channels:
        last = rows.at + whole * outputs
        fill(rows.buffer, last, outputs * n)
        for c in range(whole, channels):
            for k in range(outputs):
                copy(rows.buffer, last + k * n + c - whole, weight, c * n + k, 1)


@routine
def _lay_bias(to, bias, outputs):
    """The bias of a vector of outputs, pixel after pixel, at the Place `to`; nothing where it is empty."""
    if length(bias) > 0:
        n = lanes(to.buffer)
        for i in range(0, n, outputs):
            copy(to.buffer, to.at + i, bias, 0, min(outputs, n - i))


@routine
def _sums(x, at, channels, there, rows, tile):
    """The sums of the outputs whose first pixel lies at x[at], of which `there` pixels exist; rows: the Place of the weights."""
    n = lanes(rows.buffer)
    if tile.width < n:
        weights = load(ONE, tile.vectors, rows.buffer, rows.at, 0, tile.vectors * n)
        return sum_runs(multiply_row(load(ONE, tile.vectors, x, at, 0, there * channels), weights), tile.width)
    acc, w_at, whole = zero(tile.rows, tile.vectors, rows.buffer), rows.at, channels - channels % n
    for c in range(0, whole, n):
        acc = slide(acc, tile, View(x, at + c, channels), n, 0, there, Weights(rows.buffer, w_at, 0), None)
        w_at += tile.vectors * n
    if whole < channels:
        acc = slide(acc, tile, View(x, at + whole, channels), channels - whole, 0, there, Weights(rows.buffer, w_at, 0), None)
    return sum_runs(acc, tile.width)


@kernel
def few_outputs(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed dense, bias of length K or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight = operands.x, operands.weight
    rows, biases = own_part(work.rows, part), own_part(work.bias, part)
    channels, outputs, n = problem.c, problem.k, lanes(weight)
    pixels, step = problem.n * problem.h * problem.w, n if t.tile.width < n else t.tile.rows
    _lay_weights(rows, weight, problem, t.tile.width)
    _lay_bias(biases, operands.bias, outputs)
    for unit in range(part.first, part.last):
        for i in range(unit * t.pixels, min((unit + 1) * t.pixels, pixels), step):
            there = pixels - i
            if there >= step:  # constants: no branch is left
                acc = _sums(x, i * channels, channels, 1 << 30, rows, t.tile)
            else:
                acc = _sums(x, i * channels, channels, there, rows, t.tile)
            if length(operands.bias) > 0:
                acc = with_bias(acc, biases, n, ONE)
            store_sums(View(out, i * outputs, 0), acc, min(there, step) * outputs, 0, without_bias(layer_epilogue(operands)), ONE)
