"""Whether the sizes in an ONNX graph's own constants fit the sizes that its inputs were given.

Exporters write the batch, and the map, into constants: of a Reshape, a Split, an Expand. Inference believes them, so that what follows would be
counted for another input than what comes before. No count is right then, and the node is named.
"""

import math

from refconv.graph.model import printable, sizes_text
from refconv.graph.onnx_matrices import oriented
from refconv.graph.onnx_values import attributes, is_plain, named

BROADCAST = {
    *("Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean"),
    *("Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor"),
}
"""Operators whose operands are broadcast to one shape."""
BROADCAST_SINCE = 8
"""From this version of the operators on: Max, Mean, Min and Sum took operands of one shape before, Add and its like an axis."""
LEGAL = (
    "legal: sizes of the inputs that it was exported for, batch left out if it is not among them"
    " (with input_shapes and batch = N both, counts for the given shapes are scaled to N), or a network exported for other sizes"
)


def check_fits(graph):
    """ValueError that names the first node of a Graph that cannot take operands of the sizes that they have; where sizes are not known, it may."""
    for node in graph.nodes:
        fault = CHECKS[node.op_type](graph, node) if is_plain(node) and node.op_type in CHECKS else None
        if fault:
            raise ValueError(f"node {named(node)} ({node.op_type}): {fault}; {LEGAL}")


def operand(graph, node, i):
    """(name, shape) of an input; the shape is None where a size is not known."""
    name, shape = partly(graph, node, i)
    return name, None if shape is None or None in shape else shape


def partly(graph, node, i):
    """(name, shape) of an input as far as it is known: None among its sizes, or instead of it."""
    name = node.input[i] if i < len(node.input) else ""
    return printable(name), graph.known.shapes.get(name) if name else None


def given_sizes(graph, node, attribute):
    """The sizes that a node is given as its second input, or in old versions as an attribute; None where they are not known."""
    if len(node.input) > 1 and node.input[1]:
        return graph.value(node.input[1])
    sizes = attributes(node).get(attribute)
    return sizes if isinstance(sizes, list) else None


def counted(shape):
    """A shape and its elements as text."""
    return f"{sizes_text(shape) or 'a scalar'} ({math.prod(shape)} elements)"


def reshape(graph, node):
    """Why a Reshape does not fit: as many elements must come out as go in."""
    name, before = operand(graph, node, 0)
    sizes = given_sizes(graph, node, "shape")
    if before is None:
        return None
    if sizes is None:
        after = graph.shape(node.output[0])
        fits = after is None or math.prod(after) == math.prod(before)
        return None if fits else f"{name} is {counted(before)}, its output {counted(after)}: must be as many"
    if not attributes(node).get("allowzero"):
        sizes = [before[i] if size == 0 and i < len(before) else size for i, size in enumerate(sizes)]
    elements = math.prod(size for size in sizes if size != -1)
    open_sizes = sizes.count(-1)
    fits = math.prod(before) == elements if not open_sizes else (elements == 0 or math.prod(before) % elements == 0)
    if fits and open_sizes < 2 and min(sizes, default=0) >= -1:
        return None
    wanted = f"a multiple of {elements}" if open_sizes else f"{elements}"
    return f"{name} is {counted(before)}, its sizes are {sizes_text(sizes)}: must have {wanted}"


def split(graph, node):
    """Why a Split does not fit: its sizes must add up to that of the axis."""
    name, before = partly(graph, node, 0)
    sizes, axis = given_sizes(graph, node, "split"), attributes(node).get("axis", 0)
    if before is None or sizes is None or not isinstance(axis, int) or not -len(before) <= axis < len(before) or before[axis] in (None, sum(sizes)):
        return None
    return f"{name} is {sizes_text(before)}, its sizes along axis {axis} are {', '.join(map(str, sizes))}: must add up to {before[axis]}"


def expand(graph, node):
    """Why an Expand does not fit: a size must be that of its input, or one of both 1."""
    name, before = partly(graph, node, 0)
    sizes = given_sizes(graph, node, "shape")
    if before is None or sizes is None or broadcasts([before, sizes]):
        return None
    return f"{name} is {sizes_text(before)}, its sizes are {sizes_text(sizes)}: must be the same, or 1, from the last one on"


def elementwise(graph, node):
    """Why operands cannot be broadcast."""
    since = BROADCAST_SINCE if graph.opset is None else graph.opset
    shapes = [graph.known.shapes.get(name) for name in node.input if name]
    if since < BROADCAST_SINCE or broadcasts([shape for shape in shapes if shape is not None]):
        return None
    told = ", ".join(f"{printable(name)} {'?' if shape is None else sizes_text(shape)}" for name, shape in zip(node.input, shapes, strict=False))
    return f"operands are {told}: must be the same, or 1, from the last size on"


def broadcasts(shapes):
    """Whether shapes can be broadcast to one, as far as they are known."""
    return all(
        len({shape[-i] for shape in shapes if len(shape) >= i and shape[-i] not in (1, None)}) < 2
        for i in range(1, 1 + max(map(len, shapes), default=0))
    )


def concat(graph, node):
    """Why values cannot be joined: sizes must agree along all axes but one."""
    shapes, axis = [graph.known.shapes.get(name) for name in node.input], attributes(node).get("axis", 1)
    known = [shape for shape in shapes if shape is not None]
    if not known or not isinstance(axis, int) or not -len(known[0]) <= axis < len(known[0]):
        return None
    axis %= len(known[0])
    others = [{*sizes} - {None} for i, sizes in enumerate(zip(*known, strict=False)) if i != axis]
    if len(set(map(len, known))) == 1 and all(len(sizes) < 2 for sizes in others):
        return None
    told = ", ".join(f"{printable(name)} {'?' if shape is None else sizes_text(shape)}" for name, shape in zip(node.input, shapes, strict=True))
    return f"operands are {told}: must be the same but along axis {axis}"


def multiplied(graph, node):
    """Why two operands have no product."""
    (a, one), (b, other) = partly(graph, node, 0), partly(graph, node, 1)
    if not one or not other or oriented([one, other], attributes(node)) is not None:
        return None
    return f"{a} is {sizes_text(one)}, {b} is {sizes_text(other)}: must have as many columns as rows, and batches that are the same or 1"


def resized(graph, node):
    """Why a Resize to given sizes does not fit: the map is resized, not the batch."""
    name, before = operand(graph, node, 0)
    after = graph.shape(node.output[0])
    if before is None or after is None or len(before) < 3 or len(node.input) < 4 or not node.input[3] or before[0] == after[0]:
        return None
    return f"{name} is {sizes_text(before)}, its output {sizes_text(after)}: must be as many images"


CHECKS = {
    "Reshape": reshape,
    "Split": split,
    "Expand": expand,
    "Concat": concat,
    "MatMul": multiplied,
    "Gemm": multiplied,
    "Resize": resized,
    **dict.fromkeys(BROADCAST, elementwise),
}
"""{operator: what says why it does not fit}."""
