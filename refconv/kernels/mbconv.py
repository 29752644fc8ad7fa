"""MBConv in one kernel: expand, a depthwise or grouped convolution, project; the hidden rows live in a ring.

    e = activation(x @ U + b1);  m[n, p, q] = activation(conv(e)[n, p, q] + b);  out = x + b2 + m @ V

With squeeze-excitation m is multiplied by gate[n]: here V is, row by row, which is the same and less work. The convolution is in the
middle, so its halo is of hidden rows. Rows of e stay in `ring` as long as a window wants them: within a unit
nothing is computed twice, at the edges between units the kernel's reach less the stride is. A unit of all rows of a thread is the mode
halo="cache"; units of t.step rows make every halo anew, halo="recompute". Source of the block: Lavin, "On the Efficiency of
Convolutional Neural Networks"; both modes and the loops are derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        p  steps of t.step output rows
            the input rows that are new under them, expanded into `ring`
            the rows convolved into `hidden`
            projected to the output, or with block.pool > 0 only added up in `pooled`, for squeeze-excitation
"""

from refconv.jit import kernel, routine
from refconv.parts.convolve import DENSE, convolve_rows
from refconv.parts.feed_forward import first_sums, odd_pitch, project_chunk
from refconv.parts.gates import gate_weights, projection_size
from refconv.parts.matrix import matrix_block
from refconv.parts.staging import FOUR, ONE, Rows, fill, row_place, share, staged_count, wide, widen, widened
from refconv.problem.conv import out_height, out_width
from refconv.problem.fused import middle_conv
from refconv.tile import add_row, lanes, length, load, store
from refconv.weights.packed import ceil_div


@routine
def ring_rows(block, t):
    """Rows of hidden pixels under t.step output rows."""
    return (t.step - 1) * block.stride + block.r


def units(block, t):
    """Independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread; `wide_*` are for tensors stored as halves."""
    conv, held, pitch = middle_conv(block), ring_rows(block, t), odd_pitch(block.hidden, lanes)
    staged = 0
    if t.conv_kind == DENSE:
        staged = staged_count(t.step, conv.stride_h, conv.r, 1) * staged_count(conv.q, conv.stride_w, conv.s, 1) * conv.c_group
    return {
        "ring": held * block.w * pitch,
        "hidden": t.step * conv.q * pitch,
        "sums": t.step * conv.q * block.k if half else 0,
        "pooled": block.n * pitch if block.gated else 0,
        "projection": projection_size(block, lanes, half),
        "lines": staged,
        "wide_pixels": held * block.w * block.c if half else 0,
        "wide_weights": t.expand_vectors * block.c * lanes if half else 0,
        "wide_conv": block.conv_size if half else 0,
        "absent": 0,
    }


def recomputed_macs(block, t, squeeze="recompute"):
    """Multiply-adds beyond those of the layers: hidden rows that several units make and, where gates are not spilled for, all of the first pass."""
    conv, rows, passes = middle_conv(block), 0, 2 if block.gated and squeeze == "recompute" else 1
    for first in range(0, block.p, t.lines):
        last = min(first + t.lines, block.p)
        made = first * block.stride - conv.pad_top
        for p in range(first, last, t.step):
            top, end = p * block.stride - conv.pad_top, (min(p + t.step, last) - 1) * block.stride - conv.pad_top + block.r
            rows += max(0, min(end, block.h) - max(made, top, 0))
            made = end
    row_macs = block.n * block.w * block.c * block.hidden
    return max(0, passes * rows - block.h) * row_macs + (passes - 1) * conv.macs


