"""The shapes of an ONNX graph's values, and the values of its small constants.

onnx infers shapes, and carries values through some nodes only. Where that leaves a shape open (a Reshape whose sizes come from Shape, Cast and
Slice), the nodes between are evaluated by onnx's reference implementation, and shapes inferred again with what they give as constants.
"""

import math

SMALL = 4096
"""Constants of at most so many elements have their values known: sizes, axes and pads are among them."""
PLAIN_DOMAINS = ("", "ai.onnx")
EVALUATED = {
    *("Add", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather", "Identity", "Max", "Min", "Mod", "Mul", "Neg"),
    *("Range", "ReduceProd", "ReduceSum", "Reshape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
}
NO_INPUT_NEEDED = 4
"""From this version of the format on, an initializer need not be an input as well; before, inference overlooks one that is not."""
SIZES_GIVEN = ("ConstantOfShape", "Expand", "Range")
"""Of these the output is as large as the inputs' values say."""


def infer(model):
    """(shapes, values) of a ModelProto: {name: sizes, None where not known}, {name: array}. The model is changed."""
    from onnx import numpy_helper, shape_inference

    model.ir_version = max(model.ir_version, NO_INPUT_NEEDED)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if math.prod(tensor.dims) <= SMALL}
    while True:
        shapes = shapes_of(shape_inference.infer_shapes(model, data_prop=True).graph)
        open_before = any(name not in shapes or None in shapes[name] for node in model.graph.node for name in node.output if name)
        new = {}
        for node in model.graph.node:
            new.update(evaluated(node, shapes, {**values, **new} if new else values, model))
        values.update(new)
        sizes = {name: array for name, array in new.items() if array.dtype.kind in "iub"}
        if not sizes or not open_before:
            return shapes, values
        fold(model.graph, sizes)


def shapes_of(graph):
    """{name: sizes} of the values that a graph says anything of."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and kind.HasField("shape"):
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in kind.shape.dim)
    return shapes


def fold(graph, values):
    """Take the nodes that make these values out of a graph, the values being initializers."""
    from onnx import numpy_helper

    left = [node for node in graph.node if not node.output or not all(name in values for name in node.output)]
    made = {name for node in graph.node for name in node.output} - {name for node in left for name in node.output}
    del graph.node[:]
    graph.node.extend(left)
    graph.initializer.extend(numpy_helper.from_array(values[name], name) for name in made)


def evaluated(node, shapes, values, model):
    """{name: array} of a node's outputs where they are small and follow from known values or shapes; else nothing."""
    import numpy as np

    if node.domain not in PLAIN_DOMAINS or not node.output or node.output[0] in values or any(out.name in node.output for out in model.graph.output):
        return {}
    if node.op_type == "Constant":
        return constant(node)
    if node.op_type == "Shape":
        sizes = shapes.get(node.input[0], (None,))
        given = attributes(node)
        return {} if None in sizes else {node.output[0]: np.array(sizes[given.get("start", 0) : given.get("end")], np.int64)}
    if node.op_type not in EVALUATED or not all(name in values for name in node.input if name):
        return {}
    inputs = {name: values[name] for name in node.input if name}
    if node.op_type in SIZES_GIVEN and not all(abs(int(size)) <= SMALL for array in inputs.values() for size in array.ravel()):
        return {}
    outputs = run(node, inputs, model)
    return {name: array for name, array in zip(node.output, outputs, strict=False) if name and isinstance(array, np.ndarray) and array.size <= SMALL}


def run(node, inputs, model):
    """A node's outputs by onnx.reference; none where it refuses."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    values = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in inputs.items()]
    results = [helper.make_empty_tensor_value_info(name) for name in node.output]
    alone = helper.make_model(helper.make_graph([node], "one", values, results), opset_imports=model.opset_import)
    try:
        return ReferenceEvaluator(alone).run(None, inputs)
    except Exception:  # whatever a malformed node makes the reference raise: its shape then stays open, and is reported where it is needed
        return []


def constant(node):
    """{name: array} of a Constant node, if it is small and lies in the file."""
    import numpy as np
    from onnx import numpy_helper

    ((name, value),) = attributes(node).items() if len(node.attribute) == 1 else (("", None),)
    if name == "value":
        small = math.prod(value.dims) <= SMALL and not value.external_data
        return {node.output[0]: numpy_helper.to_array(value)} if small else {}
    if name not in ("value_int", "value_ints", "value_float", "value_floats"):
        return {}
    return {node.output[0]: np.array(value, np.int64 if "int" in name else np.float32)}


def attributes(node):
    """{name: value} of a node's attributes."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
