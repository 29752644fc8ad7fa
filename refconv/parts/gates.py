"""The gates of squeeze-excitation, applied to what there is less of: to the hidden pixels of an image, or to the weights that they meet next:

    (gate * hidden) @ V = hidden @ (gate * V)

A map of more pixels than the block has output channels needs no pass over its hidden layer. On the last maps of a network it is the other way round:
49 pixels meet a matrix of 320 outputs, and that is beyond the L2 besides. Derived here.
"""

from refconv.jit import routine
from refconv.parts.copy import FOUR
from refconv.parts.operands import ONE
from refconv.tile import lanes, load, multiply_row, outer, store, zero
from refconv.weights.packed import packed_size


@routine
def gates_pixels(block):
    """Whether a block's gates are applied to its hidden pixels: by its sizes alone, so that nothing else has a part in how results are rounded."""
    return block.gated > 0 and block.p * block.q < block.k


def projection_size(block, lanes, half):
    """Elements of the projection's weights where they are not used as they are: widened, or multiplied by gates."""
    weights_gated = block.gated and not gates_pixels(block)
    return packed_size((block.k, block.hidden, 1, 1), 1, "dense", lanes) if half or weights_gated else 0


@routine
def gate_weights(scaled, weights, gates, hidden, channels):
    """scaled[h, k] = gates[h] * weights[h, k]: the weights of a projection, packed dense, with the gates of one image in them; all Places."""
    n_lanes = lanes(weights.buffer)
    for k in range(0, channels, n_lanes):
        for h in range(hidden):
            at = k * hidden + h * n_lanes
            row = outer(zero(ONE, ONE, scaled.buffer), gates.buffer, gates.at + h, 0, weights.buffer, weights.at + at, n_lanes)
            store(scaled.buffer, scaled.at + at, 0, row, n_lanes, 0)


@routine
def gate_pixels(to, hidden, pixels, gates, channels):
    """to[i, c] = gates[c] * hidden[i, c] for so many pixels and channels: to, hidden: Views, which may be the same; gates: a Place."""
    for c in range(0, channels, FOUR * lanes(to.buffer)):
        row, left = load(ONE, FOUR, gates.buffer, gates.at + c, 0, channels - c), channels - c
        for i in range(pixels):
            pixel = load(ONE, FOUR, hidden.buffer, hidden.at + i * hidden.pitch + c, 0, left)
            store(to.buffer, to.at + i * to.pitch + c, 0, multiply_row(pixel, row), left, 0)
