"""What a fused kernel is given: a record of weights as numbers that compiled code understands, and as flat packed arrays."""

import weakref
from typing import Any, NamedTuple

import numpy as np

from refconv.problem.activations import ACTIVATIONS
from refconv.problem.fused import BlockProblem, GateProblem, ResponseProblem
from refconv.problem.steps import CONVOLUTIONS, matrix_shape
from refconv.weights import packed

_PACKED = weakref.WeakKeyDictionary()


class PackedBlock(NamedTuple):
    """weights and biases as flat arrays in the order the kernel takes them; a bias that is None has no elements. gates: those of
    squeeze-excitation, or the weight of a response, a PackedBlock too, or None. `packed_elements` has numbers of elements instead of arrays."""

    weights: tuple
    biases: tuple
    gates: Any = None


class FoldedConv(NamedTuple):
    """A convolution of a graph, and what is folded into it: the weight and bias of a norm or a shift before it, a scale after it (None: there is
    none). Or the response of a graph."""

    conv: Any
    norm: Any
    scale: Any


def gate_problem(block, n, parts, pixels):
    """The GateProblem of a record's squeeze-excitation, or the ResponseProblem of its response."""
    if getattr(block, "response_weight", None) is not None:
        return ResponseProblem(n, block.hidden, parts, float(block.response_eps))
    return GateProblem(n, block.hidden, block.se.squeezed, parts, pixels, ACTIVATIONS[block.se.activation], ACTIVATIONS[block.se.gate])


def block_problem(block, n, h, w, lanes):
    """The BlockProblem of a record on an input; ValueError names what is illegal about n, h, w."""
    graph, layers = block.graph, dict(block.layers(n, h, w))
    steps = {step.name: step for step in graph.steps}
    ops = {step.op: step for step in graph.steps}
    shape, groups, size, window = (0, 0, 0, 0), 0, 0, (1, 1, 0, 0, 0, 0)
    if "conv" in steps:
        shape, groups, order = _order(graph, steps["conv"], lanes)
        size, conv = packed.packed_size(shape, groups, order, lanes), getattr(layers["conv"], "conv", layers["conv"])
        window = conv.stride_h, conv.stride_w, conv.pad_top, conv.pad_left, conv.pad_bottom, conv.pad_right
    norm, eps = (1, float(ops["norm"].attributes["eps"])) if "norm" in ops else (0, 0.0)
    flags = int("add" in ops), norm, int("multiply" in ops), 0
    source, kinds = layers.get("expand", layers.get("conv")).c, (ACTIVATIONS[block.activation], ACTIVATIONS[block.project_activation])
    (_, p, q, k), channels = block.out_shape(n, h, w), (block.c, source, block.hidden)
    return BlockProblem(n, h, w, p, q, *channels, k, *flags, shape[0], *shape[2:], *window, groups, size, eps, *kinds)


def pack_block(block, lanes):
    """The PackedBlock of a record for vectors of `lanes`, of copies of its arrays, made at the first call and kept as long as the record."""
    kept = _PACKED.setdefault(block, {})
    if lanes not in kept:
        kept[lanes] = _by_part(block.graph, lambda graph, folded: _packed(graph, folded, lanes))
    return kept[lanes]


def packed_elements(block, lanes):
    """The numbers of elements of `pack_block`'s arrays, as a PackedBlock; nothing is packed."""
    return _by_part(block.graph, lambda graph, folded: _elements(graph, folded, lanes))


def _by_part(graph, make):
    """The PackedBlock of a graph's convolutions and response, (weight, bias) of each by make(graph, FoldedConv); those that only gates depend on are
    its gates."""
    scales, steps, gating = {step.sources[0]: step for step in graph.steps if step.op == "scale"}, {}, set()
    parts = {False: [], True: []}
    for step in graph.steps:
        steps[step.name] = step
        if step.op in ("mean", "response") or (step.op != "multiply" and gating & {*step.sources}):
            gating.add(step.name)
        if step.op in (*CONVOLUTIONS, "response"):
            before = steps.get(step.sources[0])
            norm = before if before and before.op in ("norm", "shift") else None
            parts[step.name in gating].append(make(graph, FoldedConv(step, norm, scales.get(step.name))))
    main, gates = (PackedBlock(*zip(*pairs, strict=True)) if pairs else None for pairs in parts.values())
    return main._replace(gates=gates)


def _order(graph, conv, lanes):
    """(shape (K, C/groups, R, S), groups, packed order) of a convolution's weight."""
    shape, groups = matrix_shape(graph.array(conv, "weight")), conv.attributes.get("groups", 1)
    return shape, groups, packed.order_of(shape, groups, lanes)


def _elements(graph, folded, lanes):
    """(elements of the packed weight, of the bias) of a FoldedConv."""
    conv, norm, _ = folded
    if conv.op == "response":
        return graph.array(conv, "weight").size, 0
    shape, groups, order = _order(graph, conv, lanes)
    has_bias = graph.array(conv, "bias") is not None or (norm is not None and graph.array(norm, "bias") is not None)
    return packed.packed_size(shape, groups, order, lanes), shape[0] if has_bias else 0


def _packed(graph, folded, lanes):
    """(packed weight, bias of no elements where there is none) of a FoldedConv; what is folded into them is computed in float64."""
    conv, norm, scale = folded
    weight, bias = graph.array(conv, "weight"), graph.array(conv, "bias")
    dtype = weight.dtype
    if conv.op == "response":
        return weight.copy(), packed.empty(0, dtype)
    if norm is not None:
        factor, shift = graph.array(norm, "weight"), graph.array(norm, "bias")
        wide = np.asarray(weight, np.float64)
        weight = weight if factor is None else (wide * np.asarray(factor, np.float64)).astype(dtype)
        if shift is not None:
            bias = (wide @ np.asarray(shift, np.float64) + (0 if bias is None else np.asarray(bias, np.float64))).astype(dtype)
    if scale is not None:
        factor = np.asarray(graph.array(scale, "weight"), np.float64)
        weight = (np.asarray(weight, np.float64) * factor[:, None]).astype(dtype)
        bias = None if bias is None else (np.asarray(bias, np.float64) * factor).astype(dtype)
    shape, groups, order = _order(graph, conv, lanes)
    own_bias = packed.empty(0 if bias is None else shape[0], dtype)
    own_bias[...] = () if bias is None else bias  # a copy, as the packed weight is one
    return packed.pack_weight(weight.reshape(shape), groups, order, lanes), own_bias
