"""The gates of squeeze-excitation, applied to the hidden layer through the weights that it meets next: (gate * hidden) @ V = hidden @ (gate * V).

The weights are fewer than the hidden pixels, and no pass over those is needed. Derived here.
"""

from refconv.jit import routine
from refconv.parts.operands import ONE
from refconv.tile.instructions import lanes, outer, store, zero
from refconv.weights.packed import packed_size


def projection_size(block, lanes, half):
    """Elements of the projection's weights where they are not used as they are: widened, or multiplied by gates."""
    return packed_size((block.k, block.hidden, 1, 1), 1, "dense", lanes) if half or block.gated else 0


@routine
def gate_weights(scaled, weights, gates, hidden, channels):
    """scaled[h, k] = gates[h] * weights[h, k]: the weights of a projection, packed dense, with the gates of one image in them; all Places."""
    n_lanes = lanes(weights.buffer)
    for k in range(0, channels, n_lanes):
        for h in range(hidden):
            at = k * hidden + h * n_lanes
            row = outer(zero(ONE, ONE, scaled.buffer), gates.buffer, gates.at + h, 0, weights.buffer, weights.at + at, n_lanes)
            store(scaled.buffer, scaled.at + at, 0, row, n_lanes, 0)
