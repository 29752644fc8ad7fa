"""The second half of most residual blocks: expand, activation, project. The hidden layer lives in the workspace, a chunk at a time.

    out[i] = x[i] (where there is a residual) + b2 + sum over chunks h of hidden channels: activation(source[i] @ U[:, h] + b1[h]) @ V[h]

Source of the formula: Lavin, "On the Efficiency of Convolutional Neural Networks", Sec. 5.2, eq. (30). The chunks and buffers are derived here:
all pixels of a unit meet a block of expand.vectors vectors of U, whose hidden pixels stay in cache until a block of V takes them; t.hidden
hidden channels are made at a time, and the projections of several such chunks are added up in `sums`.
"""

from typing import Any, NamedTuple

from refconv.jit import routine
from refconv.parts.channel_blocks import Channels, channel_blocks
from refconv.parts.dense import dense_weights
from refconv.parts.epilogue import inside_block
from refconv.parts.matrix import matrix_block
from refconv.parts.operands import WHOLE, Prefetch, Source, Span, Start, as_source
from refconv.parts.workspace import in_work_type, own_part, widen
from refconv.problem.activations import IDENTITY
from refconv.tile.instructions import lanes
from refconv.tile.operands import Place, View, Weights, moved, shifted
from refconv.weights.packed import ceil_div


@routine
def odd_pitch(channels, n_lanes):
    """Elements between neighbouring pixels of a buffer: an odd number of vectors, so that the rows of a tile fall into different cache sets."""
    return (ceil_div(channels, n_lanes) | 1) * n_lanes


class FeedForwardWork(NamedTuple):
    """What feed_forward needs of a workspace: elements, and then this thread's Places.

    hidden: a chunk of hidden channels; sums: where chunks are added up; wide_weights: a block of weights widened from halves.
    """

    hidden: Any
    sums: Any
    wide_weights: Any


def feed_forward_workspace(block, t, pixels, lanes, half):
    """The FeedForwardWork of one thread, in elements, for at most `pixels` pixels a unit."""
    widest = max(t.expand.vectors * block.source, t.project.vectors * block.hidden) * lanes
    return FeedForwardWork(
        pixels * odd_pitch(min(t.hidden, block.hidden), lanes),
        pixels * block.k if half or t.hidden < block.hidden else 0,
        widest if half else 0,
    )


@routine
def residual_start(x, residual, span, sums):
    """The Start of a projection: the block's input where it has a residual.

    x, sums: the Places of pixel 0; span: pixels of as many channels as the block has. A chunk's sums begin in the registers with the input
    itself; only halves are widened into `sums` before.
    """
    if residual > 0:
        widen(moved(sums, span.first * span.depth), moved(x, span.first * span.depth), (span.last - span.first) * span.depth)
    place = in_work_type(x, sums)
    return Start(View(place.buffer, place.at, span.depth), residual > 0)


