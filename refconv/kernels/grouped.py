"""Grouped convolution with narrow groups of g inputs and g outputs: whole groups share a vector, no lane is moved until the end.

    out[n, p, q, k] = bias[k] + sum_(r, s, j) x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w - pad_left, group(k)*g + j]
                                              * weight[k, j, r, s]

A pixel's vector meets g vectors of weights lane by lane, one for each diagonal t of the g x g matrix of its groups: the
product in the lane of input m belongs to output (m - t) mod g. The g sums are kept apart over the whole window; only then are they rotated into
place and added: g - 1 shuffles for R * S * g multiply-adds, where spreading the inputs first takes g shuffles for S * g. Derived here.
Loops, outer to inner:

    unit: image n, block of t.lines output rows, block of t.vectors_per_unit vectors of channels   (units run in parallel; weights that are
          halves are widened here)
        p  rows of the block
        v  vectors of channels
        q  strips of t.strip.rows pixels          accumulators: t.strip.rows * g registers
        r  kernel rows inside the image     the border is clipped
        s  t.strip.taps columns a step            each pixel is loaded once and meets t.strip.taps * g weights, which come from L1
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.epilogue import layer_epilogue
from refconv.parts.staging import image_rows
from refconv.parts.strips import grouped_row
from refconv.parts.workspace import own_part, widened
from refconv.problem.conv import out_height, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes
from refconv.tile.operands import Place, View
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * ceil_div(ceil_div(problem.groups, t.strip.groups), t.vectors_per_unit)


class Work(NamedTuple):
    """A unit's weights, widened from halves."""

    wide_weights: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since the border is clipped."""
    vectors = min(t.vectors_per_unit, ceil_div(problem.groups, t.strip.groups))
    return Work(vectors * problem.r * problem.s * t.strip.inputs * lanes if half else 0)


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    pixels = (t.strip.rows - 1) * t.strip.stride + t.strip.taps  # those that a slide loads
    unit = ("N", 1), ("P", t.lines), ("G", t.vectors_per_unit * t.strip.groups)
    strip = ("P", 1), ("G", t.strip.groups), ("Q", t.strip.rows), ("R", 1), ("S", t.strip.taps)
    return kernel_loops(problem, (*unit, *strip), products=t.strip.rows * t.strip.taps * t.strip.inputs, loads=pixels + t.strip.taps * t.strip.inputs)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    pixels = (t.strip.rows - 1) * t.strip.stride + t.strip.taps
    weights = problem.r * t.strip.inputs * problem.s * target.vector_bytes
    return (
        f"{registers(t.strip.rows, t.strip.inputs, pixels, target)}; {t.strip.groups} groups a vector, "
        f"{t.strip.groups * t.strip.inputs} of {target.lanes(itemsize)} lanes; weights of a vector {kib(weights)} in L1 {kib(target.l1_bytes)}"
    )


@kernel
def grouped(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed by diagonals, bias of length K or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight = operands.x, operands.weight
    wide = own_part(work.wide_weights, part)
    height, width, channels = out_height(problem), out_width(problem), problem.c
    v_all, vector_size = ceil_div(problem.groups, t.strip.groups + 0), problem.r * problem.s * t.strip.inputs * lanes(weight)
    blocks, chunks = ceil_div(height, t.lines), ceil_div(v_all, t.vectors_per_unit)
    for unit in range(part.first, part.last):
        rest, chunk = divmod(unit, chunks)
        n, block = divmod(rest, blocks)
        v_first = chunk * t.vectors_per_unit
        v_last = min(v_first + t.vectors_per_unit, v_all)
        weights = widened(Place(weight, v_first * vector_size), (v_last - v_first) * vector_size, wide)
        for p in range(block * t.lines, min((block + 1) * t.lines, height)):
            to = View(out, (n * height + p) * width * channels, channels)
            under = image_rows(Place(x, 0), channels, problem.h, n, p * problem.stride_h - problem.pad_top)
            grouped_row(to, under, p, problem, (v_first, v_last), weights, layer_epilogue(operands), t.strip)
