"""The gates of squeeze-excitation, from the sums that mbconv has pooled: two small matrices an image.

    gate[n] = g(activation(mean[n] @ R + b1) @ E + b2),   mean[n, c] = sum over parts and pixels of pooled[part, n, c] / pixels

Source: Hu et al., "Squeeze-and-Excitation Networks". Units are images.
"""

from typing import Any, NamedTuple

from refconv.jit import kernel, routine
from refconv.parts.channel_blocks import Channels, channel_blocks
from refconv.parts.dense import dense_weights
from refconv.parts.epilogue import inside_block
from refconv.parts.feed_forward import odd_pitch
from refconv.parts.matrix import matrix_block
from refconv.parts.operands import ONE, Span, as_source
from refconv.parts.workspace import own_part
from refconv.tile import add_row, lanes, load, store, zero
from refconv.tile.operands import Place, View, moved, shifted
from refconv.tile.registers import scaled


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n


class Operands(NamedTuple):
    """The pooled sums, the matrices packed dense, their biases (of length 0: none)."""

    pooled: Any
    reduce: Any
    expand: Any
    reduce_bias: Any
    expand_bias: Any


class Work(NamedTuple):
    """Means of an image, squeezed channels, a block of weights widened from halves."""

    means: Any
    squeezed: Any
    wide_weights: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread."""
    return Work(problem.hidden, problem.squeezed, t.tile.vectors * max(problem.hidden, problem.squeezed) * lanes if half else 0)


class _Vector(NamedTuple):
    to: View
    source: View
    depth: int
    bias: Place
    activation: Any


@routine
def _channels(vector, k, columns, weights, tile):
    to, source, span = shifted(vector.to, k), as_source(vector.source), Span(0, 1, vector.depth)
    matrix_block(to, columns, source, span, weights, inside_block(moved(vector.bias, k), vector.activation), None, None, tile)


@routine
def _product(vector, channels, weights, wide, tile):
    """A matrix times a vector: whole blocks of the tile's vectors of `channels` channels, then the others a vector at a time."""
    wide_block = tile.vectors * lanes(weights.buffer)
    whole = channels // wide_block * wide_block
    channel_blocks(_channels, vector, Channels(0, whole, channels), weights, wide, tile)
    channel_blocks(_channels, vector, Channels(whole, channels, channels), weights, wide, tile.narrow)


@kernel
def squeeze_excite(operands, out, work, problem, t, part):
    """Compute the units of the Part. out (N, hidden); all flat."""
    means, squeezed, wide = own_part(work.means, part), own_part(work.squeezed, part), own_part(work.wide_weights, part)
    n_lanes, hidden, narrow = lanes(operands.expand), problem.hidden, problem.squeezed
    pitch = odd_pitch(hidden, n_lanes)
    mean, inner = View(means.buffer, means.at, hidden), View(squeezed.buffer, squeezed.at, narrow)
    reduce, expand = dense_weights(operands.reduce, 0, hidden), dense_weights(operands.expand, 0, narrow)
    for n in range(part.first, part.last):
        for c in range(0, hidden, n_lanes):
            total = zero(ONE, ONE, means.buffer)
            for i in range(problem.parts):
                total = add_row(total, load(ONE, ONE, operands.pooled, (i * problem.n + n) * pitch + c, 0, hidden - c))
            store(means.buffer, means.at + c, 0, scaled(total, 1.0 / problem.pixels), hidden - c, 0)
        first = _Vector(inner, mean, hidden, Place(operands.reduce_bias, 0), problem.activation)
        _product(first, narrow, reduce, wide, t.tile)
        second = _Vector(View(out, n * hidden, hidden), inner, narrow, Place(operands.expand_bias, 0), problem.gate)
        _product(second, hidden, expand, wide, t.tile)
