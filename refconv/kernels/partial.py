"""Partial convolution (PConv): the first Cp of C channels are convolved among themselves, the others pass through.

    out[n, p, q, k] = bias[k] + sum_(r, s, c < Cp) x[n, p + r - pad, q + s - pad, c] * weight[k, r, s, c]     k < Cp
    out[n, p, q, k] = x[n, p, q, k]                                                                           k >= Cp

A residual is added to all C channels, and an activation is of all.

Source: FasterNet (Chen et al. 2023), Sec. 3.2. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        stage the first Cp channels of the block's input rows, border included, into `lines`, as floats of the workspace
        k  blocks of t.tile.vectors vectors of output channels
        p  rows of the block;  q  tiles of t.tile.rows pixels;  r, s, c    as in conv2d, pixels C apart in the output
        pass channels Cp to C of the block's pixels through
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.channel_blocks import Channels
from refconv.parts.copy import copy
from refconv.parts.dense import NO_PREFETCH, DenseRows, Staged, dense_rows, dense_weights
from refconv.parts.epilogue import layer_epilogue, store_sums, without_bias
from refconv.parts.operands import ONE
from refconv.parts.staging import image_rows, stage_lines, staged_count
from refconv.parts.workspace import own_part
from refconv.problem.conv import convolved_part
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes, length, load
from refconv.tile.operands import Place, View
from refconv.tiling.words import staged_rows
from refconv.weights.packed import ceil_div


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines)


class Work(NamedTuple):
    """Staged input lines; a block of weights widened from halves."""

    lines: Any
    wide_weights: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread."""
    conv = problem.conv
    rows = staged_count(min(t.lines, conv.p), 1, conv.r, conv.dilation_h)
    block = conv.r * conv.s * conv.c * t.tile.vectors * lanes if half else 0
    return Work(rows * staged_count(conv.q, 1, conv.s, conv.dilation_w) * conv.c, block)


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    unit = ("N", 1), ("P", t.lines)
    block = ("K", t.tile.vectors * lanes), ("P", 1), ("Q", t.tile.rows), ("R", 1), ("S", 1), ("C", 1)
    return kernel_loops(problem, (*unit, *block), products=t.tile.rows * t.tile.vectors, loads=t.tile.rows + t.tile.vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    buffers = workspace(problem, t, target.lanes(itemsize), half=True)
    rows = staged_count(min(t.lines, problem.conv.p), 1, problem.conv.r, problem.conv.dilation_h)
    return staged_rows(t.tile, rows, buffers.lines * itemsize, buffers.wide_weights * itemsize, target)


@routine
def _pass_through(out, at, operands, elements):
    """So many elements from `at` on of the input to the output, which has its size, through the Epilogue."""
    if operands.activations.none == 1 and length(operands.residual) == 0:
        copy(out, at, operands.x, at, elements)
        return
    n, epilogue = lanes(out), without_bias(layer_epilogue(operands))
    for i in range(0, elements, n):
        store_sums(View(out, at + i, 0), load(ONE, ONE, operands.x, at + i, 0, elements - i), elements - i, 0, epilogue, ONE)


@kernel
def partial(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed dense, bias of length Cp or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight = operands.x, operands.weight
    lines, wide = own_part(work.lines, part), own_part(work.wide_weights, part)
    conv, channels = convolved_part(problem), problem.c
    height, width, blocks = problem.h, problem.w, ceil_div(problem.h, t.lines)
    weights, every = dense_weights(weight, 0, conv.r * conv.s * conv.c), Channels(0, conv.k, conv.k)
    for unit in range(part.first, part.last):
        n, block = divmod(unit, blocks)
        p_first = block * t.lines
        p_last = min(p_first + t.lines, height)
        image, top = n * height * width * channels, p_first - conv.pad_top
        staged_rows = staged_count(p_last - p_first, 1, conv.r, conv.dilation_h)
        stage_lines(lines, image_rows(Place(x, 0), channels, height, n, top), conv, conv.c, top, staged_rows)
        to = View(out, image + p_first * width * channels, channels)
        staged = Staged(lines.buffer, lines.at, conv, conv.c)
        those = DenseRows(to, staged, p_last - p_first, layer_epilogue(operands), NO_PREFETCH)
        dense_rows(those, every, weights, wide, t.tile)
        for i in range(p_first * width, p_last * width):
            _pass_through(out, image + i * channels + conv.c, operands, channels - conv.c)
