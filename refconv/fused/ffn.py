"""The position-wise feed-forward block in one kernel: expand, activation, project, and the input again.

    out[i] = x[i] + b2 + activation(x[i] @ U + b1) @ V                      i = (n, p, q)

Source: Lavin, "On the Efficiency of Convolutional Neural Networks", Sec. 5.2, eq. (30). Loops, outer to inner:

    unit: block of t.pixels pixels                       (units run in parallel)
        feed_forward (tile/feed_forward.py): the hidden layer of these pixels alone, in the workspace
"""

from refconv.jit import kernel
from refconv.layout import ceil_div
from refconv.tile.feed_forward import feed_forward
from refconv.tile.lines import share, wide


def units(block, t):
    """Independent pieces of work."""
    return ceil_div(block.n * block.h * block.w, t.pixels)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    pixels = min(t.pixels, block.n * block.h * block.w)
    return {"wide_pixels": pixels_held(pixels, t) * block.c if half else 0}