@routine
def expand_rows(ring, rows, x, x_at, made, first, last, block, weight, bias, wide_weights, weights_at, wide_pixels, pixels_at, absent, t):
    """Input rows first to last-1 of the image at x_at expanded into the ring, whose first row is row `made`."""
    n_lanes = lanes(weight)
    stride = block.c * n_lanes
    for k in range(0, block.hidden, t.expand_vectors * n_lanes):
        near, near_at = widened(weight, k // n_lanes * stride, t.expand_vectors * stride, wide_weights, weights_at)
        for y in range(first, last):
            at = x_at + y * block.w * block.c
            source, source_at = wide(x, at, wide_pixels, pixels_at + (y - first) * block.w * block.c)
            to = ring, row_place(rows, y - made, block.w) + k, rows.pitch, block.hidden - k
            pixels = source, source_at, block.c, 0, block.w, block.c, near, near_at, stride, bias, k
            rest = absent, 0, 0, x, at, k == 0, x, at, 0, 1, 0, block.activation, t.expand_rows
            if block.hidden - k > t.expand_tail * n_lanes:
                matrix_block(*to, *pixels, *rest, t.expand_vectors)
            else:
                matrix_block(*to, *pixels, *rest, t.expand_tail)


@routine
def add_pixels(sums, sums_at, hidden, hidden_at, pitch, pixels, channels, out, out_at, spill):
    """sums[c] += sum of the pixels' channel c; with spill > 0 the pixels are copied to out as well."""
    step = 4 * lanes(hidden)
    for c in range(0, channels, step):
        total = load(ONE, FOUR, sums, sums_at + c, 0, channels - c)
        for i in range(pixels):
            pixel = load(ONE, FOUR, hidden, hidden_at + i * pitch + c, 0, channels - c)
            total = add_row(total, pixel)
            if spill > 0:
                store(out, out_at + i * channels + c, 0, pixel, channels - c, 0)
        store(sums, sums_at + c, 0, total, channels - c, 0)


@kernel
def mbconv(x, weight, bias, out, work, block, t, slot, slots, first, last):
    """Units first to last-1. x and out NHWC, weight (expand, conv, project) packed, bias (expand, conv, project, gates), each may be absent.

    With block.pool > 0 nothing is projected: this thread's part of `pooled` holds the sums over its pixels of every image's hidden
    channels, and with block.pool = 2 out is the hidden layer itself.
    """
    (expand, conv_weight, project), (expand_bias, conv_bias, project_bias, gates) = weight, bias
    ring, hidden, sums, pooled, projection, lines, pixels, weights, conv_wide, absent = work
    ring_at, hidden_at, sums_at = share(ring, slot, slots), share(hidden, slot, slots), share(sums, slot, slots)
    pooled_at, projection_at, lines_at = share(pooled, slot, slots), share(projection, slot, slots), share(lines, slot, slots)
    pixels_at, weights_at = share(pixels, slot, slots), share(weights, slot, slots)
    near, near_at = widened(conv_weight, 0, block.conv_size, conv_wide, share(conv_wide, slot, slots))
    conv, n_lanes, held = middle_conv(block), lanes(expand), ring_rows(block, t)
    height, width, pitch = out_height(conv), out_width(conv), odd_pitch(block.hidden, n_lanes)
    blocks, wide_size = ceil_div(height, t.lines), length(project)
    plain, plain_at = widened(project, 0, wide_size, projection, projection_at)
    matrix, matrix_at, gated_image = plain, plain_at, -1
    if block.pool > 0:
        fill(pooled, pooled_at, block.n * pitch)
    for unit in range(first, last):
        n, row = divmod(unit, blocks)
        if block.gated > 0 and block.pool == 0 and n != gated_image:
            widen(projection, projection_at, project, 0, wide_size)
            gate_weights(projection, projection_at, plain, plain_at, gates, n * block.hidden, block.hidden, block.k)
            matrix, matrix_at, gated_image = projection, projection_at, n
        base = row * t.lines * block.stride - conv.pad_top  # the row that lies in slot 0
        made = base
        for p in range(row * t.lines, min((row + 1) * t.lines, height), t.step):
            count = min(t.step, min((row + 1) * t.lines, height) - p)
            top = p * block.stride - conv.pad_top
            end = top + (count - 1) * block.stride + block.r
            new = max(made, max(top, 0))
            made = end
            at, x_at = (n * height + p) * width, n * block.h * block.w * block.c
            rows = Rows(ring_at, pitch, (top - base) % held, held)
            of_pixels = weights, weights_at, pixels, pixels_at, absent
            expand_rows(ring, rows, x, x_at, top, new, min(end, block.h), block, expand, expand_bias, *of_pixels, t)
            to, those = (hidden, hidden_at, pitch), (near, near_at, conv_bias, block.activation, lines, lines_at)
            convolve_rows(to, ring, rows, p, count, conv, *those, t)
            if block.pool > 0:
                chunk = hidden, hidden_at, pitch, count * width, block.hidden, out, at * block.hidden, block.pool - 1
                add_pixels(pooled, pooled_at + n * pitch, *chunk)
            else:
                added, added_at = first_sums(x, at * block.c, block.residual, 0, count * width, block.k, sums, sums_at, absent)
                places = matrix, matrix_at, project_bias, added, added_at, hidden, hidden_at, pitch, sums, sums_at, projection, projection_at, absent
                project_chunk(out, at * block.k, 0, count * width, 0, block.hidden, block.hidden, block.k, *places, t)
