"""Which nodes of an ONNX graph are layers that there is a kernel for, and what is left.

    Conv             a Conv2d: auto_pad, four-sided pads, groups; a Pad of zeros before it is part of its padding
    Gemm, MatMul     of an activation with a constant matrix: a pointwise layer; a constant added to a MatMul is its bias
    Split - Conv - Concat, Slice - Conv - Concat   of the first channels: a partial convolution (Chen et al., FasterNet), a PartialConv2d

Constants are followed through any nodes (Constant, ConstantOfShape, Identity, DequantizeLinear, Transpose, ...).
"""

import math

from refconv.graph.model import Model, ModelLayer, OtherNode
from refconv.graph.onnx_graph import named
from refconv.graph.onnx_shapes import PLAIN_DOMAINS, attributes
from refconv.problem.conv import Conv2d, PartialConv2d, same_pads

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
ELEMENTWISE = """
    Abs Add And BatchNormalization Cast Ceil Celu Clip Cos DequantizeLinear Div Elu Equal Erf Exp Floor Gelu Greater HardSigmoid HardSwish LeakyRelu
    Less Log Max Min Mish Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round Selu Sigmoid Sign SiLU Sin Softplus Softsign Sqrt Sub Sum
    Swish Tanh ThresholdedRelu Where
"""
CONSTANT, VIEW, NO_KERNEL = "known before the run", "a view", "no kernel"
FUSABLE, TWO_ACTIVATIONS, SUBGRAPH = "elementwise: fusable with the layer before it", "no constant operand", "its subgraphs are not read"
GEMM_OPERANDS = 2


def model_of(graph, path, scale):
    """The Model of a Graph; scale: (images asked for, images of the graph)."""
    layers, taken = {}, set()
    for i, node in enumerate(graph.nodes):
        if node.domain in PLAIN_DOMAINS and node.op_type in READERS and node.output[0] not in graph.constants:
            try:
                found = READERS[node.op_type](graph, node)
                if found:
                    op, problem, bias, parts = found
                    layers[i] = ModelLayer(named(node), op, scaled(problem, scale).checked(), bias)
                    taken.update(map(id, parts))
            except ValueError as error:
                raise ValueError(f"node {named(node)} ({node.op_type}): {error}") from None
    others = [
        other(graph, node, scale) for i, node in enumerate(graph.nodes) if i not in layers and id(node) not in taken and not is_gate(graph, node)
    ]
    if not layers:
        raise ValueError(f"has no layer among its {len(graph.nodes)} nodes: must have a 2-D Conv, or a Gemm or MatMul with a constant matrix")
    return Model(str(path), tuple(layers.values()), tuple(others))


def scaled(problem, scale):
    """The problem for as many images as are asked for."""
    images, rest = divmod(problem.n * scale[0], scale[1])
    if rest:
        raise ValueError(f"--batch {scale[0]}: the graph is for {scale[1]} images, this node for {problem.n}; legal: a multiple of {scale[1]}")
    return problem._replace(n=images)


def integers(given, name, default):
    """The list of integers called `name` among attributes, as long as the default."""
    values = given.get(name, default)
    if not isinstance(values, list) or len(values) != len(default) or not all(isinstance(value, int) for value in values):
        raise ValueError(f"{name} = {values!r}: must be {len(default)} integers")
    return values


def convolution(graph, node):
    """A Conv: alone, with a Pad before it, or as part of a partial convolution."""
    given = attributes(node)
    padded, weight = graph.needed_shape(node.input[0]), graph.needed_shape(node.input[1])
    if len(weight) != 4 or len(padded) != 4:
        raise ValueError(f"a {len(weight) - 2}-D convolution, weight {weight}, input {padded}; legal: 2-D")
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
    whole = None if parts else partial(graph, node, problem)
    if whole:
        op, partial_problem, parts = whole
        return op, partial_problem, bias, parts
    return "Pad-Conv" if parts else "Conv", problem, bias, parts


