"""Nodes of an ONNX graph as data: attributes, what they read, and the values of those that follow from small constants and from shapes."""

import math

from refconv.graph.model import printable

SMALL = 4096
"""The most elements of a constant whose value is kept: sizes, axes and pads are among them."""
PLAIN_DOMAINS = ("", "ai.onnx")
EVALUATED = {
    *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather", "Greater"),
    *("GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pow", "Range"),
    *("ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub"),
    *("Transpose", "Unsqueeze", "Where"),
}
SIZES_GIVEN = ("ConstantOfShape", "Expand", "Range")
"""Operators whose output is as large as the values of their inputs say."""


def attributes(node):
    """{name: value} of a node's attributes."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def is_plain(node):
    """Whether a node is an operator of ONNX itself."""
    return node.domain in PLAIN_DOMAINS


def named(node):
    """What a node is called: its name, else its first output."""
    return printable(node.name or next((name for name in node.output if name), "") or node.op_type)


def subgraphs(node):
    """{name of the attribute: graph} of a node."""
    found = {}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found[attribute.name] = attribute.g
        found.update({f"{attribute.name}[{i}]": graph for i, graph in enumerate(attribute.graphs)})
    return found


def reads(node):
    """Names of all values that a node reads: its inputs, and what its subgraphs capture."""
    return list(dict.fromkeys([*filter(None, node.input), *(name for graph in subgraphs(node).values() for name in captured(graph))]))


def captured(graph):
    """Names of the values that a subgraph reads and does not make."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {tensor.values.name for tensor in graph.sparse_initializer} | {name for node in graph.node for name in node.output}
    read = [*(name for node in graph.node for name in reads(node)), *(value.name for value in graph.output)]
    return [name for name in dict.fromkeys(read) if name and name not in own]


MOST_PACKED = 8
"""Elements that a byte, or an entry of a list, of a TensorProto may hold at most."""


def data_length(tensor):
    """Bytes, or entries of lists, that a TensorProto holds; 0 where it only says its sizes, or where a file of its own has its data."""
    from onnx import TensorProto

    fields = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
    return 0 if tensor.data_location == TensorProto.EXTERNAL else sum(len(getattr(tensor, field)) for field in fields)


def check_tensor(tensor):
    """ValueError where a TensorProto has sizes below 0, or data of other sizes."""
    elements = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"initializer {printable(tensor.name)} has sizes {list(tensor.dims)}: must be 0 or more")
    length = data_length(tensor)
    if length and (elements > MOST_PACKED * length or (elements <= SMALL and array_of(tensor) is None)):
        raise ValueError(f"initializer {printable(tensor.name)} has sizes {list(tensor.dims)}, and other data: must have as many elements")


def array_of(tensor):
    """A TensorProto as an array, or None where it is large or does not hold its elements."""
    from onnx import numpy_helper

    if math.prod(tensor.dims) > SMALL or not (data_length(tensor) or 0 in tensor.dims):
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):  # more or fewer elements than the sizes say, or of a type that is none
        return None


def constant(node):
    """{name: array} of a Constant node, if it is small and lies in the file."""
    import numpy as np

    ((name, value),) = attributes(node).items() if len(node.attribute) == 1 else (("", None),)
    if name == "value":
        array = array_of(value)
        return {} if array is None else {node.output[0]: array}
    if name not in ("value_int", "value_ints", "value_float", "value_floats"):
        return {}
    return {node.output[0]: np.array(value, np.int64 if "int" in name else np.float32)}


def evaluated(node, shapes, values, model, most=SMALL):
    """{name: array} of a node's outputs where they follow from known values or shapes, `most` elements at most; else nothing."""
    import numpy as np

    if not is_plain(node) or not node.output or node.output[0] in values:
        return {}
    if node.op_type == "Constant":
        return constant(node)
    if node.op_type in ("Shape", "Size"):
        sizes = shapes.get(node.input[0], (None,))
        given = attributes(node)
        if None in sizes:
            return {}
        seen = math.prod(sizes) if node.op_type == "Size" else sizes[given.get("start", 0) : given.get("end")]
        return {node.output[0]: np.array(seen, np.int64)}
    if node.op_type not in EVALUATED or not any(node.input) or not all(name in values for name in node.input if name):
        return {}
    inputs = {name: values[name] for name in node.input if name}
    if node.op_type in SIZES_GIVEN and not all(abs(int(size)) <= most for array in inputs.values() for size in array.ravel()):
        return {}
    outputs = run(node, inputs, model)
    return {name: array for name, array in zip(node.output, outputs, strict=False) if name and isinstance(array, np.ndarray) and array.size <= most}


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
