"""The numbers of a fused kernel, by rule from the target's registers and caches."""

from typing import NamedTuple

from refconv.parts.convolve import DENSE, DEPTHWISE, GROUPED
from refconv.parts.feed_forward import odd_pitch
from refconv.parts.staging import ONE
from refconv.problem.fused import first_conv, hidden_conv, middle_conv
from refconv.static import Static
from refconv.tiling import layers as tiling
from refconv.weights import packed
from refconv.weights.packed import ceil_div


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


class ConvFirstDownTiling(NamedTuple):
    """A unit is `lines` output rows, made in steps of `step`; the rest as in ConvFirstTiling."""

    lines: int
    step: int
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


class FusedMBConvTiling(NamedTuple):
    """A unit is `lines` output rows; `hidden` hidden channels at a time; register tiles of the convolution and of the projection."""

    lines: int
    hidden: int
    conv_rows: Static
    conv_vectors: Static
    conv_tail: Static
    project_rows: Static
    project_vectors: Static
    project_tail: Static


class MBConvTiling(NamedTuple):
    """A unit is `lines` output rows, made in steps of `step`; the rest as in ConvFirstTiling."""

    lines: int
    step: int
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


def least_rows(wanted, block):
    """The fewest output rows that are projected at once."""
    if not hasattr(wanted, "lines"):
        return 0
    last = (block.p - 1) % wanted.lines + 1
    return min((lines - 1) % wanted.step + 1 for lines in (wanted.lines, last)) if hasattr(wanted, "step") else last


def checked(wanted, chosen, block, lanes):
    """The tiling asked for with its statics made Static, or an error that names the field; `chosen` is the rule's for the block."""
    if type(wanted) is not type(chosen):
        raise TypeError(f"tiling = {wanted!r}: must be a {type(chosen).__name__}")
    wanted = tiling.normalised(wanted)
    for name in ("lines", "step"):
        if hasattr(wanted, name):
            tiling.require(getattr(wanted, name) <= block.p, wanted, name, f"from 1 to {block.p}")
    all_pixels = block.n * block.h * block.w
    projected = least_rows(wanted, block) * block.q or min(getattr(wanted, "pixels", all_pixels), all_pixels)
    in_the_middle = isinstance(wanted, MBConvTiling)
    expanded = block.w if in_the_middle else projected
    parts = {"expand": (block.hidden, expanded), "conv": (block.hidden, block.q), "project": (block.k, projected)}
    parts.pop("conv" if hasattr(wanted, "expand_rows") else "expand")
    for part, (channels, least) in parts.items():
        vectors, wanted_vectors = ceil_div(channels, lanes), getattr(wanted, f"{part}_vectors")
        widest = min(packed.MOST_VECTORS, vectors)
        tiling.require(getattr(wanted, f"{part}_rows") <= min(least, 28), wanted, f"{part}_rows", f"from 1 to {min(least, 28)}")
        tiling.require(wanted_vectors <= widest, wanted, f"{part}_vectors", f"from 1 to {widest}")
        tail = int(tiling.tail_of(channels, wanted_vectors, lanes))
        tiling.require(getattr(wanted, f"{part}_tail") == tail, wanted, f"{part}_tail", f"{tail} for this block")
    if hasattr(wanted, "hidden"):
        name = "expand_vectors" if hasattr(wanted, "expand_vectors") else "conv_vectors"
        multiple = getattr(wanted, name) * lanes
        tiling.require(wanted.hidden % multiple == 0, wanted, "hidden", f"a multiple of {multiple} ({name} * lanes)")
    if hasattr(chosen, "conv_kind"):
        tiling.require(wanted.conv_kind == chosen.conv_kind, wanted, "conv_kind", f"{int(chosen.conv_kind)} for this block")
        conv = middle_conv(block) if in_the_middle else first_conv(block)
        tiling.checked(tiling.normalised(_conv_record(wanted, lanes)), _conv_record(chosen, lanes), conv, lanes)
    return type(chosen)(*(Static(w) if isinstance(c, Static) else int(w) for w, c in zip(wanted, chosen, strict=True)))


def product(pixels, channels, depth, itemsize, target):
    """(rows, vectors, tail) of a matrix product of `depth` channels, for calls of `pixels` pixels or more."""
    rows, vectors = tiling.register_tile(pixels, channels, depth, depth, itemsize, target)
    return Static(rows), Static(vectors), tiling.tail_of(channels, vectors, target.lanes(itemsize))