@routine
def prefetch_step(elements, pixels, rows, depth):
    """Elements to prefetch with each step of the sums of a block of pixels, so that `elements` are there at its end."""
    return max(1, elements // (ceil_div(pixels, rows + 0) * depth))


class Projection(NamedTuple):
    """The second product: the Places of its packed weights and of its bias, its channels in (`hidden`) and out, and where it works.

    sums: the Place where chunks are added up; wide: the Place where weights that are halves are widened, or None; activation: of the output.
    """

    weights: Place
    bias: Place
    hidden: int
    channels: int
    sums: Place
    wide: Any
    activation: Any


class _Chunk(NamedTuple):
    to: View
    bias: Any
    source: Source
    span: Span
    start: Start
    next_block: Prefetch
    weights_before: int
    activation: Any


@routine
def _project_block(chunk, k, columns, weights, tile):
    following = chunk.next_block
    stretch = Prefetch(following.buffer, following.at + k // lanes(weights.buffer) * following.jump, following.step, following.run, following.jump)
    start = Start(shifted(chunk.start.pixels, k), chunk.start.given)
    near = Weights(weights.buffer, weights.at + chunk.weights_before, weights.stride)
    epilogue = inside_block(moved(chunk.bias, k), chunk.activation)
    matrix_block(shifted(chunk.to, k), columns, chunk.source, chunk.span, near, epilogue, start, stretch, tile)


@routine
def project_chunk(to, pixels, chunk, projection, hidden, start, tile):
    """Hidden channels h to h_last - 1 of pixels first <= i < last projected; pixels = (first, last), chunk = (h, h_last).

    hidden: the View of those channels. They are added to `start` where h = 0, else to the sums that the chunks before have left; the last
    chunk's go to the View `to`, with the bias and the activation.
    """
    (first, last), (h, h_last), (weights, bias, depth, channels, sums, wide, kind) = pixels, chunk, projection
    n_lanes = lanes(weights.buffer)
    packed, run = dense_weights(weights.buffer, weights.at, depth), (h_last - h) * n_lanes
    step = prefetch_step(tile.vectors * run, last - first, tile.rows, h_last - h)
    next_block = Prefetch(weights.buffer, weights.at + tile.vectors * packed.stride + h * n_lanes, step, run, packed.stride)
    so_far = View(sums.buffer, sums.at, channels)
    begun = start if h == 0 else Start(so_far, True)
    source, span, every = as_source(hidden), Span(first, last, h_last - h), Channels(0, channels, channels)
    if h_last < depth:
        channel_blocks(_project_block, _Chunk(so_far, None, source, span, begun, next_block, h * n_lanes, IDENTITY), every, packed, wide, tile)
    else:
        channel_blocks(_project_block, _Chunk(to, bias, source, span, begun, next_block, h * n_lanes, kind), every, packed, wide, tile)


class FeedForwardWeights(NamedTuple):
    """The packed matrices and the biases, flat buffers."""

    expand: Any
    project: Any
    expand_bias: Any
    project_bias: Any


@routine
def feed_forward_weights(operands):
    """The FeedForwardWeights among a kernel's operands."""
    return FeedForwardWeights(operands.expand, operands.project, operands.expand_bias, operands.project_bias)


@routine
def feed_forward_places(work, part):
    """This thread's FeedForwardWork in a kernel's workspace."""
    return FeedForwardWork(own_part(work.hidden, part), own_part(work.sums, part), own_part(work.wide_weights, part))


class NextInput(NamedTuple):
    """Input elements of the next unit, from `at` on: prefetched during the expansion of this one."""

    at: int
    elements: int


class _Expansion(NamedTuple):
    to: View
    source: Source
    span: Span
    bias: Place
    x: Place
    next_input: NextInput
    weights: FeedForwardWeights
    chunk: tuple
    block: Any
    t: Any


@routine
def _wanted_next(e, k):
    """The Prefetch for a block of hidden channels: of the next unit's input, else of the next block of weights."""
    n_lanes, block, t = lanes(e.weights.expand), e.block, e.t
    (h, h_last), pixels, after = e.chunk, e.span.last - e.span.first, k + t.expand.vectors * n_lanes
    if e.next_input.elements > 0:
        blocks = ceil_div(block.hidden, t.expand.vectors * n_lanes)
        step = ceil_div(e.next_input.elements, blocks * ceil_div(pixels, t.expand.rows + 0) * block.source)
        stretch = Prefetch(e.x.buffer, e.next_input.at + k * e.next_input.elements // block.hidden, step, WHOLE, 0)
    elif after < h_last:
        stride = block.source * n_lanes
        step = prefetch_step(t.expand.vectors * stride, pixels, t.expand.rows, block.source)
        stretch = Prefetch(e.weights.expand, after // n_lanes * stride, step, WHOLE, 0)
    else:
        run = (h_last - h) * n_lanes
        step = prefetch_step(t.project.vectors * run, pixels, t.expand.rows, block.source)
        stretch = Prefetch(e.weights.project, h * n_lanes, step, run, block.hidden * n_lanes)
    return stretch


@routine
def _expand_block(e, k, columns, weights, tile):
    source = Source(e.source.pixels, e.source.raw, e.source.fresh and k == 0)
    first, _ = e.chunk
    to = shifted(e.to, k - first)
    epilogue = inside_block(moved(e.bias, k), e.block.activation)
    matrix_block(to, columns, source, e.span, weights, epilogue, None, _wanted_next(e, k), tile)


@routine
def feed_forward(to, source, x, pixels, next_input, block, weights, work, t):
    """Pixels first <= i < last of a unit, from their expanded sources to the output; pixels = (first, last).

    to: the View of the output; source: `block.source` channels a pixel; x: the Place of the block's input, for the residual. Each begins
    with the unit's pixel 0. next_input: the next unit's input.
    """
    n_lanes, (first, last) = lanes(weights.expand), pixels
    hidden = View(work.hidden.buffer, work.hidden.at, odd_pitch(min(t.hidden, block.hidden), n_lanes))
    expand, expand_bias = dense_weights(weights.expand, 0, block.source), Place(weights.expand_bias, 0)
    project, project_bias = Place(weights.project, 0), Place(weights.project_bias, 0)
    projection = Projection(project, project_bias, block.hidden, block.k, work.sums, work.wide_weights, IDENTITY)
    span, start = Span(first, last, block.source), residual_start(x, block.residual, Span(first, last, block.k), work.sums)
    for h in range(0, block.hidden, t.hidden):
        chunk = h, min(h + t.hidden, block.hidden)
        expansion = _Expansion(hidden, source, span, expand_bias, x, next_input, weights, chunk, block, t)
        channel_blocks(_expand_block, expansion, Channels(*chunk, block.hidden), expand, work.wide_weights, t.expand)
        project_chunk(to, pixels, chunk, projection, hidden, start, t.project)
