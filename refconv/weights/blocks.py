"""What a fused kernel is given: a record of weights as numbers that compiled code understands, and as flat packed arrays."""

import weakref
from typing import Any, NamedTuple

import numpy as np

from refconv.problem.activations import ACTIVATIONS
from refconv.problem.blocks import ConvNeXtBlock, FasterNetBlock, FFNBlock, FusedMBConvBlock, MBConvBlock
from refconv.problem.fused import BlockProblem, GateProblem
from refconv.weights import packed

_PACKED = weakref.WeakKeyDictionary()


class PackedBlock(NamedTuple):
    """weights and biases as flat arrays in the order the kernel takes them; a bias that is None has no elements. gates: those of
    squeeze-excitation, a PackedBlock too, or None."""

    weights: tuple
    biases: tuple
    gates: Any = None


def gate_problem(block, n, parts, pixels):
    """The GateProblem of a record's squeeze-excitation."""
    return GateProblem(n, block.hidden, block.se.squeezed, parts, pixels, ACTIVATIONS[block.se.activation], ACTIVATIONS[block.se.gate])


def block_problem(block, n, h, w, lanes):
    """The BlockProblem of a record on an input; ValueError names what is illegal about n, h, w."""
    block.layers(n, h, w)
    shape, groups, size = (0, 0, 0, 0), 0, 0
    if not isinstance(block, FFNBlock):
        shape, groups = block.conv_weight.shape, getattr(block, "groups", 1)
        size = packed.packed_size(shape, groups, packed.order_of(shape, groups, lanes), lanes)
    norm, eps = (1, float(block.eps)) if isinstance(block, ConvNeXtBlock) else (0, 0.0)
    flags = int(block.residual), norm, int(getattr(block, "se", None) is not None), 0
    source, kind = shape[1] if isinstance(block, FusedMBConvBlock) else block.expand_weight.shape[1], ACTIVATIONS[block.activation]
    return BlockProblem(n, h, w, block.c, source, block.hidden, block.k, *flags, shape[0], *shape[2:], block.stride, groups, size, eps, kind)


def pack_block(block, lanes):
    """The PackedBlock of a record for vectors of `lanes`, made at the first call and kept as long as the record."""
    kept = _PACKED.setdefault(block, {})
    if lanes not in kept:
        packed, se = _packed(*_folded(block), lanes), getattr(block, "se", None)
        if se is not None:
            matrices = [(se.reduce_weight, 1), (se.expand_weight, 1)]
            packed = packed._replace(gates=_packed(matrices, [se.reduce_bias, se.expand_bias], lanes))
        kept[lanes] = packed
    return kept[lanes]


def _packed(weights, biases, lanes):
    """A PackedBlock of [(weight, groups)] and [bias or None]."""
    flat = []
    for weight, groups in weights:
        weight = weight[:, :, None, None] if weight.ndim == 2 else weight
        flat.append(packed.pack_weight(weight, groups, packed.order_of(weight.shape, groups, lanes), lanes))
    empty = packed.empty(0, weights[0][0].dtype)
    return PackedBlock(tuple(flat), tuple(empty if bias is None else np.ascontiguousarray(bias) for bias in biases))


def _folded(block):
    """([(weight, groups)], [bias or None]) in the kernel's order, norm and scale folded into them in float64."""
    project, project_bias = block.project_weight, block.project_bias
    if isinstance(block, FusedMBConvBlock):
        return [(block.conv_weight, 1), (project, 1)], [block.conv_bias, project_bias]
    expand, expand_bias = block.expand_weight, block.expand_bias
    if isinstance(block, MBConvBlock):
        return [(expand, 1), (block.conv_weight, block.groups), (project, 1)], [expand_bias, block.conv_bias, project_bias]
    if isinstance(block, FFNBlock):
        return [(expand, 1), (project, 1)], [expand_bias, project_bias]
    if isinstance(block, FasterNetBlock):
        return [(block.conv_weight, 1), (expand, 1), (project, 1)], [None, expand_bias, project_bias]
    if isinstance(block, ConvNeXtBlock):
        wide = np.asarray(expand, np.float64)
        expand = (wide * np.asarray(block.norm_weight, np.float64)).astype(block.dtype)
        if block.norm_bias is not None:
            shift = wide @ np.asarray(block.norm_bias, np.float64) + (0 if expand_bias is None else np.asarray(expand_bias, np.float64))
            expand_bias = shift.astype(block.dtype)
        if block.scale is not None:
            scale = np.asarray(block.scale, np.float64)
            project = (np.asarray(project, np.float64) * scale[:, None]).astype(block.dtype)
            project_bias = None if project_bias is None else (np.asarray(project_bias, np.float64) * scale).astype(block.dtype)
    return [(block.conv_weight, block.groups), (expand, 1), (project, 1)], [block.conv_bias, expand_bias, project_bias]
