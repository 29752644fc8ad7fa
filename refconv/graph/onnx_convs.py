"""Conv nodes as layers: with the Pad before them, and as part of a partial convolution (Chen et al., FasterNet).

A partial convolution convolves the first channels of a value and passes the rest through. Exporters write it in these forms:

    Split - Conv - Concat
    Slice - Conv - Concat with another Slice; one Slice may take all axes, or a chain of them one axis each
    Slice - Conv - ScatterND into the value (torch, of x[:, :c] = conv(x[:, :c])), with or without a Transpose on both sides
"""

import math

from refconv.graph.onnx_graph import Found, NotModelled
from refconv.graph.onnx_values import attributes, is_plain
from refconv.problem.conv import Conv2d, PartialConv2d, auto_pads

CHANNELS = 1
"""The axis of channels."""
SAME_ORDER = ("Reshape", "Identity", "Expand", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that leave elements in their order where there are as many of them afterwards."""


def integers(given, name, default):
    """The list of integers called `name` among attributes, as long as the default."""
    values = given.get(name, default)
    if not isinstance(values, list) or len(values) != len(default) or not all(isinstance(value, int) for value in values):
        raise ValueError(f"{name} = {values!r}: must be {len(default)} integers")
    return values


def convolution(graph, node):
    """The Found of a Conv or FusedConv; NotModelled for one that is not 2-D."""
    given = attributes(node)
    padded, weight = graph.needed_shape(node.input[0]), graph.needed_shape(node.input[1])
    if len(weight) != len(padded) or len(weight) < 3:
        raise ValueError(f"weight {weight}, input {padded}: must both have the dimensions of a convolution, such as 4 of a 2-D one")
    if len(weight) != 4:
        raise NotModelled(f"a {len(weight) - 2}-D convolution: no kernel")
    kernel = tuple(integers(given, "kernel_shape", list(weight[2:])))
    if kernel != weight[2:]:
        raise ValueError(f"kernel_shape = {kernel}: must be that of the weight, {weight[2:]}")
    strides, dilations, groups = integers(given, "strides", [1, 1]), integers(given, "dilations", [1, 1]), given.get("group", 1)
    if not isinstance(groups, int) or groups < 1 or padded[1] != weight[1] * groups:
        raise ValueError(f"group = {groups!r}: input has {padded[1]} channels, weight {weight[1]} a group; their product must be the input's")
    if min(strides) < 1 or min(dilations) < 1:
        raise ValueError(f"strides = {strides}, dilations = {dilations}: must be 1 or more")
    pads = padding(given, padded[2:], kernel, strides, dilations)
    source, more, parts = folded_pad(graph, node.input[0], padded)
    pads = [own + before for own, before in zip(pads, more, strict=True)]
    n, c, h, w = source
    problem = Conv2d(n, c, h, w, weight[0], *kernel, *strides, *pads, *dilations, groups).checked()
    agrees(graph, node, (n, problem.k, problem.p, problem.q))
    bias = len(node.input) > 2 and node.input[2] != ""
    besides = tuple(filter(None, node.input[3:]))
    whole = None if parts or not is_plain(node) else partial(graph, node, problem)
    if whole:
        op, partial_problem, parts = whole
        return Found(op, partial_problem, bias, parts)
    return Found("Pad-Conv" if parts else node.op_type, problem, bias, parts, besides)


def agrees(graph, node, shape):
    """ValueError if the graph states another shape for the node's output."""
    said = graph.shape(node.output[0])
    if said not in (None, shape):
        raise ValueError(f"its output is {shape} by its attributes, {said} in the graph: must be the same")


def padding(given, sizes, kernel, strides, dilations):
    """[top, left, bottom, right] of a Conv, auto_pad resolved (SAME: ceil(size / stride) outputs; the odd element last for UPPER)."""
    auto = given.get("auto_pad", b"NOTSET")
    if auto in (b"NOTSET", b""):
        return integers(given, "pads", [0, 0, 0, 0])
    if auto == b"VALID":
        return [0, 0, 0, 0]
    if auto not in (b"SAME_UPPER", b"SAME_LOWER"):
        raise ValueError(f"auto_pad = {auto!r}: must be NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    less, more = [], []
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        fewer, rest = auto_pads(size, taps, stride, dilation)
        less.append(fewer)
        more.append(rest)
    return less + more if auto == b"SAME_UPPER" else more + less


def folded_pad(graph, name, padded):
    """(shape, pads, [Pad]) of a Pad's input, if a Pad with zeros around the map makes the value for this node alone; else of the value itself."""
    node = graph.maker(name, "Pad")
    unfolded = padded, [0, 0, 0, 0], []
    if node is None or graph.only_user(name) is None:
        return unfolded
    given = attributes(node)
    amounts = given.get("pads") or given.get("paddings") or (graph.value(node.input[1]) if len(node.input) > 1 else None)
    value = graph.value(node.input[2]) if len(node.input) > 2 and node.input[2] else [given.get("value", 0)]
    axes = graph.value(node.input[3]) if len(node.input) > 3 and node.input[3] else [0, 1, 2, 3]
    if given.get("mode", b"constant") != b"constant" or value != [0] or not amounts or not axes or len(amounts) != 2 * len(axes):
        return unfolded
    before, after = [0] * 4, [0] * 4
    for i, axis in enumerate(axes):
        before[axis % 4], after[axis % 4] = amounts[i], amounts[i + len(axes)]
    source, pads = graph.shape(node.input[0]), before[2:] + after[2:]
    if source is None or len(source) != 4 or any(before[:2] + after[:2]) or min(pads) < 0:
        return unfolded
    return source, pads, [node]


def partial(graph, node, conv):
    """(op, PartialConv2d, its other nodes) if the Conv is on the first channels of a value whose rest is joined to its output; else None."""
    if conv != PartialConv2d(conv.n, conv.c, conv.h, conv.w, conv.c, conv.r, conv.s).conv:
        return None
    if graph.only_user(node.input[0]) is None:
        return None
    found = joined(graph, node, conv) or scattered(graph, node, conv)
    if found is None:
        return None
    op, whole, parts = found
    if whole is None or len(whole) != 4 or whole[1] <= conv.c:
        return None
    return op, PartialConv2d(conv.n, whole[1], conv.h, conv.w, conv.c, conv.r, conv.s).checked(), parts


def joined(graph, node, conv):
    """(op, shape of the whole value, nodes) of a Conv whose output is joined by a Concat; else None."""
    source, join = node.input[0], graph.only_user(node.output[0])
    if join is None or join.op_type != "Concat" or attributes(join).get("axis") not in (1, -3) or join.input[0] != node.output[0]:
        return None
    rest, split = list(join.input[1:]), graph.maker(source, "Split")
    if any(graph.only_user(name) is None for name in rest):
        return None
    if split is not None:
        if attributes(split).get("axis", 0) not in (1, -3) or list(split.output) != [source, *rest]:
            return None
        return "Split-Conv-Concat", graph.shape(split.input[0]), [split, join]
    first, second = sliced(graph, source), sliced(graph, rest[0]) if len(rest) == 1 else None
    if first is None or second is None or first[0] != second[0]:
        return None
    whole = graph.shape(first[0])
    if not takes_channels(first, whole, 0, conv.c) or not takes_channels(second, whole, conv.c, whole[1]):
        return None
    return "Slice-Conv-Concat", whole, [*first[2], *second[2], join]


def scattered(graph, node, conv):
    """(op, shape of the whole value, nodes) of a Conv whose output a ScatterND puts into the value that it read from; else None."""
    import numpy as np

    first, (updates, parts), order = sliced(graph, node.input[0]), in_same_order(graph, node.output[0]), [0, 1, 2, 3]
    turn = graph.only_user(updates)
    if turn is not None and turn.op_type == "Transpose" and not parts:
        order, (updates, more) = attributes(turn).get("perm", order[::-1]), in_same_order(graph, turn.output[0])
        parts = [turn, *more]
    scatter = graph.only_user(updates)
    if first is None or scatter is None or scatter.op_type != "ScatterND" or list(scatter.input[2:]) != [updates] or not is_plain(scatter):
        return None
    whole, into = graph.shape(first[0]), origin(graph, scatter.input[0])
    if not takes_channels(first, whole, 0, conv.c) or attributes(scatter).get("reduction", b"none") != b"none":
        return None
    parts = [*first[2], *parts, scatter]
    if order != [0, 1, 2, 3]:
        before, back = graph.maker(into, "Transpose"), graph.only_user(scatter.output[0])
        if before is None or back is None or back.op_type != "Transpose" or attributes(before).get("perm") != order:
            return None
        if attributes(back).get("perm") != [order.index(i) for i in range(4)] or graph.only_user(before.output[0]) is None:
            return None
        into, parts = origin(graph, before.input[0]), [*parts, before, back]
    indices = graph.array(scatter.input[1])
    if into != origin(graph, first[0]) or indices is None or indices.ndim < 1:
        return None
    depth, written = indices.shape[-1], [(conv.n, conv.c, conv.h, conv.w)[axis] for axis in order]
    if not order.index(CHANNELS) < depth <= 4 or indices.size != depth * np.prod(written[:depth]):
        return None
    wanted = np.indices(written[:depth]).reshape(depth, -1).T
    if not np.array_equal(indices.reshape(-1, depth) % [whole[axis] for axis in order[:depth]], wanted):
        return None
    return "Slice-Conv-ScatterND", whole, parts


def in_same_order(graph, name):
    """(name, nodes): a value followed through nodes that leave its elements in their order, as long as one node alone reads it."""
    nodes, shape = [], graph.shape(name)
    while (user := graph.only_user(name)) is not None and user.op_type in SAME_ORDER and is_plain(user) and user.input[0] == name:
        after = graph.shape(user.output[0])
        if shape is None or after is None or math.prod(after) != math.prod(shape):
            break
        nodes.append(user)
        name = user.output[0]
    return name, nodes


def origin(graph, name):
    """The value that this one is, behind Identity nodes."""
    while (node := graph.maker(name, "Identity")) is not None:
        name = node.input[0]
    return name


def sliced(graph, name):
    """(value, [(first, end) by axis], nodes) that a chain of Slice nodes takes a value from, each but the first read by one node; else None."""
    node = graph.maker(name, "Slice")
    whole = graph.shape(node.input[0]) if node is not None else None
    if whole is None or graph.only_user(name) is None:
        return None
    bounds = bounds_of(graph, node, whole)
    if bounds is None:
        return None
    before = sliced(graph, node.input[0])
    if before is None:
        return node.input[0], bounds, [node]
    source, outer, nodes = before
    return source, [(start + first, start + end) for (start, _), (first, end) in zip(outer, bounds, strict=True)], [*nodes, node]


def takes_channels(found, whole, first, end):
    """Whether a slice (of `sliced`) of a map takes these channels of it, and all of the other axes."""
    if whole is None or len(whole) != 4:
        return False
    return found[1] == [(first, end) if axis == CHANNELS else (0, size) for axis, size in enumerate(whole)]


def bounds_of(graph, node, whole):
    """[(first, end) by axis] of a Slice of a value of this shape; None where they are not known, or where it leaves elements out between them."""
    given = attributes(node)
    if "starts" in given:
        starts, ends, axes, steps = given["starts"], given.get("ends"), given.get("axes"), None
    else:
        starts, ends, axes, steps = ([*(graph.value(name) if name else None for name in node.input[1:]), None, None])[:4]
        if any(name and graph.value(name) is None for name in node.input[3:5]):
            return None
    if not starts or not ends or len(starts) != len(ends) or any(step != 1 for step in steps or ()):
        return None
    axes = list(range(len(starts))) if axes is None else axes
    if len(axes) != len(starts) or any(not -len(whole) <= axis < len(whole) for axis in axes):
        return None
    bounds = [(0, size) for size in whole]
    for axis, start, end in zip(axes, starts, ends, strict=True):
        bounds[axis] = slice(start, end).indices(whole[axis])[:2]
    return bounds
