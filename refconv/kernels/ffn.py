"""The position-wise feed-forward block in one kernel: expand, activation, project, and the input added.

    out[i] = x[i] + b2 + activation(x[i] @ U + b1) @ V                      i = (n, p, q)

Source: Lavin, "On the Efficiency of Convolutional Neural Networks", Sec. 5.2, eq. (30). Loops, outer to inner:

    unit: block of t.pixels pixels                       (units run in parallel)
        feed_forward (parts/feed_forward.py): the hidden layer of these pixels alone, in the workspace
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.feed_forward import NextInput, feed_forward, feed_forward_places, feed_forward_weights, feed_forward_workspace
from refconv.parts.operands import Source
from refconv.parts.workspace import in_work_type, own_part
from refconv.tile.operands import Place, View
from refconv.weights.packed import ceil_div


@routine
def most_rows(t):
    """Pixels of the taller of the two register tiles."""
    return max(t.expand.rows + 0, t.project.rows + 0)  # a sum of Statics is a plain integer


def units(block, t):
    """The number of independent pieces of work."""
    return ceil_div(block.n * block.h * block.w, t.pixels)


class Operands(NamedTuple):
    """The input, the packed matrices, their biases (of length 0: none)."""

    x: Any
    expand: Any
    project: Any
    expand_bias: Any
    project_bias: Any


class Work(NamedTuple):
    """A unit's pixels widened from halves; a chunk of hidden channels; sums of chunks; a block of weights widened from halves."""

    wide_pixels: Any
    hidden: Any
    sums: Any
    wide_weights: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    held = max(min(t.pixels, block.n * block.h * block.w), most_rows(t))
    return Work(held * block.c if half else 0, *feed_forward_workspace(block, t, held, lanes, half))


@kernel
def ffn(operands, out, work, block, t, part):
    """Compute the units of the Part. x and out NHWC, weights packed dense; all flat."""
    x, wide_pixels = operands.x, own_part(work.wide_pixels, part)
    weights, places = feed_forward_weights(operands), feed_forward_places(work, part)
    total = block.n * block.h * block.w
    for unit in range(part.first, part.last):
        start, i_last = unit * t.pixels, min((unit + 1) * t.pixels, total)
        i_first = max(0, min(start, total - most_rows(t)))  # the last tile of all is moved back into its neighbour
        raw, count = Place(x, i_first * block.c), i_last - i_first
        pixels = in_work_type(raw, wide_pixels)
        source = Source(View(pixels.buffer, pixels.at, block.c), raw, True)
        next_input = NextInput(raw.at + count * block.c, t.pixels * block.c if unit + 1 < part.last else 0)
        to = View(out, i_first * block.k, block.k)
        feed_forward(to, source, raw, (start - i_first, count), next_input, block, weights, places, t)
