"""The end of a block whose hidden layer has been spilled: project, and the input added where the shape is kept, or an activation.

    out[n, p, q] = x[n, p, q] + b2 + hidden[n, p, q] @ (gate[n] * V)

What squeeze-excitation costs when nothing is computed twice: the hidden layer written and read once, in cache or DRAM as its size requires.
Derived here. Loops, outer to inner:

    unit: image n, block of t.pixels pixels              (units run in parallel)
        projected (parts/feed_forward.py)
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.feed_forward import Projection, project_chunk, residual_start
from refconv.parts.gates import gate_pixels, gate_weights, gates_pixels, projection_size
from refconv.parts.operands import Span
from refconv.parts.workspace import own_part, widen, widened
from refconv.tile import length
from refconv.tile.operands import Place, View
from refconv.weights.packed import ceil_div


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.p * block.q, t.pixels)


class Operands(NamedTuple):
    """The spilled hidden layer, the projection's packed weights and bias, the gates, and the block's input for the residual."""

    hidden_layer: Any
    project: Any
    project_bias: Any
    gates: Any
    x: Any


class Work(NamedTuple):
    """Sums begun with the residual, and pixels, widened from halves; the projection's weights, or those pixels, with the gates in them."""

    sums: Any
    projection: Any
    wide_pixels: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    pixels = max(min(t.pixels, block.p * block.q), t.project.rows + 0)
    return Work(pixels * block.k if half else 0, projection_size(block, lanes, half), pixels * block.hidden if half or gates_pixels(block) else 0)


@kernel
def gated(operands, out, work, block, t, part):
    """Compute the units of the Part. hidden_layer, x and out NHWC; all flat."""
    sums, projection, wide = own_part(work.sums, part), own_part(work.projection, part), own_part(work.wide_pixels, part)
    all_pixels = block.p * block.q
    blocks, size, gated_image = ceil_div(all_pixels, t.pixels), length(operands.project), -1
    packed = Place(operands.project, 0)
    plain = widened(packed, size, projection)
    of_pixels = gates_pixels(block)
    weights = plain if of_pixels else projection
    matrix = Projection(weights, Place(operands.project_bias, 0), block.hidden, block.k, sums, None, block.project_activation)
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        gates = Place(operands.gates, n * block.hidden)
        if n != gated_image and not of_pixels:
            widen(projection, packed, size)
            gate_weights(projection, plain, gates, block.hidden, block.k)
            gated_image = n
        count, at = min(t.pixels, all_pixels - row * t.pixels), n * all_pixels + row * t.pixels
        first = max(0, min(at, at + count - t.project.rows))  # where the unit has fewer, its tile begins in the one before
        span = Span(at - first, at - first + count, block.k)
        start = residual_start(Place(operands.x, first * block.c), block.residual, span, sums)
        pixels = widened(Place(operands.hidden_layer, first * block.hidden), span.last * block.hidden, wide)
        to, hidden = View(out, first * block.k, block.k), View(pixels.buffer, pixels.at, block.hidden)
        if of_pixels:
            gated_pixels = View(wide.buffer, wide.at, block.hidden)
            gate_pixels(gated_pixels, hidden, span.last, gates, block.hidden)
            hidden = gated_pixels
        project_chunk(to, (span.first, span.last), (0, block.hidden), matrix, hidden, start, t.project)
