"""The largest or the mean of each window of a map, channel by channel: max pooling and average pooling.

    out[n, p, q, c] = max or mean over the window's pixels in the map of x[n, p * stride_h + r - pad_top, q * stride_w + s - pad_left, c]

    images
      output pixels
        blocks of VECTORS vectors of channels, then of one
          rows and columns of the window that lie in the map

Windows are clipped, so that nothing is padded; one that lies in the padding altogether is -inf, or 0 / 0. Sums run in the order of the loops. The
larger of two takes three instructions, one of them to keep NaN, of which a core starts two a cycle: VECTORS of them, one independent of the other,
take the six cycles after which the first has its result.
"""

from refconv.jit import kernel, routine
from refconv.parts.operands import ONE
from refconv.static import Static
from refconv.tile import add_row, lanes, load, store, zero
from refconv.tile.registers import divided, filled, larger

VECTORS = Static(4)


@routine
def begun(vectors, x, mean):
    """What a window's result begins with."""
    if mean is None:
        return filled(zero(ONE, vectors, x), -float("inf"))
    return zero(ONE, vectors, x)


@routine
def met(result, pixel, mean):
    """A window's result with one more pixel."""
    if mean is None:
        return larger(result, pixel)
    return add_row(result, pixel)


@routine
def ended(result, pool, p, q, mean):
    """The result of window (p, q) as it is stored."""
    if mean is None:
        return result
    return divided(result, counted(pool.rows, p, mean.padded) * counted(pool.columns, q, mean.padded))


@routine
def counted(axis, i, padded):
    """How many elements of window i along an axis its mean is over: those in the map, and those in the padding where padded is 1, not 0."""
    at = i * axis.stride - axis.before
    return max(0, min(at + axis.taps, axis.size + padded * axis.after) - max(at, -padded * axis.before))


@routine
def clipped(axis, i):
    """(first, end) of the elements of window i along an axis that lie in the map."""
    at = i * axis.stride - axis.before
    return max(at, 0), min(at + axis.taps, axis.size)


@routine
def window(x, at, rows, columns, pool, channels, vectors):
    """What becomes of so many `channels` of the pixels in rows x columns, the first of which begins at `at`."""
    result, pitch = begun(vectors, x, pool.mean), pool.columns.size * pool.channels
    for r in range(rows):
        for s in range(columns):
            result = met(result, load(ONE, vectors, x, at + r * pitch + s * pool.channels, 0, channels), pool.mean)
    return result


@kernel
def pool_windows(x, out, pool):
    """x (n, h, w, channels) and out (n, p, q, channels) of a Pool, both flat, of one element type."""
    channels, n_lanes, to = pool.channels, lanes(x), 0
    wide = VECTORS * n_lanes
    whole = channels // wide * wide
    for n in range(pool.n):
        for p in range(pool.rows.count):
            top, bottom = clipped(pool.rows, p)
            row = n * pool.rows.size + top
            for q in range(pool.columns.count):
                left, right = clipped(pool.columns, q)
                at, rows, columns = (row * pool.columns.size + left) * channels, bottom - top, right - left
                for c in range(0, whole, wide):
                    result = window(x, at + c, rows, columns, pool, wide, VECTORS)
                    store(out, to + c, 0, ended(result, pool, p, q, pool.mean), wide, 0)
                for c in range(whole, channels, n_lanes):
                    last = window(x, at + c, rows, columns, pool, channels - c, ONE)
                    store(out, to + c, 0, ended(last, pool, p, q, pool.mean), channels - c, 0)
                to += channels
