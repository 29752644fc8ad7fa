"""Residual blocks as functions of arrays: fused into one kernel, or layer by layer on this project's kernels."""

import weakref
from typing import NamedTuple

import numpy as np
from numba import typeof, types

from refconv import host
from refconv.elements import element
from refconv.jit import plain
from refconv.kernels import kernel_for_block
from refconv.kernels.activation import activated
from refconv.ops.layers import contiguous, conv2d, deliver, depthwise_conv2d, image, partial_conv2d, pointwise_conv2d, result
from refconv.plan import compiled, flat, make_plan, scratch, thread_count
from refconv.problem.activations import ACTIVATIONS
from refconv.problem.block_base import Block
from refconv.problem.blocks import ConvFirstBlock, ConvNeXtBlock, FasterNetBlock, FFNBlock, FusedMBConvBlock, MBConvBlock
from refconv.problem.conv import same_pads
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
        row, target = kernel_for_block(block), host.target()._replace(threads=threads)
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
    options = {"layout": "NHWC", "threads": threads}
    x = contiguous(x)
    y = _LAYER_BY_LAYER[type(weights)](x, weights, options)
    y = y + x if weights.residual else y
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


def _activated(x, name):
    """The activation of every element, by this project's instruction."""
    out, kind = empty(x.shape, x.dtype), ACTIVATIONS[name]
    array = flat(x.dtype)
    entry = compiled(activated, (array, array, types.intp, typeof(kind)))
    bits = element(x.dtype).compiled if entry is not plain(activated) else x.dtype
    entry(x.reshape(-1).view(bits), out.reshape(-1).view(bits), x.size, kind)
    return out


def _expand(x, b, options):
    return _activated(pointwise_conv2d(x, b.expand_weight, b.expand_bias, **options), b.activation)


def _project(hidden, b, options):
    return pointwise_conv2d(hidden, b.project_weight, b.project_bias, **options)


def _convolved(x, b, options, stride=1):
    sides = [side for pair in zip(*(same_pads(size, 1) for size in b.conv_weight.shape[2:]), strict=True) for side in pair]
    return conv2d(x, b.conv_weight, b.conv_bias, stride, sides, 1, getattr(b, "groups", 1), **options)


def _ffn(x, b, options):
    return _project(_expand(x, b, options), b, options)


def _conv_first(x, b, options):
    mixed = _convolved(x, b, options)
    if b.stride == 2:
        both = np.pad(np.concatenate([mixed, x], axis=3), ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
        binomial = np.tile(np.outer([1, 2, 1], [1, 2, 1]) / 16, (both.shape[3], 1, 1, 1)).astype(x.dtype)
        mixed = depthwise_conv2d(both, binomial, stride=2, **options)
    return _project(_expand(mixed, b, options), b, options)


def _conv_next(x, b, options):
    mixed = _convolved(x, b, options).astype(element(x.dtype).work)
    normed = (mixed - mixed.mean(axis=3, keepdims=True)) / np.sqrt(mixed.var(axis=3, keepdims=True) + mixed.dtype.type(b.eps))
    normed = normed * b.norm_weight + (0 if b.norm_bias is None else b.norm_bias)
    y = _project(_expand(normed.astype(x.dtype), b, options), b, options)
    return y if b.scale is None else y * b.scale


def _mbconv(x, b, options):
    hidden = _activated(_convolved(_expand(x, b, options), b, options, b.stride), b.activation)
    if b.se is not None:
        means = hidden.astype(element(x.dtype).work).mean(axis=(1, 2), keepdims=True).astype(x.dtype)
        squeezed = _activated(pointwise_conv2d(means, b.se.reduce_weight, b.se.reduce_bias, **options), b.se.activation)
        hidden = hidden * _activated(pointwise_conv2d(squeezed, b.se.expand_weight, b.se.expand_bias, **options), b.se.gate)
    return _project(hidden, b, options)


def _fused_mbconv(x, b, options):
    return _project(_activated(_convolved(x, b, options, b.stride), b.activation), b, options)


def _faster_net(x, b, options):
    return _project(_expand(partial_conv2d(x, b.conv_weight, **options), b, options), b, options)


_LAYER_BY_LAYER = {
    FFNBlock: _ffn,
    ConvFirstBlock: _conv_first,
    ConvNeXtBlock: _conv_next,
    MBConvBlock: _mbconv,
    FusedMBConvBlock: _fused_mbconv,
    FasterNetBlock: _faster_net,
}
