"""Pointwise (1x1) convolution: a matrix product of all pixels with the weights, straight from the input.

    out[i, k] = bias[k] + sum_c x[i, c] * weight[k, c]        i = (n, p, q)

Loops, outer to inner:

    unit: block of t.pixels pixels, block of t.channels output channels      (units run in parallel)
        k  blocks of t.vectors vectors of output channels    the block's c * t.vectors weight vectors come from L1 or L2
        i  tiles of t.rows pixels                            the block's pixels stay in L2 from one k to the next (halves: widened, once)
        c                                                    one outer product a step: rows * vectors FMAs, rows + vectors loads

The last block of channels may be narrower: t.tail vectors.
"""

from refconv.jit import kernel
from refconv.parts.matrix import WHOLE, matrix_block
from refconv.parts.staging import share, wide, widened
from refconv.problem.activations import IDENTITY
from refconv.problem.conv import Conv2d
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div


def units(problem, t):
    """Independent pieces of work."""
    return ceil_div(problem.n * problem.p * problem.q, t.pixels) * ceil_div(problem.k, t.channels)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since windows of one pixel need no border."""
    pixels = min(t.pixels, problem.n * problem.h * problem.w)
    return {
        "wide_pixels": max(pixels, t.rows) * problem.c if half else 0,
        "wide_weights": problem.c * t.vectors * lanes if half else 0,
        "absent": 0,
    }


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile, over the pixels of all images as one row: that row is their problem."""
    row = Conv2d(1, problem.c, 1, problem.n * problem.h * problem.w, problem.k, 1, 1)
    unit = ("Q", t.pixels), ("K", t.channels)
    block = ("K", t.vectors * lanes), ("Q", t.rows), ("C", 1)
    return kernel_loops(row, (*unit, *block), products=t.rows * t.vectors, loads=t.rows + t.vectors)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    block, pixels = problem.c * t.vectors * target.vector_bytes, t.pixels * problem.c * itemsize
    return (
        f"{registers(t.rows, t.vectors, t.vectors, target)}; a block of weights {kib(block)} beside {t.rows} pixels in L1 {kib(target.l1_bytes)} "
        f"or L2, {t.pixels} pixels {kib(pixels)} in L2 {kib(target.l2_bytes)}"
    )


@kernel
def pointwise(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed dense, bias of length K or 0; all flat."""
    pixel_work, weight_work, absent = work
    pixels_at, weights_at = share(pixel_work, slot, slots), share(weight_work, slot, slots)
    n_lanes, pixels = lanes(weight), problem.n * problem.h * problem.w
    chunks, vector_stride = ceil_div(problem.k, t.channels), problem.c * n_lanes
    for unit in range(first, last):
        block, chunk = divmod(unit, chunks)
        i_start, i_last = block * t.pixels, min((block + 1) * t.pixels, pixels)
        i_first = min(i_start, pixels - t.rows)  # the last tile of all is moved back into its neighbour
        source, source_at = wide(x, i_first * problem.c, pixel_work, pixels_at)
        for k in range(chunk * t.channels, min((chunk + 1) * t.channels, problem.k), t.vectors * n_lanes):
            near, near_at = widened(weight, k // n_lanes * vector_stride, t.vectors * vector_stride, weight_work, weights_at)
            to = out, i_first * problem.k + k, problem.k, problem.k - k
            those = source, source_at, problem.c, i_start - i_first, i_last - i_first
            fresh = k == chunk * t.channels
            start = problem.c, near, near_at, vector_stride, bias, k, absent, 0, 0, x, i_first * problem.c, fresh
            if fresh:  # the next tile's pixels, which are contiguous; then the next block's weights
                ahead = x, (i_start + t.rows) * problem.c, t.rows + 0, WHOLE, 0
            else:
                ahead = weight, (k // n_lanes + t.vectors) * vector_stride, t.ahead, WHOLE, 0
            rest = *start, *ahead, IDENTITY, t.rows
            if problem.k - k > t.tail * n_lanes:
                matrix_block(*to, *those, *rest, t.vectors)
            else:
                matrix_block(*to, *those, *rest, t.tail)
