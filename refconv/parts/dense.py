"""The inner part of a dense convolution: staged lines (parts/staging.py) times a block of vectors of output channels."""

from refconv.jit import routine
from refconv.parts.staging import ONE, staged_count, staged_step
from refconv.problem.conv import out_width
from refconv.static import Static
from refconv.tile.activations import activate
from refconv.tile.instructions import lanes, length, load, outer, prefetch, store, zero
from refconv.tile.registers import add_row

L2 = Static(2)


@routine
def window(acc, lines, at, line_stride, conv, channels, weight, weight_at, vector_stride, ahead, ahead_at):
    """acc[q] + sum_(r, s, c) line r * dilation_h, pixel q + s * dilation_w, channel c of the staged lines * weight[r, s, c].

    `at` is the first pixel's first element; successive q are one staged step apart. Weights run on in the order r, s, c, a vector each.
    With every step `ahead` more elements of the weights from `ahead_at` on are called into the L2 (0: none).
    """
    n = lanes(weight)
    pixel_step = staged_step(conv.stride_w, conv.s, conv.dilation_w) * channels
    runs, run = (1, conv.s * channels) if conv.dilation_w == 1 else (conv.s, channels)
    for r in range(conv.r):
        for s in range(runs):
            tap_at = at + r * conv.dilation_h * line_stride + s * conv.dilation_w * channels
            for i in range(run):
                acc = outer(acc, lines, tap_at + i, pixel_step, weight, weight_at, vector_stride)
                weight_at += n
                if ahead > 0:
                    prefetch(weight, ahead_at, L2)
                    ahead_at += ahead
    return acc


@routine
def dense_block(
    out, out_at, pixel_stride, columns, lines, lines_at, conv, channels, count, weight, weight_at, bias, bias_at, activation, rows, vectors, ahead
):  # fmt: skip
    """`count` output rows of one block of `vectors` vectors of output channels, of which `columns` exist, from the lines staged for them.

    The result is activation(sum + bias). out_at is the block's first pixel's first channel, pixel_stride the elements between neighbouring
    pixels; weight_at and bias_at are the block's. The last tile of a row is moved back to overlap its neighbour; what the neighbour has stored
    is not stored again.
    """
    width, depth = out_width(conv), conv.r * conv.s * channels
    line = staged_count(width, conv.stride_w, conv.s, conv.dilation_w) * channels
    step_h = staged_step(conv.stride_h, conv.r, conv.dilation_h) * line
    step_w = staged_step(conv.stride_w, conv.s, conv.dilation_w) * channels
    vector_stride = depth * lanes(weight)
    ahead_at = weight_at + vectors * vector_stride
    for p in range(count):
        for q_next in range(0, width, rows):
            q = min(q_next, width - rows)
            acc = zero(rows, vectors, out)
            acc = window(acc, lines, lines_at + p * step_h + q * step_w, line, conv, channels, weight, weight_at, vector_stride, ahead, ahead_at)
            ahead_at += ahead * depth
            if length(bias) > 0:
                acc = add_row(acc, load(ONE, vectors, bias, bias_at, 0, columns))
            store(out, out_at + (p * width + q) * pixel_stride, pixel_stride, activate(acc, activation), columns, q_next - q)
