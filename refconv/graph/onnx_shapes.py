"""The shapes of an ONNX graph's values, and the values of its small constants.

onnx infers shapes, and carries values through some nodes only. Where that leaves a shape open (a Reshape whose sizes come from Shape, Cast and
Slice), the nodes between are evaluated by onnx's reference implementation, and shapes inferred again with what they give as constants. Three
kinds of node that onnx leaves open are inferred here: operators of onnxruntime (com.microsoft), what the branches of an If have in common, and what
a Loop carries from one iteration to the next.
"""

from typing import NamedTuple

from refconv.graph.onnx_matrices import PRODUCTS, product_sizes
from refconv.graph.onnx_values import array_of, attributes, captured, evaluated, is_plain, subgraphs

NO_INPUT_NEEDED = 4
"""From this version of the format on, an initializer need not be an input as well; before, inference overlooks one that is not."""
MICROSOFT, NCHWC = "com.microsoft", "com.microsoft.nchwc"
FIRST_INPUT = "Relu"
"""Stands for every operator whose first output has the shape of its first input."""
SAME_SHAPES_AS = {
    (MICROSOFT, "FusedConv"): "Conv",
    (MICROSOFT, "FusedGemm"): "Gemm",
    **{(MICROSOFT, op): FIRST_INPUT for op in ("BiasGelu", "FastGelu", "Gelu", "QuickGelu")},
    **{(MICROSOFT, op): FIRST_INPUT for op in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")},
    **{("", op): FIRST_INPUT for op in ("SimplifiedLayerNormalization", "LayerNormalization", "GroupNormalization", "MeanVarianceNormalization")},
    **{(NCHWC, op): op for op in ("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")},
}
"""Operators of onnxruntime by an operator of ONNX that gives the same shapes. Source: onnxruntime, docs/ContribOperators.md, nchwc_schema_defs.cc."""
REORDERS = ("ReorderInput", "ReorderOutput")
"""Operators of the domain nchwc: to blocks of channels, and back to the number of channels that an attribute says."""
THEN, ELSE = "then_branch", "else_branch"
CARRIED = 2
"""Inputs of a Loop before those that it carries: the number of iterations, and whether to begin."""


class Known(NamedTuple):
    """What is known of a graph. shapes: {name: sizes, None where not known}; values: {name: array}; types: {name: element type}."""

    shapes: dict
    values: dict
    types: dict


def infer(model):
    """Known of a ModelProto, which is changed."""
    from onnx import helper, shape_inference

    model.ir_version = max(model.ir_version, NO_INPUT_NEEDED)
    values = {tensor.name: array for tensor in model.graph.initializer if (array := array_of(tensor)) is not None}
    stand_in(model)
    while True:
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
        shapes, types = shapes_of(inferred), types_of(inferred)
        open_before = any(name not in shapes or None in shapes[name] for node in model.graph.node for name in node.output if name)
        new, kept = {}, {out.name for out in model.graph.output}
        for node in model.graph.node:
            new.update(evaluated(node, shapes, {**values, **new} if new else values, model))
        values.update(new)
        known = Known(shapes, values, types)
        sizes = {name: array for name, array in new.items() if array.dtype.kind in "iub" and name not in kept}
        added = own_shapes(model, known) if open_before else {}
        if not added and (not sizes or not open_before):
            return known
        fold(model.graph, sizes)
        given = {value.name for value in model.graph.value_info}
        for name, shape in added.items():
            info = helper.make_tensor_value_info(name, types.get(name, 0) or 1, shape)
            if name in given:
                next(value for value in model.graph.value_info if value.name == name).CopyFrom(info)
            else:
                model.graph.value_info.append(info)


def shapes_of(graph):
    """{name: sizes} of the values that a graph says anything of."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and kind.HasField("shape"):
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in kind.shape.dim)
    return shapes


def types_of(graph):
    """{name: element type} of the values that a graph says anything of."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    values = (*graph.value_info, *graph.input, *graph.output)
    return types | {value.name: value.type.tensor_type.elem_type for value in values if value.type.HasField("tensor_type")}


def fold(graph, values):
    """Replace the nodes of a graph that make these values by initializers."""
    from onnx import numpy_helper

    left = [node for node in graph.node if not node.output or not all(name in values for name in node.output)]
    made = {name for node in graph.node for name in node.output} - {name for node in left for name in node.output}
    del graph.node[:]
    graph.node.extend(left)
    graph.initializer.extend(numpy_helper.from_array(values[name], name) for name in made)


def stand_in(model):
    """Replace each operator of SAME_SHAPES_AS of which onnx infers no shapes by one of ONNX that gives the same shapes, in place."""
    from onnx import defs

    for node in model.graph.node:
        op = SAME_SHAPES_AS.get((node.domain, node.op_type))
        if op is None or (node.domain == "" and defs.has(node.op_type) and defs.get_schema(node.op_type).has_type_and_shape_inference_function):
            continue
        schema = defs.get_schema(op)
        kept = [attribute for attribute in node.attribute if attribute.name in schema.attributes]
        del node.attribute[:], node.input[schema.max_input :], node.output[schema.max_output :]
        node.attribute.extend(kept)
        node.domain, node.op_type = "", op


def own_shapes(model, known):
    """{name: sizes} of outputs of nodes that onnx leaves open."""
    found = {}
    for node in model.graph.node:
        if node.domain == NCHWC and node.op_type in REORDERS:
            found.update(reordered(node, known.shapes))
        elif node.domain == MICROSOFT and node.op_type in PRODUCTS:
            found[node.output[0]] = product_sizes(node, known.shapes)
        elif any(None in known.shapes.get(name, (None,)) for name in node.output):
            if is_loop(node):
                found.update(loop_shapes(node, model, known))
            elif branches := branches_of(node):
                each = [output_shapes(graph, model, known) for graph in branches.values()]
                found.update(zip(node.output, map(agreed, *each), strict=True))
    return {name: sizes for name, sizes in found.items() if sizes is not None and tells_more(sizes, known.shapes.get(name))}


def tells_more(sizes, before):
    """Whether some size is known that was not known before."""
    return before is None or (len(before) == len(sizes) and any(old is None and new is not None for old, new in zip(before, sizes, strict=True)))


def reordered(node, shapes):
    """{output: sizes} of a Reorder node; channels stay as they are where the node does not say how many there are."""
    given, sizes = attributes(node), shapes.get(node.input[0])
    if sizes is None or len(sizes) != 4:
        return {}
    n, c, h, w = sizes
    if node.op_type == "ReorderInput":
        return {node.output[0]: (n, w, c, h) if given.get("channels_last") else sizes}
    channels = given.get("channels", c)
    return {node.output[0]: (n, h, w, channels) if given.get("channels_last") else (n, channels, h, w)}


def standalone(body, sizes, model, known):
    """A ModelProto of a subgraph; sizes: of its inputs, None for one that is not known; what it captures becomes inputs and initializers."""
    from onnx import numpy_helper

    alone = type(model)()
    alone.ir_version = model.ir_version
    alone.opset_import.extend(model.opset_import)
    alone.graph.CopyFrom(body)
    for value, given in zip(alone.graph.input, sizes, strict=False):
        kind = value.type.tensor_type
        kind.elem_type = kind.elem_type or 1
        kind.ClearField("shape")
        if given is not None:
            set_shape(kind, given)
    for name in captured(body):
        if name in known.values:
            alone.graph.initializer.append(numpy_helper.from_array(known.values[name], name))
        else:
            value = alone.graph.input.add()
            value.name, value.type.tensor_type.elem_type = name, known.types.get(name, 0) or 1
            if name in known.shapes:
                set_shape(value.type.tensor_type, known.shapes[name])
    return alone


def set_shape(kind, sizes):
    """Give a TypeProto.Tensor its sizes, None for one that is not known."""
    kind.shape.SetInParent()
    for size in sizes:
        dim = kind.shape.dim.add()
        if size is not None:
            dim.dim_value = size


def branches_of(node):
    """{THEN: graph, ELSE: graph} of an If whose branches give as many values as it does; else nothing."""
    inner = subgraphs(node) if node.op_type == "If" and is_plain(node) else {}
    whole = {THEN, ELSE} <= set(inner) and all(len(inner[name].output) == len(node.output) for name in (THEN, ELSE))
    return {name: inner[name] for name in (THEN, ELSE)} if whole else {}


def output_shapes(graph, model, known):
    """Sizes of a branch's outputs, None for one that is not known."""
    inner = infer(standalone(graph, [], model, known)) if graph.node else known
    return [inner.shapes.get(value.name) for value in graph.output]


def loop_shapes(node, model, known):
    """{output: sizes} of a Loop: a value that it carries keeps the sizes it starts with as far as an iteration does; None where not known."""
    body = attributes(node).get("body")
    sizes = [known.shapes.get(name) for name in node.input[CARRIED:]]
    while True:
        alone = standalone(body, loop_inputs(sizes), model, known)
        inner = infer(alone)
        after = [inner.shapes.get(value.name) for value in body.output[1:]]
        kept = [agreed(before, now) for before, now in zip(sizes, after, strict=False)]
        if kept == sizes:
            break
        sizes = kept
    rounds = iterations(node, known.values, inner.values)
    stacked = [None if shape is None else (rounds, *shape) for shape in after[len(sizes) :]]
    return dict(zip(node.output, [*sizes, *stacked], strict=False))


def is_loop(node):
    """Whether a node is a Loop whose body takes a counter, a condition and what is carried, and gives a condition and at least what is carried."""
    body = subgraphs(node).get("body") if node.op_type == "Loop" and is_plain(node) else None
    carried = len(node.input) - CARRIED
    return body is not None and carried >= 0 and len(body.input) == CARRIED + carried and len(body.output) > carried


def loop_inputs(carried):
    """Sizes of the inputs of a Loop's body: a counter, a condition, and what is carried."""
    return [(), (), *carried]


def agreed(one, other):
    """Sizes that two shapes have in common, None where they differ."""
    if one is None or other is None or len(one) != len(other):
        return None
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def iterations(node, values, inner):
    """How often a Loop runs, or None where that is not known before. inner: values known within its body."""
    body = attributes(node).get("body")
    most = values.get(node.input[0])
    begins = not node.input[1] or (node.input[1] in values and bool(values[node.input[1]].all()))
    goes_on, condition = body.output[0].name, body.input[1].name
    makers = {name: made for made in body.node for name in made.output}
    while goes_on in makers and makers[goes_on].op_type == "Identity":
        goes_on = makers[goes_on].input[0]
    always = goes_on == condition or (goes_on in inner and bool(inner[goes_on].all()))
    return int(most.ravel()[0]) if most is not None and most.size == 1 and most.ravel()[0] >= 0 and begins and always else None
