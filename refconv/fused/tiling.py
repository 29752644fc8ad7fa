"""The numbers of a fused kernel, by rule from the target's registers and caches."""

from typing import NamedTuple

from refconv import layout, tiling
from refconv.fused.conv_first import first_conv
from refconv.layout import ceil_div
from refconv.tile.convolve import DENSE, DEPTHWISE, GROUPED
from refconv.tile.lines import ONE
from refconv.tile.types import Static


class FeedForwardTiling(NamedTuple):
    """A unit is `pixels` pixels; `hidden` hidden channels at a time; register tiles of the two products (see refconv.tiling.DenseTiling)."""

    pixels: int
    hidden: int
    expand_rows: Static
    expand_vectors: Static
    expand_tail: Static
    project_rows: Static
    project_vectors: Static
    project_tail: Static


class ConvFirstTiling(NamedTuple):
    """A unit is `lines` rows; the rest as in FeedForwardTiling.

    conv_*: of the first convolution, as in refconv.tiling: its kind (refconv.tile.convolve) and rows; vectors and tail of a dense one; taps,
    stride, inputs and groups of the others. What a kind has not is 1.
    """

    lines: int
    hidden: int
    expand_rows: Static
    expand_vectors: Static
    expand_tail: Static
    project_rows: Static
    project_vectors: Static
    project_tail: Static
    conv_kind: Static
    conv_rows: Static
    conv_vectors: Static
    conv_tail: Static
    conv_taps: Static
    conv_stride: Static
    conv_inputs: Static
    conv_groups: int


def checked(wanted, chosen, block, lanes):
    """The tiling asked for with its statics made Static, or an error that names the field; `chosen` is the rule's for the block."""
    if type(wanted) is not type(chosen):
        raise TypeError(f"tiling = {wanted!r}: must be a {type(chosen).__name__}")
    wanted = tiling.normalised(wanted)
    if hasattr(wanted, "lines"):
        tiling.require(wanted.lines <= block.h, wanted, "lines", f"from 1 to {block.h}")
        least = ((block.h - 1) % wanted.lines + 1) * block.w
    else:
        least = block.n * block.h * block.w
    for part, channels in (("expand", block.hidden), ("project", block.k)):
        vectors, wanted_vectors = ceil_div(channels, lanes), getattr(wanted, f"{part}_vectors")
        widest = min(layout.MOST_VECTORS, vectors)
        tiling.require(getattr(wanted, f"{part}_rows") <= min(least, 28), wanted, f"{part}_rows", f"from 1 to {min(least, 28)}")
        tiling.require(wanted_vectors <= widest, wanted, f"{part}_vectors", f"from 1 to {widest}")
        tail = (vectors - 1) % wanted_vectors + 1
        tiling.require(getattr(wanted, f"{part}_tail") == tail, wanted, f"{part}_tail", f"{tail} for this block")
    step = wanted.expand_vectors * lanes
    tiling.require(wanted.hidden % step == 0, wanted, "hidden", f"a multiple of {step} (expand_vectors * lanes)")
    for name in (name for name in chosen._fields if name.startswith("conv_")):
        tiling.require(getattr(wanted, name) == getattr(chosen, name), wanted, name, f"{getattr(chosen, name)} for this block")
    return type(chosen)(*(Static(w) if isinstance(c, Static) else int(w) for w, c in zip(wanted, chosen, strict=True)))


def products(block, pixels, least, itemsize, target):
    """(hidden chunk, expand and project tiles) for units of `pixels` pixels, none of fewer than `least`.

    Rule: all hidden channels at once where both weights stay in half the L2, else as many as leave their weights in a quarter of it.
    """
    lanes = target.lanes(itemsize)
    weights = (block.source + block.k) * itemsize
    chunk = block.hidden
    if weights * block.hidden > target.l2_bytes // 2:
        chunk = max(lanes, min(block.hidden, target.l2_bytes // 4 // weights))
    rows, vectors = tiling.register_tile(least, chunk, block.source, block.source, itemsize, target)
    blocks = vectors * lanes
    chunk = min(ceil_div(chunk, blocks), ceil_div(block.hidden, blocks)) * blocks
    tail = (ceil_div(block.hidden, lanes) - 1) % vectors + 1
    p_rows, p_vectors = tiling.register_tile(least, block.k, chunk, chunk, itemsize, target)
    p_tail = (ceil_div(block.k, lanes) - 1) % p_vectors + 1
    return (chunk, *map(Static, (rows, vectors, tail, p_rows, p_vectors, p_tail)))


def pixel_budget(block, itemsize, target):
    """Pixels whose sources, hidden channels and sums stay in half the L2: as many as meet the weights before those are read again."""
    hidden = min(block.hidden, max(target.lanes(itemsize), target.l2_bytes // 4 // ((block.source + block.k) * itemsize)))
    return max(1, target.l2_bytes // 2 // ((block.source + hidden + block.k) * itemsize))


def ffn_tiling(block, itemsize, target):
    """Rule: the pixels of `pixel_budget`, at most an even share for each thread."""
    total = block.n * block.h * block.w
    pixels = min(pixel_budget(block, itemsize, target), ceil_div(total, target.threads))
    blocks = ceil_div(total, pixels)
    pixels = ceil_div(total, ceil_div(blocks, target.threads) * target.threads)
    return FeedForwardTiling(pixels, *products(block, pixels, min(total, max(pixels, 16)), itemsize, target))


def conv_first_tiling(block, itemsize, target):
    """Rule: whole rows of `pixel_budget` pixels, in blocks that the threads share evenly."""
    lines = max(1, min(block.h, pixel_budget(block, itemsize, target) // block.w))
    blocks, multiple = ceil_div(block.h, lines), tiling.parts(block.n, target.threads)
    lines = ceil_div(block.h, min(block.h, ceil_div(blocks, multiple) * multiple))
    least = ((block.h - 1) % lines + 1) * block.w
    return ConvFirstTiling(lines, *products(block, lines * block.w, least, itemsize, target), *conv_fields(first_conv(block), itemsize, target))


def conv_fields(conv, itemsize, target):
    """The conv_* fields for a convolution inside a block, of the kind that its packed weights have."""
    order = layout.order_of(conv.weight_shape, conv.groups, target.lanes(itemsize))
    if order == "dense":
        t = tiling.dense_tiling(conv, itemsize, target)
        return (DENSE, t.rows, t.vectors, t.tail, *[ONE] * 3, 1)
    if order == "depthwise":
        t = tiling.depthwise_tiling(conv, itemsize, target)
        return (DEPTHWISE, t.rows, ONE, ONE, t.taps, t.stride, ONE, 1)
    t = tiling.grouped_tiling(conv, itemsize, target)
    return (GROUPED, t.rows, ONE, ONE, t.taps, t.stride, t.inputs, t.groups)
