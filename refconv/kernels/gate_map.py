"""Each channel of an image times a number of its own: the gates of squeeze-excitation, alone.

    out[n, i, c] = x[n, i, c] * gates[n, c]

images
  pixels
    blocks of four vectors of channels
"""

from refconv.jit import kernel
from refconv.parts.copy import FOUR
from refconv.parts.operands import ONE
from refconv.tile import lanes, load, multiply_row, store


@kernel
def gate_map(x, gates, out, maps):
    """x and out (n, pixels, channels) and gates (n, channels) of a GatedMap, flat, of one element type; out may be x."""
    channels, wide, at = maps.channels, FOUR * lanes(x), 0
    for n in range(maps.n):
        for _ in range(maps.pixels):
            for c in range(0, channels, wide):
                row = load(ONE, FOUR, gates, n * channels + c, 0, channels - c)
                store(out, at + c, 0, multiply_row(load(ONE, FOUR, x, at + c, 0, channels - c), row), channels - c, 0)
            at += channels
