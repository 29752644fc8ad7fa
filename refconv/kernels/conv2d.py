"""Dense convolution: windows of staged lines times vectors of output channels.

    out[n, p, q, k] = bias[k] + sum_(r, s, c) x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w - pad_left, c]
                                              * weight[k, r, s, c]

for each group of channels. Loops, outer to inner:

    unit: image n, block of t.lines output rows, group, block of t.channels output channels   (units run in parallel)
        stage the input rows of the block, border included, into `lines`, as floats of the workspace
        k  blocks of t.tile.vectors vectors of output channels    weights of a block: r * s * c vectors each, from L2 (halves widened once)
        p  rows of the block
        q  tiles of t.tile.rows pixels                            accumulators: t.tile.rows * t.tile.vectors registers
        r, s, c                                              one outer product a step: rows * vectors FMAs, rows + vectors loads;
                                                             t.ahead elements of the next block's weights are prefetched into the L2

The last block of channels may be narrower: t.tile.tail vectors. Where a unit has fewer rows than the dilation, only the lines that kernel rows
meet are staged, and kernel rows that meet the border alone are left out; so are, for a tile, dilated kernel columns that do.
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.channel_blocks import Channels
from refconv.parts.dense import DenseRows, Staged, dense_rows, dense_weights
from refconv.parts.epilogue import from_channel, layer_epilogue
from refconv.parts.staging import image_rows, stage_kernel_rows, stage_lines, staged_count, staged_gap, staged_lines, taps_inside
from refconv.parts.workspace import own_part
from refconv.problem.conv import out_height, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes, length
from refconv.tile.operands import Place, View
from refconv.tiling.words import staged_rows
from refconv.weights.packed import ceil_div


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * problem.groups * ceil_div(problem.k_group, t.channels)


class Work(NamedTuple):
    """Staged input lines; a block of weights widened from halves."""

    lines: Any
    wide_weights: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread."""
    block = problem.r * problem.s * problem.c_group * t.tile.vectors * lanes if half else 0
    rows = staged_lines(min(t.lines, problem.p), problem.stride_h, problem.r, problem.dilation_h)
    return Work(rows * staged_count(problem.q, problem.stride_w, problem.s, problem.dilation_w) * problem.c_group, block)


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    unit = ("N", 1), ("P", t.lines), ("G", 1), ("K", t.channels)
    block = ("K", t.tile.vectors * lanes), ("P", 1), ("Q", t.tile.rows), ("R", 1), ("S", 1), ("C", 1)
    return kernel_loops(problem, (*unit, *block), products=t.tile.rows * t.tile.vectors, loads=t.tile.rows + t.tile.vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    buffers = workspace(problem, t, target.lanes(itemsize), half=True)
    rows = staged_lines(min(t.lines, problem.p), problem.stride_h, problem.r, problem.dilation_h)
    return staged_rows(t.tile, rows, buffers.lines * itemsize, buffers.wide_weights * itemsize, target)


@kernel
def conv2d(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed dense, bias of length K or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight = operands.x, operands.weight
    lines, wide = own_part(work.lines, part), own_part(work.wide_weights, part)
    height, width, n_lanes = out_height(problem), out_width(problem), lanes(weight)
    c_group, k_group = problem.c // problem.groups, problem.k // problem.groups
    blocks, chunks, depth = ceil_div(height, t.lines), ceil_div(k_group, t.channels), problem.r * problem.s * c_group
    group_size = ceil_div(k_group, n_lanes) * depth * n_lanes
    for unit in range(part.first, part.last):
        rest, chunk = divmod(unit, chunks)
        rest, group = divmod(rest, problem.groups)
        n, block = divmod(rest, blocks)
        p_first = block * t.lines
        count = min(t.lines, height - p_first)
        top = p_first * problem.stride_h - problem.pad_top
        rows = image_rows(Place(x, group * c_group), problem.c, problem.h, n, top)
        conv, first = problem, 0
        if staged_gap(count, problem.stride_h, problem.r, problem.dilation_h) < problem.dilation_h:
            first, last = taps_inside(top, (count - 1) * problem.stride_h, problem.h, problem.r, problem.dilation_h)
            first = 0 if length(work.wide_weights) > 0 else first  # blocks of weights are widened from their beginning
            conv = stage_kernel_rows(lines, rows, problem, c_group, top, count, (first, last))
        else:
            stage_lines(lines, rows, problem, c_group, top, staged_count(count, problem.stride_h, problem.r, problem.dilation_h))
        to = View(out, (n * height + p_first) * width * problem.k + group * k_group, problem.k)
        staged = Staged(lines.buffer, lines.at, conv, c_group)
        weights = dense_weights(weight, group * group_size + first * problem.s * c_group * n_lanes, depth)
        those = DenseRows(to, staged, count, from_channel(layer_epilogue(operands), group * k_group), t.ahead)
        channels = Channels(chunk * t.channels, min((chunk + 1) * t.channels, k_group), k_group)
        dense_rows(those, channels, weights, wide, t.tile)
