"""Whether the operands of a graph's nodes fit each other, as far as their sizes are known; those of weights are before anything is called.

What exporters write into constants is checked by onnx_fits.py, for whoever reads a graph; here is what must fit besides for it to be run.
"""

from refconv.graph.onnx_fits import CHECKS
from refconv.graph.onnx_values import attributes, is_plain
from refconv.graph.operands import CHANNELS, Sizes, broadcast_fault, conv_fault, conv_transpose_fault, vector_fault

WEIGHT_AND_BIAS = {"Conv": (1, 2), "ConvInteger": (1, None), "QLinearConv": (3, 8)}
"""Which inputs of a convolution these are."""
SLOPES_ARE_BROADCAST_SINCE = 7
"""From this version of the operators on; before, the slopes of a PRelu were one for each channel."""


def faults(graph):
    """{tensor: why its node cannot make it} of a Graph, in its order."""
    found = {}
    for node in graph.nodes:
        fault = _CHECKS[node.op_type](graph, node) if is_plain(node) and node.op_type in _CHECKS else None
        found.update((name, fault) for name in node.output if name and fault)
    return found


def _sizes(graph, node, i):
    name = node.input[i] if i is not None and i < len(node.input) else ""
    return Sizes(name, graph.known.shapes.get(name) if name else None)


def _conv(graph, node):
    given = attributes(node)
    x, weight, bias = (_sizes(graph, node, i) for i in (0, *WEIGHT_AND_BIAS[node.op_type]))
    return conv_fault(x, weight, bias, given.get("group", 1), given.get("kernel_shape"))


def _conv_transpose(graph, node):
    return conv_transpose_fault(*(_sizes(graph, node, i) for i in range(3)), attributes(node).get("group", 1))


def _by_channel(count):
    """The check of a node whose `count` operands after the first have a number for each channel of that."""

    def check(graph, node):
        x = _sizes(graph, node, 0)
        found = (vector_fault(_sizes(graph, node, 1 + i), x.size(CHANNELS), f"channel of {x}") for i in range(count))
        return next(filter(None, found), None)

    return check


def _group_norm(graph, node):
    x, groups = _sizes(graph, node, 0), attributes(node).get("num_groups", 1)
    if groups < 1 or (x.size(CHANNELS) is not None and x.size(CHANNELS) % groups):
        return f"num_groups = {groups}: must divide the channels of {x}"
    return _by_channel(2)(graph, node)


def _to_the_first(graph, node):
    """All other operands must be broadcast to the first."""
    if node.op_type == "PRelu" and graph.opset is not None and graph.opset < SLOPES_ARE_BROADCAST_SINCE:
        return None
    x = _sizes(graph, node, 0)
    found = (broadcast_fault(_sizes(graph, node, i), x.sizes) for i in range(1, len(node.input)))
    return next(filter(None, found), None)


def _gemm(graph, node):
    given, (a, b, c) = attributes(node), (_sizes(graph, node, i) for i in range(3))
    made = a.size(1 if given.get("transA") else 0), b.size(0 if given.get("transB") else 1)
    return CHECKS["Gemm"](graph, node) or broadcast_fault(c, made)


_CHECKS = {
    **CHECKS,
    **dict.fromkeys(WEIGHT_AND_BIAS, _conv),
    "ConvTranspose": _conv_transpose,
    "BatchNormalization": _by_channel(4),
    "InstanceNormalization": _by_channel(2),
    "GroupNormalization": _group_norm,
    **dict.fromkeys(("PRelu", "LayerNormalization", "RMSNormalization"), _to_the_first),
    "Gemm": _gemm,
}
"""{operator: what says why its operands do not fit, None where they do, or may}."""
