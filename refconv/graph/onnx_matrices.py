"""Shapes of products of matrices: Gemm, MatMul, and the products of onnxruntime that onnx does not know."""

import math
from itertools import zip_longest

from refconv.graph.onnx_values import attributes

TRANSPOSED = (("transA", "transBatchA"), ("transB", "transBatchB"))
"""Attributes of the two operands: whether the last two dimensions are exchanged; and whether, before, the first one moves behind the batch.
Source: onnxruntime, docs/ContribOperators.md, FusedMatMul."""
PACKED = {"MatMulNBits", "MatMulBnb4"}
"""Operators of onnxruntime whose second operand is a matrix packed in fewer bits; its sizes stand in the attributes K and N."""
PRODUCTS = PACKED | {
    *("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"),
    *("FusedGemm", "FusedMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"),
}
"""Operators of two operands, of ONNX and of onnxruntime."""
SECOND = {"QLinearMatMul": 3}
"""Which input is the second operand; else the one after the first."""


def operands(node, shapes):
    """[sizes of both operands of a product], None for one that is not known. shapes: {name: sizes}."""
    inputs, given = (*node.input, "", "", "", ""), attributes(node)
    x, weight = shapes.get(inputs[0]), shapes.get(inputs[SECOND.get(node.op_type, 1)])
    if node.op_type in PACKED:
        weight = (given["K"], given["N"]) if "K" in given and "N" in given else None
    return [sizes if sizes and None not in sizes else None for sizes in (x, weight)]


def oriented(shapes, given):
    """Shapes of two operands as matrices, (rows, inner) and (inner, columns); a vector has one row or column. None where they do not fit.

    A size that is None, not known, fits any.

    given: attributes of the node.
    """
    if not all(shapes):
        return None
    a, b = (turned(shape, *map(given.get, names)) for shape, names in zip(shapes, TRANSPOSED, strict=True))
    a, b = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    return (a, b) if (a[-1] == b[-2] or None in (a[-1], b[-2])) and broadcast(a[:-2], b[:-2]) is not None else None


def turned(shape, transposed, batch_transposed):
    """Sizes of an operand after its transpositions; a vector has none."""
    if len(shape) == 1:
        return tuple(shape)
    *batch, rows, columns = (*shape[1:-1], shape[0], shape[-1]) if batch_transposed else shape
    return (*batch, columns, rows) if transposed else (*batch, rows, columns)


def broadcast(one, other):
    """[(size of one, size of other)] of batch dimensions from the last on, 1 where there is none; None where they do not fit."""
    pairs = list(zip_longest(reversed(one), reversed(other), fillvalue=1))
    return pairs if all(a == b or 1 in (a, b) or None in (a, b) for a, b in pairs) else None


def product_sizes(node, shapes):
    """Sizes of the output of a product; None where they are not known. shapes: {name: sizes}."""
    pair = operands(node, shapes)
    known = oriented(pair, attributes(node))
    if known is None:
        return None
    a, b = known
    batch = batch_sizes(a, b)
    left, right = pair
    return (*batch, *([a[-2]] if len(left) > 1 else []), *([b[-1]] if len(right) > 1 else []))


def product_macs(node, shapes):
    """Multiply-adds of a product; None where a size of an operand is not known. shapes: {name: sizes}."""
    known = oriented(operands(node, shapes), attributes(node))
    if known is None:
        return None
    a, b = known
    return math.prod(batch_sizes(a, b)) * a[-2] * a[-1] * b[-1]


def batch_sizes(a, b):
    """Batch dimensions of the product of two operands that fit."""
    return [b if a == 1 else a for a, b in reversed(broadcast(a[:-2], b[:-2]))]
