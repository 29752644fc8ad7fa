"""Copies between buffers, in whole vectors."""

from refconv.jit import routine
from refconv.static import Static
from refconv.tile.instructions import lanes, load, store, zero

ONE, FOUR = Static(1), Static(4)


@routine
def copy(out, out_at, x, x_at, elements):
    """out[out_at + i] = x[x_at + i] for i < elements: four whole vectors at a time, without a branch, then what is left."""
    n = lanes(x)
    whole = elements - elements % (4 * n)
    for i in range(0, whole, 4 * n):
        store(out, out_at + i, 0, load(ONE, FOUR, x, x_at + i, 0, 4 * n), 4 * n, 0)
    for i in range(whole, elements, n):
        store(out, out_at + i, 0, load(ONE, ONE, x, x_at + i, 0, elements - i), elements - i, 0)


@routine
def copy_pixels(out, out_at, x, x_at, pitch, channels, count):
    """The first `channels` elements of `count` pixels, `pitch` elements apart, side by side: of a vector or less, four pixels at a time."""
    whole = count - count % 4 if channels <= lanes(x) else 0
    for i in range(0, whole, 4):
        store(out, out_at + i * channels, channels, load(FOUR, ONE, x, x_at + i * pitch, pitch, channels), channels, 0)
    for i in range(whole, count):
        copy(out, out_at + i * channels, x, x_at + i * pitch, channels)


@routine
def fill(out, out_at, elements):
    """out[out_at + i] = 0 for i < elements."""
    n = lanes(out)
    for i in range(0, elements, n):
        store(out, out_at + i, 0, zero(ONE, ONE, out), elements - i, 0)
