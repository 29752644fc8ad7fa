"""Pointwise (1x1) convolution: a matrix product of all pixels with the weights, straight from the input.

    out[i, k] = bias[k] + sum_c x[i, c] * weight[k, c]        i = (n, p, q)

Loops, outer to inner:

    unit: block of t.pixels pixels, block of t.channels output channels      (units run in parallel)
        k  blocks of t.vectors vectors of output channels    the block's c * t.vectors weight vectors come from L1 or L2
        i  tiles of t.rows pixels                            the block's pixels stay in L2 from one k to the next (halves: widened, once)
        c                                                    one outer product a step: rows * vectors FMAs, rows + vectors loads

The last block of channels may be narrower: t.tail vectors.
"""

from refconv.jit import kernel, routine
from refconv.layout import ceil_div
from refconv.tile import add_row, lanes, length, load, outer, prefetch, store, zero
from refconv.tile.lines import L1, ONE, share, wide, widen, widened


def units(problem, t):
    """Independent pieces of work."""
    return ceil_div(problem.n * problem.p * problem.q, t.pixels) * ceil_div(problem.k, t.channels)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since windows of one pixel need no border."""
    pixels = min(t.pixels, problem.n * problem.h * problem.w)
    return {"wide_pixels": max(pixels, t.rows) * problem.c if half else 0, "wide_weights": problem.c * t.vectors * lanes if half else 0}


@routine
def block_of_channels(x, source, source_at, weight, weight_at, bias, out, problem, start, i_first, i_last, k, first_visit, rows, vectors):
    """Pixels start to i_last-1 of one block of channels from k on; source_at is pixel i_first (at most start), weight_at the block's."""
    n_lanes, pixels, c_all = lanes(weight), problem.n * problem.h * problem.w, problem.c
    for i_next in range(start, i_last, rows):
        i = min(i_next, pixels - rows)
        acc = zero(rows, vectors, out)
        x_at, w_at = source_at + (i - i_first) * c_all, weight_at
        if first_visit:
            widen(source, x_at, x, i * c_all, rows * c_all)
        # With every step of the first block, `rows` elements of the next tile's pixels, which are contiguous.
        ahead_at, ahead_step = (i + rows) * c_all, rows if first_visit else 0
        for c in range(c_all):
            acc = outer(acc, source, x_at + c, c_all, weight, w_at, c_all * n_lanes)
            prefetch(x, ahead_at, L1)
            w_at += n_lanes
            ahead_at += ahead_step
        if length(bias) > 0:
            acc = add_row(acc, load(ONE, vectors, bias, k, 0, problem.k - k))
        store(out, i * problem.k + k, problem.k, acc, problem.k - k, i_next - i)


@kernel
def pointwise(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed dense, bias of length K or 0; all flat."""
    pixel_work, weight_work = work
    pixels_at, weights_at = share(pixel_work, slot, slots), share(weight_work, slot, slots)
    n_lanes, pixels = lanes(weight), problem.n * problem.h * problem.w
    chunks, vector_stride = ceil_div(problem.k, t.channels), problem.c * n_lanes
    for unit in range(first, last):
        block, chunk = divmod(unit, chunks)
        i_last = min((block + 1) * t.pixels, pixels)
        i_first = min(block * t.pixels, pixels - t.rows)
        source, source_at = wide(x, i_first * problem.c, pixel_work, pixels_at)
        for k in range(chunk * t.channels, min((chunk + 1) * t.channels, problem.k), t.vectors * n_lanes):
            near, near_at = widened(weight, k // n_lanes * vector_stride, t.vectors * vector_stride, weight_work, weights_at)
            first_visit = k == chunk * t.channels
            arguments = x, source, source_at, near, near_at, bias, out, problem, block * t.pixels, i_first, i_last, k, first_visit, t.rows
            if problem.k - k > t.tail * n_lanes:
                block_of_channels(*arguments, t.vectors)
            else:
                block_of_channels(*arguments, t.tail)
