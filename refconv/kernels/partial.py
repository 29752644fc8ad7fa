"""Partial convolution (PConv): the first Cp of C channels are convolved among themselves, the others pass through.

    out[n, p, q, k] = bias[k] + sum_(r, s, c < Cp) x[n, p + r - pad, q + s - pad, c] * weight[k, r, s, c]     k < Cp
    out[n, p, q, k] = x[n, p, q, k]                                                                           k >= Cp

Source: FasterNet (Chen et al. 2023), Sec. 3.2. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        stage the first Cp channels of the block's input rows, border included, into `lines`, as floats of the workspace
        k  blocks of t.vectors vectors of output channels
        p  rows of the block;  q  tiles of t.rows pixels;  r, s, c    as in conv2d, pixels C apart in the output
        pass channels Cp to C of the block's pixels through
"""

from refconv.jit import kernel
from refconv.parts.dense import dense_block
from refconv.parts.staging import ZERO, copy, image_rows, share, stage_lines, staged_count, widened
from refconv.problem.activations import IDENTITY
from refconv.problem.conv import convolved_part
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes
from refconv.tiling.words import staged_rows
from refconv.weights.packed import ceil_div


def units(problem, t):
    """Independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread; `wide_weights` is for tensors stored as halves."""
    conv = problem.conv
    rows = staged_count(min(t.lines, conv.p), 1, conv.r, conv.dilation_h)
    block = conv.r * conv.s * conv.c * t.vectors * lanes if half else 0
    return {"lines": rows * staged_count(conv.q, 1, conv.s, conv.dilation_w) * conv.c, "wide_weights": block}


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    unit = ("N", 1), ("P", t.lines)
    block = ("K", t.vectors * lanes), ("P", 1), ("Q", t.rows), ("R", 1), ("S", 1), ("C", 1)
    return kernel_loops(problem, (*unit, *block), products=t.rows * t.vectors, loads=t.rows + t.vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    buffers = workspace(problem, t, target.lanes(itemsize), half=True)
    rows = staged_count(min(t.lines, problem.conv.p), 1, problem.conv.r, problem.conv.dilation_h)
    return staged_rows(t, rows, buffers["lines"] * itemsize, buffers["wide_weights"] * itemsize, target)


@kernel
def partial(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed dense, bias of length Cp or 0; all flat."""
    lines, weights = work
    lines_at, weights_at = share(lines, slot, slots), share(weights, slot, slots)
    conv, channels = convolved_part(problem), problem.c
    height, width, n_lanes = problem.h, problem.w, lanes(weight)
    blocks = ceil_div(height, t.lines)
    vector_stride = conv.r * conv.s * conv.c * n_lanes
    columns = staged_count(width, 1, conv.s, conv.dilation_w)
    for unit in range(first, last):
        n, block = divmod(unit, blocks)
        p_first = block * t.lines
        p_last = min(p_first + t.lines, height)
        image = n * height * width * channels
        rows = staged_count(p_last - p_first, 1, conv.r, conv.dilation_h)
        top = p_first - conv.pad_top
        stage_lines(lines, lines_at, x, image_rows(0, channels, height, n, top), conv, conv.c, top, rows, columns)
        for k in range(0, conv.k, t.vectors * n_lanes):
            near, near_at = widened(weight, k // n_lanes * vector_stride, t.vectors * vector_stride, weights, weights_at)
            out_at = image + p_first * width * channels + k
            arguments = out, out_at, channels, conv.k - k, lines, lines_at, conv, conv.c, p_last - p_first, near, near_at, bias, k, IDENTITY, t.rows
            if conv.k - k > t.tail * n_lanes:
                dense_block(*arguments, t.vectors, ZERO)
            else:
                dense_block(*arguments, t.tail, ZERO)
        for i in range(p_first * width, p_last * width):
            copy(out, image + i * channels + conv.c, x, image + i * channels + conv.c, channels - conv.c)
