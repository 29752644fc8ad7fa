"""The end of an MBConv whose hidden layer has been spilled: gates, project, and the input again where the shape is kept.

    out[n, p, q] = x[n, p, q] + b2 + (hidden[n, p, q] * gate[n]) @ V

What squeeze-excitation costs when nothing is computed twice: the hidden layer written and read once, in cache or DRAM as its size wants.
Derived here. Loops, outer to inner:

    unit: image n, block of t.pixels pixels              (units run in parallel)
        the pixels gated into `hidden`, then projected (tile/feed_forward.py)
"""

from refconv.jit import kernel
from refconv.layout import ceil_div
from refconv.tile import lanes, load, multiply_row, store
from refconv.tile.feed_forward import begin_sums, odd_pitch, project_chunk
from refconv.tile.lines import ONE, share


def units(block, t):
    """Independent pieces of work."""
    return block.n * ceil_div(block.p * block.q, t.pixels)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread; `wide_weights` is for tensors stored as halves."""
    pixels = min(t.pixels, block.p * block.q)
    return {
        "hidden": pixels * odd_pitch(block.hidden, lanes),
        "sums": pixels * block.k,
        "wide_weights": t.project_vectors * block.hidden * lanes if half else 0,
        "absent": 0,
    }


@kernel
def gated(x, weight, bias, out, work, block, t, slot, slots, first, last):
    """Units first to last-1. x: the spilled hidden layer, NHWC; weight (project,) packed dense; bias (K or 0, gates, the block's input); all flat."""
    (project,), (project_bias, gates, residual), (hidden, sums, wide, absent) = weight, bias, work
    hidden_at, sums_at, wide_at = share(hidden, slot, slots), share(sums, slot, slots), share(wide, slot, slots)
    n_lanes, pitch, all_pixels = lanes(project), odd_pitch(block.hidden, lanes(project)), -(-block.h // block.stride) * -(-block.w // block.stride)
    blocks = ceil_div(all_pixels, t.pixels)
    for unit in range(first, last):
        n, part = divmod(unit, blocks)
        count = min(t.pixels, all_pixels - part * t.pixels)
        at = n * all_pixels + part * t.pixels
        for c in range(0, block.hidden, n_lanes):
            gate = load(ONE, ONE, gates, n * block.hidden + c, 0, block.hidden - c)
            for i in range(count):
                pixel = load(ONE, ONE, x, (at + i) * block.hidden + c, 0, block.hidden - c)
                store(hidden, hidden_at + i * pitch + c, 0, multiply_row(pixel, gate), block.hidden - c, 0)
        begin_sums(sums, sums_at, residual, at * block.c, block.residual, project_bias, 0, count, block.k)
        places = hidden, hidden_at, pitch, sums, sums_at, wide, wide_at, absent
        project_chunk(out, at * block.k, 0, count, 0, block.hidden, block.hidden, block.k, project, *places, t)
