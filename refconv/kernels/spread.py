"""Grouped convolution with narrow groups of unequal width (and depthwise with a channel multiplier): whole groups share a vector.

    out[n, p, q, k] = bias[k] + sum_(r, j, s) x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w - pad_left, group(k)*C/G + j]
                                              * weight[k, j, r, s]

A pixel's vector is spread once into C/G vectors: in the j-th, every lane holds the j-th input of its own group. What is left for
each j is a depthwise convolution. A depthwise convolution with a channel multiplier is the case C/G = 1. Loops, outer to inner:

    unit: image n, block of t.lines output rows, block of t.vectors_per_unit vectors of output channels   (units run in parallel; weights that
          are halves are widened here)
        v  vectors of output channels
        q  strips of t.strip.rows pixels          accumulators: t.strip.rows registers
        p  rows of the block                new input rows are spread into `strip`, a ring of the kernel's reach in rows
        r, j, s                             slides over the strip: R * C/G * S * t.strip.rows FMAs for (rows + S - 1) * C/G spreads
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.epilogue import from_channel, layer_epilogue, store_sums
from refconv.parts.operands import ONE
from refconv.parts.staging import staged_count, staged_step
from refconv.parts.workspace import own_part, widened
from refconv.problem.conv import out_height, out_reach, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import lanes, load, slide, spread, zero
from refconv.tile.operands import Place, View, Weights
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div


def vectors(problem, t):
    """Vectors of output channels."""
    return ceil_div(problem.groups, t.strip.groups)


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * ceil_div(vectors(problem, t), t.vectors_per_unit)


class Work(NamedTuple):
    """The ring of spread input rows; a unit's weights, widened from halves."""

    strip: Any
    wide_weights: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread."""
    columns = staged_count(t.strip.rows, problem.stride_w, problem.s, problem.dilation_w)
    v_unit = min(t.vectors_per_unit, vectors(problem, t))
    return Work(
        out_reach(1, problem.r, 1, problem.dilation_h) * problem.c_group * columns * lanes,
        v_unit * problem.r * problem.c_group * problem.s * lanes if half else 0,
    )


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    pixels = (t.strip.rows - 1) * t.strip.stride + t.strip.taps  # those that a slide loads
    unit = ("N", 1), ("P", t.lines), ("G", t.vectors_per_unit * t.strip.groups)
    strip = ("G", t.strip.groups), ("Q", t.strip.rows), ("P", 1), ("R", 1), ("C", 1), ("S", t.strip.taps)
    return kernel_loops(problem, (*unit, *strip), products=t.strip.rows * t.strip.taps, loads=pixels + t.strip.taps)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    shape = t.strip
    strip = workspace(problem, t, target.lanes(itemsize), half=False).strip * itemsize
    weights = problem.r * shape.inputs * problem.s * target.vector_bytes
    return (
        f"{registers(shape.rows, 1, shape.taps, target)}; {shape.groups} groups a vector, "
        f"{shape.groups * shape.outputs} of {target.lanes(itemsize)} lanes; "
        f"spread strip {kib(strip)} and weights {kib(weights)} in L1 {kib(target.l1_bytes)}"
    )


@kernel
def spread_groups(operands, out, work, problem, t, part):
    """Compute the units of the Part. operands: x NHWC, weight packed spread, bias of length K or 0, residual as out or empty; out NHWC;
    all flat."""
    x, weight = operands.x, operands.weight
    ring_place, wide, shape = own_part(work.strip, part), own_part(work.wide_weights, part), t.strip
    strip, rows, inputs, groups = ring_place.buffer, shape.rows + 0, shape.inputs + 0, shape.groups + 0
    height, width, n_lanes = out_height(problem), out_width(problem), lanes(weight)
    v_all = ceil_div(problem.groups, groups)
    blocks, chunks = ceil_div(height, t.lines), ceil_div(v_all, t.vectors_per_unit)
    columns = staged_count(rows, problem.stride_w, problem.s, problem.dilation_w)
    step = staged_step(problem.stride_w, problem.s, problem.dilation_w)
    slide_step = 1 if shape.taps > 1 else step
    ring = out_reach(1, problem.r, 1, problem.dilation_h)
    row_size, vector_size = inputs * columns * n_lanes, problem.r * inputs * problem.s * n_lanes
    for unit in range(part.first, part.last):
        rest, chunk = divmod(unit, chunks)
        n, block = divmod(rest, blocks)
        v_first = chunk * t.vectors_per_unit
        v_last = min(v_first + t.vectors_per_unit, v_all)
        weights = widened(Place(weight, v_first * vector_size), (v_last - v_first) * vector_size, wide)
        for v in range(v_first, v_last):
            c, k = v * groups * inputs, v * groups * shape.outputs
            k_columns = min(groups * shape.outputs, problem.k - k)
            c_columns = min(groups * inputs, problem.c - c)
            for q_next in range(0, width, rows):
                q = min(q_next, width - rows)
                staged = block * t.lines * problem.stride_h  # rows above this one, counted with the padding, are in the ring
                for p in range(block * t.lines, min((block + 1) * t.lines, height)):
                    top = p * problem.stride_h
                    for row in range(max(staged, top), top + ring):
                        y = row - problem.pad_top
                        inside = 0 <= y < problem.h
                        at, x_at = ring_place.at + row % ring * row_size, (n * problem.h + y) * problem.w * problem.c + c
                        column, left = q * problem.stride_w - problem.pad_left, step
                        for _ in range(columns):
                            pixel = zero(ONE, ONE, out)
                            if inside and 0 <= column < problem.w:
                                pixel = load(ONE, ONE, x, x_at + column * problem.c, 0, c_columns)
                            spread(strip, at, columns * n_lanes, pixel, shape.inputs, shape.outputs)
                            at += n_lanes
                            column, left = column + 1, left - 1
                            if left == 0:  # past the reach of this window: on to the next
                                column, left = column + problem.stride_w - step, step
                    staged = top + ring
                    acc = zero(shape.rows, ONE, out)
                    weight_at = weights.at + (v - v_first) * vector_size
                    for r in range(problem.r):
                        at = ring_place.at + (top + r * problem.dilation_h) % ring * row_size
                        for _ in range(inputs):
                            for s in range(0, problem.s, shape.taps):
                                pixels = View(strip, at + s * problem.dilation_w * n_lanes, slide_step * n_lanes)
                                acc = slide(acc, shape, pixels, None, None, None, Weights(weights.buffer, weight_at, None), None)
                                weight_at += shape.taps * n_lanes
                            at += columns * n_lanes
                    to = View(out, ((n * height + p) * width + q) * problem.k + k, problem.k)
                    store_sums(to, acc, k_columns, q_next - q, from_channel(layer_epilogue(operands), k), ONE)