def _conv_record(t, lanes):
    """The conv_* fields as a tiling of their kind's own."""
    if t.conv_kind == DENSE:
        return tiling.DenseTiling(t.conv_rows, t.conv_vectors, t.conv_tail, 1, t.conv_vectors * lanes)
    if t.conv_kind == DEPTHWISE:
        return tiling.DepthwiseTiling(t.conv_rows, t.conv_taps, t.conv_stride, 1, lanes)
    return tiling.GroupedTiling(t.conv_rows, t.conv_taps, t.conv_stride, t.conv_inputs, t.conv_groups, 1, 1)


CHUNK = 192
"""Hidden channels at a time: a sum of 192 steps, against which it is little to load and store its accumulators. From 96 to 384 blocks took the
same time within 3 % (96 to 768 channels in, interleaved); more leave less room for pixels beside them."""


def whole_blocks(block, vectors, itemsize, target):
    """About CHUNK hidden channels, or all, in whole blocks of `vectors` vectors."""
    size = vectors * target.lanes(itemsize)
    return ceil_div(min(CHUNK, block.hidden), size) * size


def products(block, pixels, itemsize, target):
    """(hidden chunk, expand and project tiles) for units of `pixels` pixels or more."""
    expand = product(pixels, block.hidden, block.source, itemsize, target)
    chunk = whole_blocks(block, expand[1], itemsize, target)
    return (chunk, *expand, *product(pixels, block.k, chunk, itemsize, target))


def unit_bytes(block, weights_of_one, itemsize, target):
    """Bytes of workspace for a unit: an eighth of the L2 where the weights stay in half of it, so that both and the input's rows do.

    Where they do not and are read anew by every unit, half of it: the more pixels then meet them.
    """
    fits = weights_of_one * itemsize * block.hidden <= target.l2_bytes // 2
    return target.l2_bytes // 8 if fits else target.l2_bytes // 2


