"""The mean over the pixels of each image, channel by channel: global average pooling.

    out[n, c] = (sum over pixels of x[n, pixel, c]) / pixels

    images
      blocks of VECTORS vectors of channels, then of one
        pixels, PIXELS at a time

Pixel i of whole groups of PIXELS is added to sum i % PIXELS; of those left over, the last to the last. The sums are then added by halves. That is
one order for every vector width, and PIXELS x VECTORS = 8 additions are under way: as many as hide the latency of each, four cycles at two a cycle.
"""

from refconv.jit import kernel, routine
from refconv.parts.operands import ONE
from refconv.static import Static
from refconv.tile import add_from, lanes, store, zero
from refconv.tile.registers import divided, sum_of_rows

PIXELS, VECTORS = Static(4), Static(2)


@routine
def mean_of_channels(x, at, out, to, maps, columns, vectors):
    """The means of `columns` channels of an image, the first of which lies at `at` in its first pixel."""
    sums, left = zero(PIXELS, vectors, x), maps.pixels % PIXELS
    for i in range(maps.pixels // PIXELS):
        sums = add_from(sums, x, at + i * PIXELS * maps.channels, maps.channels, columns, 0)
    if left > 0:
        sums = add_from(sums, x, at + (maps.pixels - PIXELS) * maps.channels, maps.channels, columns, PIXELS - left)
    store(out, to, 0, divided(sum_of_rows(sums), maps.pixels), columns, 0)


@kernel
def map_mean(x, out, maps):
    """x (n, pixels, channels) and out (n, channels) of a MapMean, both flat, of one element type."""
    pixels, channels, n_lanes = maps.pixels, maps.channels, lanes(x)
    wide = VECTORS * n_lanes
    whole = channels // wide * wide
    for n in range(maps.n):
        at, to = n * pixels * channels, n * channels
        for c in range(0, whole, wide):
            mean_of_channels(x, at + c, out, to + c, maps, wide, VECTORS)
        for c in range(whole, channels, n_lanes):
            mean_of_channels(x, at + c, out, to + c, maps, channels - c, ONE)
