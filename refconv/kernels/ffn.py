"""The position-wise feed-forward block in one kernel: expand, activation, project, and the input again.

    out[i] = x[i] + b2 + activation(x[i] @ U + b1) @ V                      i = (n, p, q)

Source: Lavin, "On the Efficiency of Convolutional Neural Networks", Sec. 5.2, eq. (30). Loops, outer to inner:

    unit: block of t.pixels pixels                       (units run in parallel)
        feed_forward (parts/feed_forward.py): the hidden layer of these pixels alone, in the workspace
"""

from refconv.jit import kernel, routine
from refconv.parts.feed_forward import feed_forward, feed_forward_workspace
from refconv.parts.staging import share, wide
from refconv.weights.packed import ceil_div


@routine
def most_rows(t):
    """Pixels of the taller of the two register tiles."""
    return max(t.expand_rows + 0, t.project_rows + 0)  # a sum of Statics is a plain integer


def units(block, t):
    """Independent pieces of work."""
    return ceil_div(block.n * block.h * block.w, t.pixels)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread; `wide_*` are for tensors stored as halves."""
    held = max(min(t.pixels, block.n * block.h * block.w), most_rows(t))
    return {"wide_pixels": held * block.c if half else 0, **feed_forward_workspace(block, t, held, lanes, half)}


@kernel
def ffn(x, weight, bias, out, work, block, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight (expand, project) packed dense, bias (hidden or 0, K or 0); all flat."""
    pixels, hidden, sums, weights, absent = work
    places = share(hidden, slot, slots), share(sums, slot, slots), share(weights, slot, slots)
    total = block.n * block.h * block.w
    for unit in range(first, last):
        start, i_last = unit * t.pixels, min((unit + 1) * t.pixels, total)
        i_first = min(start, total - most_rows(t))  # the last tile of all is moved back into its neighbour
        at, count = i_first * block.c, i_last - i_first
        source, source_at = wide(x, at, pixels, share(pixels, slot, slots))
        coming = t.pixels * block.c if unit + 1 < last else 0
        to = out, i_first * block.k, source, source_at, block.c, x, at, x, at, start - i_first, count, at + count * block.c, coming
        feed_forward(*to, block, weight, bias, (hidden, sums, weights, absent), places, t)