def pixel_budget(block, itemsize, target):
    """Pixels whose sources, hidden channels and sums are within `unit_bytes`."""
    of_one = block.source + block.k
    return max(1, unit_bytes(block, of_one, itemsize, target) // ((of_one + min(CHUNK, block.hidden)) * itemsize))


LEAST_PIXELS = 16
"""Of a unit: below, register tiles get low, and a unit must have the pixels of one."""


def ffn_tiling(block, itemsize, target):
    """Rule: the pixels of `pixel_budget`, at most an even share for each thread, at least LEAST_PIXELS."""
    total = block.n * block.h * block.w
    pixels = min(pixel_budget(block, itemsize, target), ceil_div(total, target.threads))
    blocks = ceil_div(total, pixels)
    pixels = min(total, max(ceil_div(total, ceil_div(blocks, target.threads) * target.threads), LEAST_PIXELS))
    return FeedForwardTiling(pixels, *products(block, pixels, itemsize, target))


def conv_first_tiling(block, itemsize, target):
    """Rule: whole rows of `pixel_budget` pixels, in blocks that the threads share evenly."""
    lines = max(1, min(block.h, pixel_budget(block, itemsize, target) // block.w))
    lines = shared_lines(block, lines, target)
    least = ((block.h - 1) % lines + 1) * block.w
    return ConvFirstTiling(lines, *products(block, least, itemsize, target), *conv_fields(first_conv(block), itemsize, target))


def conv_first_down_tiling(block, itemsize, target, halo="auto"):
    """Rule: steps of whole output rows of `pixel_budget` pixels; a unit is all rows of a thread, with halo "recompute" a step."""
    most = ceil_div(block.p, tiling.parts(block.n, target.threads))
    step = max(1, min(most, pixel_budget(block, itemsize, target) // block.q))
    step = ceil_div(most, ceil_div(most, step))
    lines = step if halo == "recompute" else most
    least = least_rows(ConvFirstDownTiling(lines, step, 1, *[ONE] * 13, 1), block) * block.q
    return ConvFirstDownTiling(lines, step, *products(block, least, itemsize, target), *conv_fields(first_conv(block), itemsize, target))


def shared_lines(block, lines, target):
    """At most about `lines` output rows a unit, so that the threads share the units evenly."""
    blocks, multiple = ceil_div(block.p, lines), tiling.parts(block.n, target.threads)
    return ceil_div(block.p, min(block.p, ceil_div(blocks, multiple) * multiple))


def fused_mbconv_tiling(block, itemsize, target):
    """Rule: as many rows as keep their staged input, hidden channels and sums within half of `unit_bytes` (more rows are no faster here)."""
    conv, lanes = hidden_conv(block), target.lanes(itemsize)
    of_one = conv.r * conv.s * conv.c + block.k
    row_bytes = (block.stride * block.w * block.c + conv.q * (min(CHUNK, block.hidden) + block.k)) * itemsize
    lines = shared_lines(block, max(1, min(block.p, unit_bytes(block, of_one, itemsize, target) // 2 // row_bytes)), target)
    rows, vectors = tiling.register_tile(conv.q, block.hidden, of_one - block.k, conv.s * conv.c, itemsize, target)
    chunk = whole_blocks(block, vectors, itemsize, target)
    least = ((block.p - 1) % lines + 1) * conv.q
    conv_tile = Static(rows), Static(vectors), tiling.tail_of(block.hidden, vectors, lanes)
    return FusedMBConvTiling(lines, chunk, *conv_tile, *product(least, block.k, chunk, itemsize, target))


STEP_PIXELS = 56
"""Output pixels that an MBConv projects at once at most: four tiles of 14 meet a block of weights before the next comes; 112 and 224 took the
same time within 2 % and more workspace."""


def mbconv_tiling(block, itemsize, target, halo="auto"):
    """Rule: steps of up to STEP_PIXELS pixels whose ring and hidden rows stay in half the L2; with halo "recompute" a step is a unit."""
    conv, pitch = middle_conv(block), odd_pitch(block.hidden, target.lanes(itemsize))
    row_bytes = (block.stride * block.w * pitch + conv.q * (pitch + block.k)) * itemsize
    within = (target.l2_bytes // 2 - block.r * block.w * pitch * itemsize) // row_bytes
    most = ceil_div(block.p, tiling.parts(block.n, target.threads))
    step = max(1, min(most, within, ceil_div(STEP_PIXELS, conv.q)))
    step = ceil_div(most, ceil_div(most, step))
    lines = step if halo == "recompute" else most
    shape = MBConvTiling(lines, step, *[ONE] * 13, 1)
    expand = product(block.w, block.hidden, block.c, itemsize, target)
    project = product(least_rows(shape, block) * conv.q, block.k, block.hidden, itemsize, target)
    return MBConvTiling(lines, step, *expand, *project, *conv_fields(conv, itemsize, target))


class GatedTiling(NamedTuple):
    """A unit is `pixels` pixels of an image; the register tile of the projection."""

    pixels: int
    project_rows: Static
    project_vectors: Static
    project_tail: Static


def gated_tiling(block, itemsize, target):
    """Rule: as many pixels as stay within `unit_bytes` with their sums, an even share for each thread."""
    total, pixel_bytes = block.p * block.q, (odd_pitch(block.hidden, target.lanes(itemsize)) + block.k) * itemsize
    most = ceil_div(total, tiling.parts(block.n, target.threads))
    pixels = max(1, min(most, unit_bytes(block, block.k, itemsize, target) // pixel_bytes))
    pixels = ceil_div(most, ceil_div(most, pixels))
    return GatedTiling(pixels, *product((total - 1) % pixels + 1, block.k, block.hidden, itemsize, target))


class GateTiling(NamedTuple):
    """vectors: of output channels a block."""

    vectors: Static


def gate_tiling(problem, itemsize, target):
    """Rule: one vector at a time; the two matrices of squeeze-excitation are small."""
    return GateTiling(ONE)


def conv_fields(conv, itemsize, target):
    """The conv_* fields for a convolution inside a block, of the kind that its packed weights have."""
    order = packed.order_of(conv.weight_shape, conv.groups, target.lanes(itemsize))
    if order == "dense":
        t = tiling.dense_tiling(conv, itemsize, target)
        return (DENSE, t.rows, t.vectors, t.tail, *[ONE] * 3, 1)
    if order == "depthwise":
        t = tiling.depthwise_tiling(conv, itemsize, target)
        return (DEPTHWISE, t.rows, ONE, ONE, t.taps, t.stride, ONE, 1)
    t = tiling.grouped_tiling(conv, itemsize, target)
    return (GROUPED, t.rows, ONE, ONE, t.taps, t.stride, t.inputs, t.groups)
