"""How a block whose convolution is of hidden channels, or makes them, ends: its rows are projected, or, where only gates are wanted, added up for
squeeze-excitation and perhaps kept.

    out[i] = x[i] (where there is a residual) + b2 + (gate * hidden[i]) @ V        or        pooled[n] = sum over an image's pixels i of hidden[i]

Which of both is the `result` of the call's problem (refconv/problem/fused.py). Where the projection has an activation, there is no residual.
"""

from typing import Any, NamedTuple

from numba.extending import overload

from refconv.jit import routine
from refconv.parts.copy import FOUR, fill
from refconv.parts.feed_forward import Projection, odd_pitch, project_chunk, residual_start
from refconv.parts.gates import gate_pixels, gate_weights, gates_pixels
from refconv.parts.operands import ONE, Span
from refconv.parts.workspace import own_part, widen, widened
from refconv.problem.fused import PROJECTED, SPILLED
from refconv.routine_code import INLINED
from refconv.tile.instructions import lanes, length, load, store
from refconv.tile.operands import Place, View, moved
from refconv.tile.registers import add_row


class Ending(NamedTuple):
    """What rows end with: the kernel's operands, of which x, project, project_bias and gates are meant here, and Places of this thread.

    plain: the projection's weights in the type of sums; projection: where they are widened, and multiplied by gates; pooled: sums for the gates;
    sums: where a projection begins with the residual, widened from halves.
    """

    operands: Any
    plain: Place
    projection: Place
    pooled: Place
    sums: Place


@routine
def begin_ending(operands, work, block, part):
    """The Ending of a Part, from its operands and workspace; where sums are wanted, they begin with zero."""
    projection, pooled, size = own_part(work.projection, part), own_part(work.pooled, part), length(operands.project)
    plain = widened(Place(operands.project, 0), size, projection)
    if block.result != PROJECTED:
        fill(pooled.buffer, pooled.at, block.n * odd_pitch(block.hidden, lanes(operands.project)))
    return Ending(operands, plain, projection, pooled, own_part(work.sums, part))


@routine
def image_projection(ending, block, n):
    """The Place of the projection's weights for image n: with its gates in them, where the block has gates that are not applied to pixels."""
    matrix = ending.plain
    if block.gated > 0 and block.result == PROJECTED and not gates_pixels(block):
        operands, matrix = ending.operands, ending.projection
        widen(matrix, Place(operands.project, 0), length(operands.project))
        gate_weights(matrix, ending.plain, Place(operands.gates, n * block.hidden), block.hidden, block.k)
    return matrix


def made_in_place(out, work):
    """Whether a hidden layer that is spilled is made where it is to lie: as sums are stored, unless these are halves, of which none is read again."""
    return out.dtype == work.dtype


@overload(made_in_place, jit_options=INLINED)
def _made_in_place(out, work):
    same = out == work
    return lambda out, work: same


def _one_of(first, to, hidden):
    """`to` where `first`, else `hidden`; always the latter where the two are of different types."""
    return to if first else hidden


@overload(_one_of, jit_options=INLINED)
def _one_of_two(first, to, hidden):
    if to.types[0] == hidden.types[0]:
        return lambda first, to, hidden: View(
            to.buffer if first else hidden.buffer, to.at if first else hidden.at, to.pitch if first else hidden.pitch
        )
    return lambda first, to, hidden: hidden


@routine
def hidden_rows(out, at, h, hidden, block):
    """The View where hidden channels h and those after them are made for output pixels `at` and those after them: `hidden`, a View, or where the
    hidden layer is spilled its place in `out`."""
    spilled = block.result == SPILLED and made_in_place(out, hidden.buffer)
    return _one_of(spilled, View(out, at * block.hidden + h, block.hidden), hidden)


@routine
def add_pixels(sums, hidden, pixels, channels, to, spill):
    """sums[c] += sum of the pixels' channel c, sums a Place, hidden a View; with `spill` the pixels are copied to the View `to` as well."""
    step = 4 * lanes(hidden.buffer)
    for c in range(0, channels, step):
        total = load(ONE, FOUR, sums.buffer, sums.at + c, 0, channels - c)
        for i in range(pixels):
            pixel = load(ONE, FOUR, hidden.buffer, hidden.at + i * hidden.pitch + c, 0, channels - c)
            total = add_row(total, pixel)
            if spill:
                store(to.buffer, to.at + i * to.pitch + c, 0, pixel, channels - c, 0)
        store(sums.buffer, sums.at + c, 0, total, channels - c, 0)


@routine
def end_rows(out, at, hidden, chunk, pixels, n, matrix, ending, block, tile):
    """What becomes of hidden channels h to h_last - 1 of `pixels` pixels of image n, output pixels `at` to at + pixels - 1 of all images.

    hidden: the View of those channels, as hidden_rows says; chunk = (h, h_last), of all chunks in order; matrix: the Place that image_projection
    returned for the image; tile: of the projection.
    """
    (h, h_last), operands, sums = chunk, ending.operands, ending.sums
    if block.result != PROJECTED:
        to, pooled = View(out, at * block.hidden + h, block.hidden), moved(ending.pooled, n * odd_pitch(block.hidden, lanes(matrix.buffer)) + h)
        add_pixels(pooled, hidden, pixels, h_last - h, to, block.result == SPILLED and not made_in_place(out, hidden.buffer))
    else:
        if gates_pixels(block):
            gate_pixels(hidden, hidden, pixels, Place(operands.gates, n * block.hidden + h), h_last - h)
        begins = block.residual if h == 0 else 0  # later chunks find the sums of those before
        start = residual_start(Place(operands.x, at * block.c), begins, Span(0, pixels, block.k), sums)
        whole = Projection(matrix, Place(operands.project_bias, 0), block.hidden, block.k, sums, None, block.project_activation)
        project_chunk(View(out, at * block.k, block.k), (0, pixels), chunk, whole, hidden, start, tile)