def agrees(graph, node, shape):
    """ValueError unless the graph says the same of the node's output, or nothing."""
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
        total = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
        less.append(total // 2)
        more.append(total - total // 2)
    return less + more if auto == b"SAME_UPPER" else more + less


def folded_pad(graph, name, padded):
    """(shape, pads, [node]) of what a Pad of zeros around the map gets, if a Pad makes the value for this node alone; else the value itself."""
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
    (top, bottom), (left, right) = same_pads(conv.r, 1), same_pads(conv.s, 1)
    if conv != Conv2d(conv.n, conv.c, conv.h, conv.w, conv.c, conv.r, conv.s, 1, 1, top, left, bottom, right, 1, 1, 1):
        return None
    source, join = node.input[0], graph.only_user(node.output[0])
    if join is None or join.op_type != "Concat" or attributes(join).get("axis") not in (1, -3) or join.input[0] != node.output[0]:
        return None
    if graph.only_user(source) is None or any(graph.only_user(name) is None for name in join.input[1:]):
        return None
    rest, split, first = list(join.input[1:]), graph.maker(source, "Split"), graph.maker(source, "Slice")
    if split is not None:
        if attributes(split).get("axis", 0) not in (1, -3) or list(split.output) != [source, *rest]:
            return None
        op, whole, parts = "Split-Conv-Concat", graph.shape(split.input[0]), [split, join]
    else:
        second = graph.maker(rest[0], "Slice") if len(rest) == 1 else None
        if first is None or second is None or first.input[0] != second.input[0]:
            return None
        whole = graph.shape(first.input[0])
        if whole is None or channels_of(graph, first, whole) != (0, conv.c) or channels_of(graph, second, whole) != (conv.c, whole[1]):
            return None
        op, parts = "Slice-Conv-Concat", [first, second, join]
    if whole is None or len(whole) != 4 or whole[1] <= conv.c:
        return None
    return op, PartialConv2d(conv.n, whole[1], conv.h, conv.w, conv.c, conv.r, conv.s).checked(), parts


def channels_of(graph, node, whole):
    """(first, end) of the channels that a Slice of them alone takes; None for any other."""
    given = attributes(node)
    if "starts" in given:
        starts, ends, axes, steps = given["starts"], given.get("ends"), given.get("axes"), [1]
    else:
        starts, ends, axes, steps = ([*map(graph.value, node.input[1:]), None, None])[:4]
    if not starts or not ends or [axis % 4 for axis in axes or [0]] != [1] or steps not in (None, [1]) or len(whole) != 4:
        return None
    return slice(starts[0], ends[0]).indices(whole[1])[:2]


def product(graph, node):
    """A Gemm or MatMul of an activation with a constant matrix, as a pointwise layer; None where neither operand is one."""
    given = attributes(node) if node.op_type == "Gemm" else {}
    if node.input[1] in graph.constants:
        x, w = (graph.needed_shape(name) for name in node.input[:2])
        x, w = x[::-1] if given.get("transA") else x, w[::-1] if given.get("transB") else w
    elif node.input[0] in graph.constants and node.op_type == "MatMul":  # channels first: the transposed product
        w, x = (graph.needed_shape(name) for name in node.input[:2])
        x, w = (*x[:-2], *x[:-3:-1]), w[::-1]
    else:
        return None
    if len(x) < 2 or len(w) != 2 or x[-1] != w[0]:
        return None
    (*pixels, channels), outputs, parts, bias = x, w[1], [], False
    n, *rows, columns = (pixels[0], 1) if len(pixels) == 1 else pixels
    if node.op_type == "Gemm":
        bias = len(node.input) > GEMM_OPERANDS and node.input[2] != ""
    elif node.input[1] in graph.constants:  # channels last, along which a row of constants is added
        after = graph.only_user(node.output[0])
        added = after.input if after is not None and after.op_type == "Add" else ()
        bias = any(name in graph.constants and graph.shape(name) == (outputs,) for name in added)
        parts = [after] if bias else []
    problem = Conv2d(n, channels, math.prod(rows), columns, outputs, 1, 1).checked()
    return "MatMul-Add" if parts else node.op_type, problem, bias, parts


READERS = {"Conv": convolution, "Gemm": product, "MatMul": product}


def is_gate(graph, node):
    """Whether a node is the Sigmoid of a SiLU, x * sigmoid(x): it is listed with its Mul."""
    user = graph.only_user(node.output[0]) if node.op_type == "Sigmoid" else None
    return user is not None and user.op_type == "Mul" and set(user.input) == {node.input[0], node.output[0]}


def other(graph, node, scale):
    """The OtherNode of a node."""
    op, inputs, values = node.op_type, list(node.input), None
    if op == "Mul":
        gates = [graph.makers[name] for name in inputs if name in graph.makers and is_gate(graph, graph.makers[name])]
        if gates:
            op, inputs = "SiLU", list(gates[0].input)
    plain = node.domain in PLAIN_DOMAINS
    if all(name in graph.constants for name in node.output):
        remark, values = CONSTANT, []
    elif plain and op in VIEWS:
        remark, values = VIEW, []
    elif any(attribute.g.node or attribute.graphs for attribute in node.attribute):
        remark = SUBGRAPH
    elif plain and op in ("Gemm", "MatMul"):
        remark = NO_KERNEL if any(name in graph.constants for name in node.input[:2]) else TWO_ACTIVATIONS
    else:
        remark = FUSABLE if plain and op in ELEMENTWISE.split() else NO_KERNEL
    if values is None:
        values = dict.fromkeys(name for name in (*inputs, *node.output) if name and (name in graph.users or name in graph.outputs))
    elements = 0
    for name in values:
        shape = graph.shape(name)
        if shape is None:
            elements = None
            break
        asked, own = (1, 1) if name in graph.constants else scale
        elements += math.prod(shape) * asked // own
    return OtherNode(named(node), op if plain else f"{node.domain}.{op}", elements, remark)
