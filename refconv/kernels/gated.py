"""The end of an MBConv whose hidden layer has been spilled: project, and the input again where the shape is kept.

    out[n, p, q] = x[n, p, q] + b2 + hidden[n, p, q] @ (gate[n] * V)

What squeeze-excitation costs when nothing is computed twice: the hidden layer written and read once, in cache or DRAM as its size wants.
Derived here. Loops, outer to inner:

    unit: image n, block of t.pixels pixels              (units run in parallel)
        projected (parts/feed_forward.py)
"""

from refconv.jit import kernel
from refconv.parts.feed_forward import first_sums, project_chunk
from refconv.parts.gates import gate_weights, projection_size
from refconv.parts.staging import share, widen, widened
from refconv.tile import length
from refconv.weights.packed import ceil_div


def units(block, t):
    """Independent pieces of work."""
    return block.n * ceil_div(block.p * block.q, t.pixels)


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread; `wide_pixels` is for tensors stored as halves."""
    pixels = min(t.pixels, block.p * block.q)
    return {
        "sums": pixels * block.k if half else 0,
        "projection": projection_size(block, lanes, half),
        "wide_pixels": pixels * block.hidden if half else 0,
        "absent": 0,
    }


@kernel
def gated(x, weight, bias, out, work, block, t, slot, slots, first, last):
    """Units first to last-1. x: the spilled hidden layer, NHWC; weight (project,) packed dense; bias (K or 0, gates, the block's input)."""
    (project,), (project_bias, gates, residual), (sums, projection, wide, absent) = weight, bias, work
    sums_at, projection_at, wide_at = share(sums, slot, slots), share(projection, slot, slots), share(wide, slot, slots)
    all_pixels = -(-block.h // block.stride) * -(-block.w // block.stride)
    blocks, size, gated_image = ceil_div(all_pixels, t.pixels), length(project), -1
    plain, plain_at = widened(project, 0, size, projection, projection_at)
    for unit in range(first, last):
        n, part = divmod(unit, blocks)
        if n != gated_image:
            widen(projection, projection_at, project, 0, size)
            gate_weights(projection, projection_at, plain, plain_at, gates, n * block.hidden, block.hidden, block.k)
            gated_image = n
        count, at = min(t.pixels, all_pixels - part * t.pixels), n * all_pixels + part * t.pixels
        base, base_at = first_sums(residual, at * block.c, block.residual, 0, count, block.k, sums, sums_at, absent)
        pixels, pixels_at = widened(x, at * block.hidden, count * block.hidden, wide, wide_at)
        places = (
            projection,
            projection_at,
            project_bias,
            base,
            base_at,
            pixels,
            pixels_at,
            block.hidden,
            sums,
            sums_at,
            projection,
            projection_at,
            absent,
        )
        project_chunk(out, at * block.k, 0, count, 0, block.hidden, block.hidden, block.k, *places, t)
