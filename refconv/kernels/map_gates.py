"""A map times gates, a factor for each channel of each image: squeeze-excitation and global response normalisation where no block is fused.

    out[n, pixel, c] = x[n, pixel, c] * gates[n, c]

    images
      pixels
        blocks of VECTORS vectors of channels, then of one

The map streams by once, in the order in which it lies; the gates of an image stay in the L1. out may be x.
"""

from refconv.jit import kernel, routine
from refconv.parts.operands import ONE
from refconv.static import Static
from refconv.tile import lanes, load, multiply_row, store

VECTORS = Static(4)


@routine
def gated_channels(x, at, gates, of_image, out, columns, vectors):
    """`columns` channels of a pixel, the first of which lies at `at`, times their gates."""
    row = load(ONE, vectors, gates, of_image, 0, columns)
    store(out, at, 0, multiply_row(load(ONE, vectors, x, at, 0, columns), row), columns, 0)


@kernel
def map_gates(x, gates, out, maps):
    """x and out (n, pixels, channels), gates (n, channels) of a MapGates, all flat, of one element type."""
    pixels, channels, n_lanes = maps.pixels, maps.channels, lanes(x)
    wide = VECTORS * n_lanes
    whole = channels // wide * wide
    for n in range(maps.n):
        for i in range(n * pixels, (n + 1) * pixels):
            at, of_image = i * channels, n * channels
            for c in range(0, whole, wide):
                gated_channels(x, at + c, gates, of_image + c, out, wide, VECTORS)
            for c in range(whole, channels, n_lanes):
                gated_channels(x, at + c, gates, of_image + c, out, channels - c, ONE)
