"""The one loop over blocks of output channels: blocks of a tile's vectors, their weights widened, a narrower tile for what is left."""

from typing import NamedTuple

from refconv.jit import routine
from refconv.parts.workspace import widened_weights
from refconv.tile.instructions import lanes
from refconv.tile.operands import Weights


class Channels(NamedTuple):
    """Output channels first <= k < last of `total` (those of a group), in blocks of a tile's vectors."""

    first: int
    last: int
    total: int


@routine
def channel_blocks(block, operands, channels, weights, wide, tile):
    """block(operands, k, columns, weights of the block, tile) for every block of output channels, k being its first.

    weights: the Weights of all channels from 0 on; wide: the Place a block of halves is widened to, or None. The tile is the narrower one
    of the last block where that has no more vectors; columns: the channels from k on.
    """
    n_lanes = lanes(weights.buffer)
    for k in range(channels.first, channels.last, tile.vectors * n_lanes):
        stored = Weights(weights.buffer, weights.at + k // n_lanes * weights.stride, weights.stride)
        near = widened_weights(stored, tile.vectors * weights.stride, wide)
        columns = channels.total - k
        if columns > tile.tail * n_lanes:
            block(operands, k, columns, near, tile)
        else:
            block(operands, k, columns, near, tile.narrow)
