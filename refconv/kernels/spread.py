"""Grouped convolution with narrow groups of unequal width (and depthwise with a channel multiplier): whole groups share a vector.

    out[n, p, q, k] = bias[k] + sum_(r, j, s) x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w - pad_left, group(k)*C/G + j]
                                              * weight[k, j, r, s]

A pixel's vector is spread once into C/G vectors: in the j-th, every lane holds the j-th input of its own group. What is left for
each j is a depthwise convolution. A depthwise convolution with a channel multiplier is the case C/G = 1. Loops, outer to inner:

    unit: image n, block of t.lines output rows, block of t.vectors_per_unit vectors of output channels   (units run in parallel; weights that
          are halves are widened here)
        v  vectors of output channels
        q  strips of t.rows pixels          accumulators: t.rows registers
        p  rows of the block                new input rows are spread into `strip`, a ring of the kernel's reach in rows
        r, j, s                             slides over the strip: R * C/G * S * t.rows FMAs for (rows + S - 1) * C/G spreads
"""

from refconv.jit import kernel
from refconv.parts.staging import ONE, share, staged_count, staged_step, widened
from refconv.problem.conv import out_height, out_reach, out_width
from refconv.problem.loops import kernel_loops
from refconv.tile import add_row, lanes, length, load, slide, spread, store, zero
from refconv.tiling.words import kib, registers
from refconv.weights.packed import ceil_div


def vectors(problem, t):
    """Vectors of output channels."""
    return ceil_div(problem.groups, t.groups)


def units(problem, t):
    """Independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * ceil_div(vectors(problem, t), t.vectors_per_unit)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread; `wide_weights` is for tensors stored as halves."""
    columns = staged_count(t.rows, problem.stride_w, problem.s, problem.dilation_w)
    v_unit = min(t.vectors_per_unit, vectors(problem, t))
    return {
        "strip": out_reach(1, problem.r, 1, problem.dilation_h) * problem.c_group * columns * lanes,
        "wide_weights": v_unit * problem.r * problem.c_group * problem.s * lanes if half else 0,
    }


def loops(problem, t, lanes):
    """The loops of the docstring, down to a step of the register tile."""
    pixels = (t.rows - 1) * t.stride + t.taps  # those that a slide loads
    unit = ("N", 1), ("P", t.lines), ("G", t.vectors_per_unit * t.groups)
    strip = ("G", t.groups), ("Q", t.rows), ("P", 1), ("R", 1), ("C", 1), ("S", t.taps)
    return kernel_loops(problem, (*unit, *strip), products=t.rows * t.taps, loads=pixels + t.taps)


def explain(problem, t, itemsize, target):
    """One line for refconv.choose: the registers, and the bytes of what each cache is meant to hold."""
    strip = workspace(problem, t, target.lanes(itemsize), half=False)["strip"] * itemsize
    weights = problem.r * t.inputs * problem.s * target.vector_bytes
    return (
        f"{registers(t.rows, 1, t.taps, target)}; {t.groups} groups a vector, {t.groups * t.outputs} of {target.lanes(itemsize)} lanes; "
        f"spread strip {kib(strip)} and weights {kib(weights)} in L1 {kib(target.l1_bytes)}"
    )


@kernel
def spread_groups(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed spread, bias of length K or 0; all flat."""
    strip, weights = work
    strip_at, weights_at = share(strip, slot, slots), share(weights, slot, slots)
    height, width, n_lanes = out_height(problem), out_width(problem), lanes(weight)
    v_all = ceil_div(problem.groups, t.groups)
    blocks, chunks = ceil_div(height, t.lines), ceil_div(v_all, t.vectors_per_unit)
    columns = staged_count(t.rows, problem.stride_w, problem.s, problem.dilation_w)
    step = staged_step(problem.stride_w, problem.s, problem.dilation_w)
    slide_step = 1 if t.taps > 1 else step
    ring = out_reach(1, problem.r, 1, problem.dilation_h)
    row_size = t.inputs * columns * n_lanes
    for unit in range(first, last):
        rest, chunk = divmod(unit, chunks)
        n, block = divmod(rest, blocks)
        v_first = chunk * t.vectors_per_unit
        v_last = min(v_first + t.vectors_per_unit, v_all)
        vector_size = problem.r * t.inputs * problem.s * n_lanes
        near, near_at = widened(weight, v_first * vector_size, (v_last - v_first) * vector_size, weights, weights_at)
        for v in range(v_first, v_last):
            c, k = v * t.groups * t.inputs, v * t.groups * t.outputs
            k_columns = min(t.groups * t.outputs, problem.k - k)
            c_columns = min(t.groups * t.inputs, problem.c - c)
            for q_next in range(0, width, t.rows):
                q = min(q_next, width - t.rows)
                staged = block * t.lines * problem.stride_h  # rows above this one, counted with the padding, are in the ring
                for p in range(block * t.lines, min((block + 1) * t.lines, height)):
                    top = p * problem.stride_h
                    for row in range(max(staged, top), top + ring):
                        y = row - problem.pad_top
                        inside = 0 <= y < problem.h
                        at, x_at = strip_at + row % ring * row_size, (n * problem.h + y) * problem.w * problem.c + c
                        column, left = q * problem.stride_w - problem.pad_left, step
                        for _ in range(columns):
                            pixel = zero(ONE, ONE, out)
                            if inside and 0 <= column < problem.w:
                                pixel = load(ONE, ONE, x, x_at + column * problem.c, 0, c_columns)
                            spread(strip, at, columns * n_lanes, pixel, t.inputs, t.outputs)
                            at += n_lanes
                            column, left = column + 1, left - 1
                            if left == 0:  # past the reach of this window: on to the next
                                column, left = column + problem.stride_w - step, step
                    staged = top + ring
                    acc = zero(t.rows, ONE, out)
                    weight_at = near_at + (v - v_first) * vector_size
                    for r in range(problem.r):
                        at = strip_at + (top + r * problem.dilation_h) % ring * row_size
                        for _ in range(t.inputs):
                            for s in range(0, problem.s, t.taps):
                                s_at = at + s * problem.dilation_w * n_lanes
                                acc = slide(acc, t.taps, t.stride, strip, s_at, slide_step * n_lanes, n_lanes, 0, 1 << 30, near, weight_at, n_lanes)
                                weight_at += t.taps * n_lanes
                            at += columns * n_lanes
                    if length(bias) > 0:
                        acc = add_row(acc, load(ONE, ONE, bias, k, 0, k_columns))
                    store(out, ((n * height + p) * width + q) * problem.k + k, problem.k, acc, k_columns, q_next - q)
