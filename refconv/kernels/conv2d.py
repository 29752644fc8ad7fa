"""Dense convolution: windows of staged lines times vectors of output channels.

    out[n, p, q, k] = bias[k] + sum_(r, s, c) x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w - pad_left, c]
                                              * weight[k, r, s, c]

for each group of channels. Loops, outer to inner:

    unit: image n, block of t.lines output rows, group, block of t.channels output channels   (units run in parallel)
        stage the input rows of the block, border included, into `lines`, as floats of the workspace
        k  blocks of t.vectors vectors of output channels    weights of a block: r * s * c vectors each, from L2 (halves widened once)
        p  rows of the block
        q  tiles of t.rows pixels                            accumulators: t.rows * t.vectors registers
        r, s, c                                              one outer product a step: rows * vectors FMAs, rows + vectors loads;
                                                             t.ahead elements of the next block's weights are called into the L2

The last block of channels may be narrower: t.tail vectors.
"""

from refconv.jit import kernel
from refconv.parts.dense import dense_block
from refconv.parts.staging import image_rows, share, stage_lines, staged_count, widened
from refconv.problem.activations import IDENTITY
from refconv.problem.conv import out_height, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes
from refconv.tiling.words import staged_rows
from refconv.weights.packed import ceil_div


def units(problem, t):
    """Independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * problem.groups * ceil_div(problem.k_group, t.channels)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread; `wide_weights` is for tensors stored as halves."""
    block = problem.r * problem.s * problem.c_group * t.vectors * lanes if half else 0
    rows = staged_count(min(t.lines, problem.p), problem.stride_h, problem.r, problem.dilation_h)
    return {"lines": rows * staged_count(problem.q, problem.stride_w, problem.s, problem.dilation_w) * problem.c_group, "wide_weights": block}


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    unit = ("N", 1), ("P", t.lines), ("G", 1), ("K", t.channels)
    block = ("K", t.vectors * lanes), ("P", 1), ("Q", t.rows), ("R", 1), ("S", 1), ("C", 1)
    return kernel_loops(problem, (*unit, *block), products=t.rows * t.vectors, loads=t.rows + t.vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    buffers = workspace(problem, t, target.lanes(itemsize), half=True)
    rows = staged_count(min(t.lines, problem.p), problem.stride_h, problem.r, problem.dilation_h)
    return staged_rows(t, rows, buffers["lines"] * itemsize, buffers["wide_weights"] * itemsize, target)


@kernel
def conv2d(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed dense, bias of length K or 0; all flat."""
    lines, weights = work
    lines_at, weights_at = share(lines, slot, slots), share(weights, slot, slots)
    height, width, n_lanes = out_height(problem), out_width(problem), lanes(weight)
    c_group, k_group = problem.c // problem.groups, problem.k // problem.groups
    blocks, chunks = ceil_div(height, t.lines), ceil_div(k_group, t.channels)
    vector_stride = problem.r * problem.s * c_group * n_lanes
    columns = staged_count(width, problem.stride_w, problem.s, problem.dilation_w)
    for unit in range(first, last):
        rest, chunk = divmod(unit, chunks)
        rest, group = divmod(rest, problem.groups)
        n, block = divmod(rest, blocks)
        p_first = block * t.lines
        count = min(t.lines, height - p_first)
        top = p_first * problem.stride_h - problem.pad_top
        rows = staged_count(count, problem.stride_h, problem.r, problem.dilation_h)
        stage_lines(lines, lines_at, x, image_rows(group * c_group, problem.c, problem.h, n, top), problem, c_group, top, rows, columns)
        for k in range(chunk * t.channels, min((chunk + 1) * t.channels, k_group), t.vectors * n_lanes):
            block_at = (group * ceil_div(k_group, n_lanes) + k // n_lanes) * vector_stride
            near, near_at = widened(weight, block_at, t.vectors * vector_stride, weights, weights_at)
            k_at = group * k_group + k
            out_at = (n * height + p_first) * width * problem.k + k_at
            arguments = out, out_at, problem.k, k_group - k, lines, lines_at, problem, c_group, count, near, near_at, bias, k_at, IDENTITY, t.rows
            if k_group - k > t.tail * n_lanes:
                dense_block(*arguments, t.vectors, t.ahead)
            else:
                dense_block(*arguments, t.tail, t.ahead)
