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
        q  strips of t.rows pixels          accumulators: t.rows * g registers
        r  kernel rows inside the image     the border is clipped
        s  t.taps columns a step            each pixel is loaded once and meets t.taps * g weights, which come from L1
"""

from refconv.jit import kernel
from refconv.layout import ceil_div
from refconv.problem import out_height, out_width
from refconv.tile import add_row, gather_diagonals, lanes, length, load, slide, store, zero
from refconv.tile.lines import ONE, share, widened


def units(problem, t):
    """Independent pieces of work."""
    return problem.n * ceil_div(problem.p, t.lines) * ceil_div(ceil_div(problem.groups, t.groups), t.vectors_per_unit)


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread: none but for tensors stored as halves, since the border is clipped."""
    vectors = min(t.vectors_per_unit, ceil_div(problem.groups, t.groups))
    return {"wide_weights": vectors * problem.r * problem.s * t.inputs * lanes if half else 0}


@kernel
def grouped(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight packed by diagonals, bias of length K or 0; all flat."""
    (weights,) = work
    weights_at = share(weights, slot, slots)
    height, width, n_lanes, channels = out_height(problem), out_width(problem), lanes(weight), problem.c
    v_all = ceil_div(problem.groups, t.groups)
    blocks, chunks = ceil_div(height, t.lines), ceil_div(v_all, t.vectors_per_unit)
    tap_size = t.inputs * n_lanes
    step = 1 if t.taps > 1 else problem.stride_w  # input columns from one pixel of a slide to the next
    pixels = (t.rows - 1) * t.stride + t.taps
    for unit in range(first, last):
        rest, chunk = divmod(unit, chunks)
        n, block = divmod(rest, blocks)
        v_first = chunk * t.vectors_per_unit
        v_last = min(v_first + t.vectors_per_unit, v_all)
        vector_size = problem.r * problem.s * tap_size
        near, near_at = widened(weight, v_first * vector_size, (v_last - v_first) * vector_size, weights, weights_at)
        for p in range(block * t.lines, min((block + 1) * t.lines, height)):
            for v in range(v_first, v_last):
                c = v * t.groups * t.inputs
                columns = min(t.groups * t.inputs, channels - c)
                for q_next in range(0, width, t.rows):
                    q = min(q_next, width - t.rows)
                    acc = zero(t.rows, t.inputs, out)
                    for r in range(problem.r):
                        y = p * problem.stride_h + r * problem.dilation_h - problem.pad_top
                        if 0 <= y < problem.h:
                            row_at, weight_at = (n * problem.h + y) * problem.w, near_at + ((v - v_first) * problem.r + r) * problem.s * tap_size
                            for s in range(0, problem.s, t.taps):
                                start = q * problem.stride_w + s * problem.dilation_w - problem.pad_left
                                inside, end = -(start // step), -((start - problem.w) // step)
                                x_at, w_at = (row_at + start) * channels + c, weight_at + s * tap_size
                                if inside <= 0 and end >= pixels and columns >= n_lanes:  # constants: no branch is left
                                    acc = slide(acc, t.taps, t.stride, x, x_at, step * channels, n_lanes, 0, 1 << 30, near, w_at, tap_size)
                                else:
                                    acc = slide(acc, t.taps, t.stride, x, x_at, step * channels, columns, inside, end, near, w_at, tap_size)
                    result = gather_diagonals(acc, t.inputs)
                    if length(bias) > 0:
                        result = add_row(result, load(ONE, ONE, bias, c, 0, columns))
                    store(out, ((n * height + p) * width + q) * channels + c, channels, result, columns, q_next - q)
