"""Gemm and MatMul nodes of an activation with a constant matrix, or with several, as pointwise layers.

Derived here: a product of x (..., P, K) with a constant (..., K, O) convolves P pixels of K channels to O. Where the constant has batch dimensions of
its own, each that x has, too, is one of groups of channels; each that x does not have multiplies the outputs. A constant on the left is the
transposed product: channels come first.
"""

import math
from typing import NamedTuple

from refconv.graph.onnx_graph import Found
from refconv.graph.onnx_matrices import broadcast, oriented
from refconv.graph.onnx_values import attributes
from refconv.problem.conv import Conv2d

GEMM_OPERANDS = 2


class Operands(NamedTuple):
    """Shapes of a product. x: (..., pixels, channels) of the activation; weight: (..., channels, outputs); left: whether the weight stood there."""

    x: tuple
    weight: tuple
    left: bool


def product(graph, node):
    """The Found of a product of an activation with constants; None where both operands are activations, or the shapes are no product."""
    constant = [name in graph.constants for name in node.input[:2]]
    if not any(constant):
        return None
    shapes = oriented([graph.needed_shape(name) for name in node.input[:2]], attributes(node))
    if shapes is None:
        return None
    a, b = shapes
    operands = Operands(a, b, False) if constant[1] else Operands((*b[:-2], b[-1], b[-2]), (*a[:-2], a[-1], a[-2]), True)
    problem = pointwise(operands, plain_vector=len(graph.shape(node.input[0 if constant[1] else 1])) == 1)
    if problem is None:
        return None
    op, outputs = node.op_type, operands.weight[-1]
    if "Gemm" in op:
        given_bias = len(node.input) > GEMM_OPERANDS and node.input[GEMM_OPERANDS] != ""
        bias = given_bias and is_bias(graph.shape(node.input[GEMM_OPERANDS]), outputs, operands.left)
        return Found(op, problem, bias, besides=(node.input[GEMM_OPERANDS],) if given_bias and not bias else ())
    after = graph.only_user(node.output[0]) if not operands.left else None  # channels last, along which a row of constants is added
    added = after.input if after is not None and after.op_type == "Add" else ()
    if problem.groups == 1 and any(name in graph.constants and graph.shape(name) == (outputs,) for name in added):
        return Found(f"{op}-Add", problem, True, [after])
    return Found(op, problem, False)


def pointwise(operands, plain_vector):
    """The Conv2d of a product; plain_vector: whether the activation is one, a single pixel."""
    (*batch, pixels, channels), (*matrices, _, outputs) = operands.x, operands.weight
    if math.prod(matrices) == 1:
        n, *rows, columns = (*batch, pixels) if len(batch) > 0 else (pixels, 1)
        if plain_vector:
            n, rows, columns = 1, [], pixels
        return Conv2d(n, channels, math.prod(rows), columns, outputs, 1, 1).checked()
    pairs = broadcast(batch, matrices)
    groups = math.prod(a for a, b in pairs if a == b)
    images, times = math.prod(a for a, b in pairs if b == 1), math.prod(b for a, b in pairs if a == 1)
    return Conv2d(images, groups * channels, 1, pixels, groups * times * outputs, 1, 1, groups=groups).checked()


def is_bias(shape, outputs, left):
    """Whether the third operand of a Gemm is one number an output channel, or one for all."""
    if shape is None or math.prod(shape) == 1:
        return True
    return shape == (outputs, 1) if left else shape in ((outputs,), (1, outputs))
