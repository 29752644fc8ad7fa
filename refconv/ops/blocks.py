"""Residual blocks as functions of arrays: fused into one kernel, or layer by layer on this project's kernels."""

import weakref

import numpy as np

from refconv import host
from refconv.elements import element
from refconv.kernels import kernel_for_block
from refconv.ops.border import block_border_marker
from refconv.ops.layers import Bound, contiguous, image, operation, planned_shape
from refconv.ops.steps import run_graph
from refconv.plan import make_program, schedule_of, thread_count
from refconv.problem.block_base import Block
from refconv.recent import Recent
from refconv.schedule import check_modes, parameters
from refconv.tiling.checked import normalised
from refconv.tiling.measured import when_measured
from refconv.weights.blocks import pack_block


@operation
def fused_block(x, weights, *, layout="NCHW", out=None, tiling=None, halo="auto", squeeze="auto", threads=None):
    """A whole residual block in one kernel, its hidden layer never in DRAM (Lavin, "On the Efficiency of Convolutional Neural Networks").

    x: (N, C, H, W) or (C, H, W); with layout="NHWC" (N, H, W, C) or (H, W, C); of the dtype of the record. weights: a record of
    refconv.problem.blocks. Copies of its arrays are packed at its first call and kept as long as it lives: later changes of them are not seen.
    out: an array to write to, contiguous in `layout`, sharing no memory with x and the record's arrays. tiling: of refconv.tiling.blocks, instead
    of what refconv.tune has measured, or of the rule's. halo: what is done about rows that two steps need, hidden ones of an MBConvBlock,
    convolved ones of a ConvFirstBlock of stride 2: "cache" keeps them in a ring, "recompute" makes them again, "auto" is "cache"; the other
    blocks compute no such rows and take only "auto". squeeze: what squeeze-excitation does, whose gates need the whole map: "recompute" makes
    the hidden layer twice, "spill" keeps it in memory, where float16 and bfloat16 round it once more. "auto" is "recompute" for those two, so
    that neither the caches of this computer nor N have a part in the result; for float32 and float64, where both give the same bits, it spills
    where the hidden layer stays in the L2 or a dense convolution makes it. Blocks without squeeze-excitation take only "auto". threads: at most
    this many (None: Numba's current number); but for the sums of squeeze-excitation, which every thread begins with zero, the result does not
    depend on it.

    Padding is zeros that are multiplied, as in conv2d.

    Returns (N, K, P, Q), or as x is given; an empty array for no images. TypeError or ValueError names the argument, its value and what is legal.
    """
    x, batched = _checked_image(x, weights, layout)
    program = _program(weights, planned_shape(x)[:3], tiling, halo, squeeze, thread_count(threads))
    return Bound(program, x, batched, layout, out, tuple(weights.arrays.items()), block_border_marker(weights, x.shape[1:3]))


_PROGRAMS = weakref.WeakKeyDictionary()
when_measured(_PROGRAMS.clear)
MOST_PROGRAMS = 64
"""The most Programs kept of one record: one for each combination of shape, tiling and modes."""


def _program(block, sizes, tiling, halo, squeeze, threads):
    """The Program for a record on images of sizes (n, h, w), made and checked at the first call and kept while it is among those last used."""

    def make():
        return block_program(block, schedule_of(block, sizes, element(block.dtype), threads, tiling, halo, squeeze))

    check_modes(block, halo=halo, squeeze=squeeze)
    if tiling is not None:
        if not hasattr(tiling, "_fields"):
            return make()  # raises what is wrong with it
        tiling = normalised(tiling)  # before anything is kept by it: 64.0 is equal to 64
    kept, key = _PROGRAMS.get(block), (sizes, type(tiling), tiling, halo, squeeze, threads)  # tuples of other types are equal
    if kept is None:
        kept = _PROGRAMS[block] = Recent(MOST_PROGRAMS)
    return kept.get(key) or kept.keep(key, make())


def block_program(block, schedule):
    """The Program of a record's Schedule, with its packed weights."""
    return make_program(schedule, parameters(pack_block(block, host.target().lanes(schedule.element.work.itemsize))))


def unfused_block(x, weights, *, layout="NCHW", threads=None):
    """The same block layer by layer on the kernels of this project, every layer's output a tensor of its own: arguments as in fused_block.

    The same numbers up to rounding: tensors between layers are rounded to their type, and the residual is added last.
    """
    x, batched = _checked_image(x, weights, layout)
    y = run_graph(weights.graph, contiguous(x), threads)
    y = y if layout == "NHWC" else np.ascontiguousarray(y.transpose(0, 3, 1, 2))
    return y if batched else y[0]


def _checked_image(x, block, layout):
    """(x as NHWC, whether it had a batch axis), of the record's dtype and channels."""
    if not isinstance(block, Block):
        kernel_for_block(block)  # says what would be one
    x, batched = image("x", x, layout)
    if x.dtype != block.dtype:
        raise TypeError(f"x of dtype {x.dtype}: must be {block.dtype} as the record")
    if x.shape[3] != block.c:
        raise ValueError(f"x of {x.shape[3]} channels: must have {block.c}, those of the record")
    return x, batched
