"""The gates of global response normalisation, from the sums of the squares of every hidden channel over the map.

    norm[n, c] = sqrt(sum over parts of pooled[part, n, c])
    gate[n, c] = 1 + weight[c] * norm[n, c] / (mean over channels of norm[n] + eps)

Source: Woo et al., "ConvNeXt V2" (arXiv 2301.00808), Sec. 3; its x * gate + bias is what the block's projection meets (parts/gates.py), the bias
folded into that of the projection (refconv/weights/blocks.py). Loops, outer to inner:

    unit: image n                                          (units run in parallel)
        vectors of channels: the norms; then their gates
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.feed_forward import odd_pitch
from refconv.parts.operands import ONE
from refconv.parts.workspace import own_part, widened
from refconv.tile import add_row, lanes, length, load, multiply_row, store, zero
from refconv.tile.operands import Place
from refconv.tile.registers import divide_row, filled, mean_of, square_roots


def units(problem, t):
    """The number of independent pieces of work."""
    return problem.n


class Operands(NamedTuple):
    """The pooled squares; the factors of the norms."""

    pooled: Any
    weight: Any


class Work(NamedTuple):
    """Norms of an image; the factors widened from halves."""

    norms: Any
    wide_weight: Any


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread."""
    return Work(problem.hidden, problem.hidden if half else 0)


@kernel
def response(operands, out, work, problem, t, part):
    """Compute the units of the Part. out (N, hidden); all flat."""
    norms, hidden = own_part(work.norms, part), problem.hidden
    weight = widened(Place(operands.weight, 0), length(operands.weight), own_part(work.wide_weight, part))
    n_lanes = lanes(norms.buffer)
    pitch = odd_pitch(hidden, n_lanes)
    for n in range(part.first, part.last):
        total = zero(ONE, ONE, norms.buffer)
        for c in range(0, hidden, n_lanes):
            squares = zero(ONE, ONE, norms.buffer)
            for i in range(problem.parts):
                squares = add_row(squares, load(ONE, ONE, operands.pooled, (i * problem.n + n) * pitch + c, 0, hidden - c))
            norm = square_roots(squares)
            total = add_row(total, norm)
            store(norms.buffer, norms.at + c, 0, norm, hidden - c, 0)
        mean = mean_of(total, hidden)
        mean = add_row(mean, filled(mean, problem.eps))
        one = filled(mean, 1.0)
        for c in range(0, hidden, n_lanes):
            relative = divide_row(load(ONE, ONE, norms.buffer, norms.at + c, 0, hidden - c), mean)
            gate = add_row(multiply_row(relative, load(ONE, ONE, weight.buffer, weight.at + c, 0, hidden - c)), one)
            store(out, n * hidden + c, 0, gate, hidden - c, 0)
