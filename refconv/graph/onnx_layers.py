"""Which nodes of an ONNX graph are layers that there is a kernel for, and what is left.

    Conv             a Conv2d: auto_pad, four-sided pads, groups; a Pad of zeros before it is part of its padding; or part of a PartialConv2d
    Gemm, MatMul     of an activation with constants: a pointwise layer; a constant added to a MatMul is its bias
    FusedConv, FusedGemm, FusedMatMul   of onnxruntime: the same

Constants are followed through any nodes (Constant, ConstantOfShape, Identity, DequantizeLinear, Transpose, ...).
"""

import math

from refconv.graph.model import Model, ModelLayer, OtherNode, printable
from refconv.graph.onnx_branches import resolve
from refconv.graph.onnx_convs import convolution
from refconv.graph.onnx_fits import check_fits
from refconv.graph.onnx_graph import Graph, NotModelled
from refconv.graph.onnx_matrices import PRODUCTS, product_macs
from refconv.graph.onnx_products import product
from refconv.graph.onnx_shapes import CARRIED, MICROSOFT, NCHWC, THEN, branches_of, is_loop, iterations, loop_inputs, standalone
from refconv.graph.onnx_values import is_plain, named, subgraphs

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
ELEMENTWISE = {
    *("Abs", "Add", "And", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Cos", "DequantizeLinear", "Div", "Elu", "Equal", "Erf"),
    *("Exp", "Floor", "Gelu", "Greater", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "Log", "Max", "Min", "Mish", "Mul", "Neg"),
    *("Not", "Or", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "SiLU", "Sin", "Softplus"),
    *("Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu", "Where"),
}
MICROSOFT_ELEMENTWISE = {"BiasGelu", "FastGelu", "Gelu", "QuickGelu"}
CONSTANT, VIEW, NO_KERNEL = "known before the run", "a view", "no kernel"
FUSABLE, TWO_ACTIVATIONS, SUBGRAPH = "elementwise: fusable with the layer before it", "no constant operand", "its subgraphs are not read"
MOST_TOLD = 3
"""Nodes that an error lists."""
READERS = {
    ("", "Conv"): convolution,
    ("", "Gemm"): product,
    ("", "MatMul"): product,
    (MICROSOFT, "FusedConv"): convolution,
    (MICROSOFT, "FusedGemm"): product,
    (MICROSOFT, "FusedMatMul"): product,
}


def kind(node):
    """(domain, operator) of a node; ("", operator) of one of ONNX itself."""
    return "" if is_plain(node) else node.domain, node.op_type


def model_of(graph, path, scale):
    """The Model of a Graph; scale: its Scale. ValueError where there is no layer."""
    layers, others = nodes_of(graph, scale)
    if not layers:
        reasons = [f"{node.name} ({node.op}): {node.remark}" for node in others if node.macs != 0]
        told = f"; has {'; '.join(reasons[:MOST_TOLD])}{'; ...' if len(reasons) > MOST_TOLD else ''}" if reasons else ""
        raise ValueError(f"has no layer among its {len(graph.nodes)} nodes: must have a 2-D Conv, or a Gemm or MatMul with a constant matrix{told}")
    return Model(str(path), layers, others)


def nodes_of(graph, scale):
    """(ModelLayers, OtherNodes) of a Graph in its order; ValueError where a node cannot take what it is given."""
    check_fits(graph)
    layers, taken, reasons, besides = {}, set(), {}, []
    for i, node in enumerate(graph.nodes):
        if kind(node) not in READERS or node.output[0] in graph.constants:
            continue
        try:
            found = READERS[kind(node)](graph, node)
            if found:
                layers[i] = ModelLayer(named(node), found.op, scaled(found.problem, scale.of(node.output[0])).checked(), found.bias)
                taken.update(map(id, found.parts))
                besides += [(node, name) for name in found.besides]
        except NotModelled as error:
            reasons[i] = str(error)
        except ValueError as error:
            raise ValueError(f"node {named(node)} ({node.op_type}): {error}") from None
    left = [(i, node) for i, node in enumerate(graph.nodes) if i not in layers and id(node) not in taken and not is_gate(graph, node)]
    others = [other(graph, node, scale, reasons.get(i)) for i, node in left]
    added = [OtherNode(f"{named(node)}: {name}", "Add", moved(graph, [name], scale), FUSABLE) for node, name in besides]
    return tuple(layers.values()), (*others, *added)


def scaled(problem, ratio):
    """The problem for as many images as are asked for; ratio: (images asked for, images of the graph)."""
    asked, own = ratio
    images, rest = divmod(problem.n * asked, own)
    if rest:
        raise ValueError(f"batch = {asked}: the graph is for {own} images, this node for {problem.n}; legal: a multiple of {own}")
    return problem._replace(n=images)


def is_gate(graph, node):
    """Whether a node is the Sigmoid of a SiLU, x * sigmoid(x): it is listed with its Mul."""
    user = graph.only_user(node.output[0]) if node.op_type == "Sigmoid" and node.output else None
    return user is not None and user.op_type == "Mul" and set(user.input) == {node.input[0], node.output[0]}


def other(graph, node, scale, reason):
    """The OtherNode of a node; reason: why a node that multiplies is no layer, or None."""
    op, inputs, macs = node.op_type, list(node.input), 0
    domain, _ = kind(node)
    if op == "Mul":
        gates = [graph.makers[name] for name in inputs if name in graph.makers and is_gate(graph, graph.makers[name])]
        if gates:
            op, inputs = "SiLU", list(gates[0].input)
    values = [*inputs, *node.output]
    if node.output and all(name in graph.constants for name in node.output):
        remark, values = CONSTANT, []
    elif domain == "" and op in VIEWS:
        remark, values = VIEW, []
    elif subgraphs(node):
        remark, macs = in_subgraphs(graph, node, scale)
    elif (domain == "" and op in ELEMENTWISE) or (domain == MICROSOFT and op in MICROSOFT_ELEMENTWISE):
        remark = FUSABLE
    else:
        macs = macs_of(graph, node)
        asked, own = scale.of(next(filter(None, node.output), ""))
        macs = None if macs is None else macs * asked // own
        two_activations = "MatMul" in op or "Gemm" in op
        remark = reason or (TWO_ACTIVATIONS if two_activations and not graph.constants.intersection(node.input[:2]) else NO_KERNEL)
    return OtherNode(named(node), printable(op if domain == "" else f"{domain}.{op}"), moved(graph, values, scale), remark, macs)


def moved(graph, names, scale):
    """Elements of these values, as far as they are read at all, each counted once; None where a shape is not known."""
    elements = 0
    for name in dict.fromkeys(name for name in names if name and (name in graph.users or name in graph.outputs)):
        shape = graph.shape(name)
        if shape is None:
            return None
        asked, own = (1, 1) if name in graph.constants else scale.of(name)
        elements += math.prod(shape) * asked // own
    return elements


SECOND = {"QLinearConv": 3}
"""Which input is the weight of a convolution; else the one after the first."""
CONVOLUTIONS = {"Conv", "FusedConv", "ConvInteger", "QLinearConv", "DeformConv"}
RECURRENT = {"LSTM", "GRU", "RNN"}
UNKNOWN = {"Einsum", "Attention", "LinearAttention"}
"""Operators of ONNX itself that multiply; how often is not counted here."""
DOMAINS = ("", MICROSOFT, NCHWC)


def macs_of(graph, node):
    """Multiply-adds of a node that is no layer, of one graph's batch: 0 for operators that are known not to be products; None where not known."""
    from onnx import defs

    domain, op = kind(node)
    inputs = (*node.input, "", "", "", "")
    x, weight, out = graph.shape(inputs[0]), graph.shape(inputs[SECOND.get(op, 1)]), graph.shape(node.output[0]) if node.output else None
    if domain in DOMAINS and op in CONVOLUTIONS:
        return None if not weight or out is None else math.prod(out) * math.prod(weight[1:])
    if domain in DOMAINS and op in PRODUCTS:
        return product_macs(node, graph.known.shapes)
    if domain == "" and op == "ConvTranspose":
        return None if x is None or not weight else math.prod(x) * math.prod(weight[1:])
    if domain == "" and op in RECURRENT:
        again = graph.shape(node.input[2]) if len(node.input) > 2 else None
        return None if None in (x, weight, again) or len(x) != 3 else math.prod(x[:2]) * (math.prod(weight) + math.prod(again))
    known = domain == NCHWC or (domain == "" and op not in UNKNOWN and defs.has(op))
    return 0 if known else None


def in_subgraphs(graph, node, scale):
    """(remark, multiply-adds) of an If, a Loop, or another node with subgraphs; None where how often they run is not known."""
    if branches := branches_of(node):
        each = {name: subgraph_macs(graph, node, inner, [], scale) for name, inner in branches.items()}
        if len(set(each.values())) == 1:
            return SUBGRAPH, each[THEN]
        return f"{SUBGRAPH}: {', '.join(f'{name} {count_text(macs)}' for name, macs in each.items())}", None
    if is_loop(node):
        body = subgraphs(node)["body"]
        sizes = [graph.known.shapes.get(name) for name in node.output[: len(node.input) - CARRIED]]
        alone = standalone(body, loop_inputs(sizes), graph.model, graph.known)
        inner = resolve(alone, {})
        rounds, macs = iterations(node, graph.known.values, inner.values), subgraph_macs(graph, node, body, loop_inputs(sizes), scale)
        if rounds is not None and macs is not None:
            return f"{SUBGRAPH}: {rounds} iterations of {count_text(macs)}", rounds * macs
        return f"{SUBGRAPH}: {'an unknown number of' if rounds is None else rounds} iterations of {count_text(macs)}", 0 if macs == 0 else None
    each = [subgraph_macs(graph, node, inner, [None] * len(inner.input), scale) for inner in subgraphs(node).values()]
    return SUBGRAPH, 0 if not any(each) and None not in each else None


def count_text(macs):
    """Multiply-adds as text."""
    return "an unknown number of MACs" if macs is None else f"{macs} MACs"


def subgraph_macs(graph, node, body, sizes, scale):
    """Multiply-adds of a subgraph of a node whose inputs have these sizes; None where they are not known."""
    alone = standalone(body, sizes, graph.model, graph.known)
    known = resolve(alone, {})
    constants = {name for name in (value.name for value in alone.graph.input) if name in graph.constants}
    try:
        layers, others = nodes_of(Graph(alone, constants, known), scale.within(node, body, alone.graph.node))
    except ValueError:
        return None
    every = [node.macs for node in (*layers, *others)]
    return None if None in every else sum(every)
