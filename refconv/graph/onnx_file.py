"""ONNX files: read as leniently as a runtime would, since only shapes are needed. What had to be assumed is noted.

Weights are not needed for traffic: large ones, those in files of their own, and those without data are taken for inputs of their shape.
"""

import contextlib

from refconv.graph.model import printable
from refconv.graph.onnx_branches import copied, resolve
from refconv.graph.onnx_graph import Graph
from refconv.graph.onnx_inputs import Scale, images, set_inputs
from refconv.graph.onnx_layers import model_of
from refconv.graph.onnx_shapes import NCHWC, REORDERS, SAME_SHAPES_AS
from refconv.graph.onnx_values import PLAIN_DOMAINS, array_of, check_tensor, is_plain, named, reads, subgraphs

ASSUMED_OPSET = 17
UNKNOWN_DOMAIN = "unknown"


def read_onnx(path, input_shapes, batch):
    """The Model of an ONNX graph; input_shapes: [(name, sizes)]; see refconv.graph.read.read_model."""
    model, notes = loaded(path, weights=False), {}
    with valid():
        model, weights = checked(model, notes)
        symbolic = set_inputs(model.graph, weights, input_shapes, batch, notes)
        known = resolve(model, notes)
        graph = Graph(model, weights, known)
        scale = Scale() if symbolic or not batch else images(graph, batch, notes)
    return model_of(graph, path, scale)._replace(notes=tuple(notes))


def loaded(path, weights):
    """The ModelProto in a file; weights: whether to read those in files of their own, too. ValueError says what is wrong with it."""
    try:
        import onnx
        import onnx.checker
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ValueError("reading ONNX graphs needs the package onnx; legal: pip install onnx (the extra onnx)") from None
    try:
        model = onnx.load(path, load_external_data=weights)
    except DecodeError as error:
        raise ValueError(f"cannot be read as ONNX: {error}; must be a whole protobuf file") from None
    except onnx.checker.ValidationError as error:
        raise ValueError(f"has weights in a file that cannot be read: {printable(str(error).strip().splitlines()[0])}") from None
    if not model.graph.node:
        raise ValueError("has no graph with nodes: must be an ONNX model")
    return model


@contextlib.contextmanager
def valid():
    """Within it, whatever onnx finds wrong with a graph is a ValueError of one line."""
    import onnx.checker
    import onnx.shape_inference
    from google.protobuf.message import DecodeError

    try:
        yield
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, DecodeError, UnicodeError, RuntimeError) as error:
        raise ValueError(f"is no valid ONNX graph: {printable(str(error).strip().splitlines()[0])}") from None


def checked(model, notes):
    """(a ModelProto without functions, nodes in order, weights as inputs; names of the weights), checked. The one given is changed, too."""
    import onnx.checker
    import onnx.inliner

    check_text(model)
    complete(model, notes)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    nodes = in_order(model.graph)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    weights = without_weights(model.graph)
    onnx.checker.check_model(checkable(model, notes))
    return model, weights


def check_text(model):
    """ValueError where a name is not text."""
    for graph in every_graph(model.graph):
        names = [value.name for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer)]
        for node in graph.node:
            names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(attribute.name for attribute in node.attribute)]
        for name in names:
            if not isinstance(name, str):
                raise ValueError(f"is no valid ONNX graph: the name {name!r} is no text in UTF-8")


