"""Residual blocks as functions of arrays: fused into one kernel, or layer by layer on this project's kernels."""

import weakref
from typing import NamedTuple

import numpy as np

from refconv import host
from refconv.elements import element
from refconv.kernels import choose_fused
from refconv.ops.layers import contiguous, deliver, image, result
from refconv.ops.steps import run_graph
from refconv.plan import make_plan, scratch, thread_count
from refconv.problem.block_base import Block
from refconv.schedule import check_modes, parameters, passes, squeeze_for, tiling_for
from refconv.weights.blocks import block_problem, pack_block
from refconv.weights.packed import empty


def fused_block(x, weights, *, layout="NCHW", out=None, tiling=None, halo="auto", squeeze="auto", threads=None):
    """A whole residual block in one kernel, its hidden layer never in DRAM (Lavin, "On the Efficiency of Convolutional Neural Networks").

    x: (N, C, H, W) or (C, H, W); with layout="NHWC" (N, H, W, C) or (H, W, C); of the dtype of the record. weights: a record of
    refconv.blocks, which is packed at its first call and kept packed as long as it lives: later changes of its arrays are not seen. out: an
    array to write to, contiguous in `layout`, apart from x and the record's arrays. tiling: of refconv.fused.tiling, in the place of the
    rule's. halo: what is done about rows that two steps want, hidden ones of an MBConvBlock, convolved ones of a ConvFirstBlock of stride 2:
    "cache" keeps them in a ring, "recompute" makes them anew, "auto" is "cache"; the other blocks compute no such rows and take only "auto".
    squeeze: what squeeze-excitation does, whose gates need the whole map: "recompute" makes the hidden layer twice, "spill" keeps it in memory,
    "auto" spills where it stays in the L2; blocks without it take only "auto". threads: at most this many (None: Numba's current number); but
    for the sums of squeeze-excitation, which every thread begins anew, the result does not depend on it.

    Returns (N, K, P, Q), or as x is given. TypeError or ValueError names the argument, its value and what is legal.
    """
    x, batched = _checked_image(x, weights, layout)
    calls = _prepared(weights, x.shape[:3], tiling, halo, squeeze, thread_count(threads))
    target = result(out, calls.out_shape, x, weights.arrays, layout, batched)
    direct = target if target.flags.c_contiguous else empty(target.shape, x.dtype)
    run_passes(calls, contiguous(x).reshape(-1), direct.reshape(-1))
    return deliver(direct, target, out, layout, batched)


class Calls(NamedTuple):
    """The kernel calls of a fused block made ready: [(Pass, Plan)], {name: array} of the packed weights and biases, and the shape of the output."""

    steps: list
    parameters: dict
    out_shape: tuple


_CALLS = weakref.WeakKeyDictionary()


def _prepared(block, sizes, tiling, halo, squeeze, threads):
    """The Calls for a record on images of sizes (n, h, w), made and checked at the first call and kept as long as the record."""
    kept, key = _CALLS.setdefault(block, {}), (sizes, type(tiling), tiling, halo, squeeze, threads)  # tuples of other types are equal
    if key not in kept:
        row, target = choose_fused(block), host.target()._replace(threads=threads)
        check_modes(block, halo=halo, squeeze=squeeze)
        lanes = target.lanes(element(block.dtype).work.itemsize)
        problem, packed = block_problem(block, *sizes, lanes), pack_block(block, lanes)
        tiling = tiling_for(row, problem, block.dtype, tiling, halo, target)
        plan = make_plan(row.name, problem, block.dtype, tiling, threads)
        steps = passes(row, block, packed, problem, tiling, squeeze_for(problem, block.dtype, squeeze, target), threads, plan.threads)
        plans = [(step, make_plan(step.name, step.problem, block.dtype, step.tiling, step.threads)) for step in steps]
        kept[key] = Calls(plans, {"nothing": empty(0, block.dtype), **parameters(packed)}, plan.out_shape)
    return kept[key]


def run_passes(calls, x, out):
    """Make the kernel calls of a fused block on flat arrays: x NHWC, out of the output's size, both of the record's dtype."""
    tensors = {"input": x, "output": out, **calls.parameters}
    for step, plan in calls.steps:
        if step.out not in tensors:
            tensors[step.out] = scratch(step.out, step.size, x.dtype)
        weights, biases = (tuple([tensors[name] for name in names]) for names in (step.weights, step.biases))
        work = plan.run(tensors[step.x], weights, biases, tensors[step.out])
        if len(calls.steps) > 1:
            tensors.update(zip(plan.workspace, work, strict=True))


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
        choose_fused(block)  # says what would be one
    x, batched = image("x", x, layout)
    if x.dtype != block.dtype:
        raise TypeError(f"x of dtype {x.dtype}: must be {block.dtype} as the record")
    if x.shape[3] != block.c:
        raise ValueError(f"x of {x.shape[3]} channels: must have {block.c}, those of the record")
    return x, batched