def complete(model, notes):
    """Add, in place, what a runtime does without: operator sets, types of inputs; sizes below 0 become sizes that are not known."""
    from onnx import helper

    imported = {opset.domain for opset in model.opset_import}
    if not imported & set(PLAIN_DOMAINS):
        notes[f"the file does not say its version of the operators: {ASSUMED_OPSET} is assumed"] = None
        model.opset_import.append(helper.make_opsetid("", ASSUMED_OPSET))
    domains = {node.domain for graph in every_graph(model.graph) for node in graph.node} - set(PLAIN_DOMAINS)
    model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in sorted(domains - imported))
    for graph in every_graph(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ():
                if dim.dim_value < 0:  # some exporters' way to say that it is not known; onnx's inference may end the process
                    dim.Clear()
    for value in model.graph.input:
        if value.type.WhichOneof("value") is None:
            notes[f"input {printable(value.name)} has no type: float32 is assumed"] = None
            value.type.tensor_type.elem_type = 1


def every_graph(graph):
    """A graph and all subgraphs of its nodes."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node).values():
            yield from every_graph(inner)


def in_order(graph):
    """The nodes of a graph, those that make a value before those that read it; ValueError where they read each other."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    order, state = [], {}
    for first in range(len(graph.node)):
        waiting = [first]
        while waiting:
            i = waiting[-1]
            if state.get(i) == "done":
                waiting.pop()
            elif i in state:
                state[i] = "done"
                order.append(i)
                waiting.pop()
            else:
                state[i] = "open"
                before = [makers[name] for name in reads(graph.node[i]) if name in makers and state.get(makers[name]) != "done"]
                if any(state.get(j) == "open" for j in before):
                    raise ValueError(f"is no valid ONNX graph: node {named(graph.node[i])} reads what is made from it")
                waiting.extend(reversed(before))
    return [copied(graph.node[i]) for i in order]


def without_weights(graph):
    """Take initializers whose values are not known for inputs, in place; returns the names of all initializers."""
    from onnx import helper

    names = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = {value.name for value in graph.input}
    kept = []
    for tensor in graph.initializer:
        check_tensor(tensor)
        if array_of(tensor) is not None:
            kept.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type or 1, tensor.dims))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return names


def checkable(model, notes):
    """A copy of a model for onnx's checker, without what the checker refuses and a runtime accepts; what is left out besides shapes is noted."""
    from onnx import IR_VERSION, defs, helper

    copy = copied(model)
    copy.ir_version = min(max(copy.ir_version, 4), IR_VERSION)
    version = next(opset.version for opset in copy.opset_import if opset.domain in PLAIN_DOMAINS)
    copy.opset_import.append(helper.make_opsetid(UNKNOWN_DOMAIN, 1))
    for graph in every_graph(copy.graph):
        for value in (*graph.input, *graph.output):
            if value.type.WhichOneof("value") in (None, "tensor_type"):
                value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or 1
                value.type.tensor_type.shape.SetInParent()
        del graph.value_info[:]
        for tensor in graph.initializer:
            if array_of(tensor) is None:  # of a subgraph: its shape is all that is read
                tensor.CopyFrom(helper.make_tensor(tensor.name, 1, [0], []))
        for node in graph.node:
            if not is_plain(node):
                check_operands(node)
                continue
            if not defs.has(node.op_type, max_inclusive_version=version, domain=""):
                node.domain = UNKNOWN_DOMAIN
                continue
            schema = defs.get_schema(node.op_type, max_inclusive_version=version, domain="")
            strange = [attribute.name for attribute in node.attribute if attribute.name not in schema.attributes]
            if strange:
                kept = [attribute for attribute in node.attribute if attribute.name in schema.attributes]
                del node.attribute[:]
                node.attribute.extend(kept)
                notes[f"{named(node)} ({node.op_type}): ignored what is no attribute of it: {', '.join(map(printable, strange))}"] = None
    return copy


def check_operands(node):
    """ValueError unless an operator of onnxruntime that is read has the operands that it must have."""
    from onnx import defs

    op = SAME_SHAPES_AS.get((node.domain, node.op_type))
    least = defs.get_schema(op).min_input if op else 1 if node.domain == NCHWC and node.op_type in REORDERS else 0
    if least and (len(node.input) < least or not all(node.input[:least]) or not node.output or not node.output[0]):
        raise ValueError(f"is no valid ONNX graph: node {named(node)} ({node.op_type}) must have {least} inputs and an output")
