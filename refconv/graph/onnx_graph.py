"""ONNX graphs: what is known of every value from the graph alone. Which nodes are layers: refconv/graph/onnx_layers.py.

Weights are not needed for traffic: large ones, and those in files of their own, are taken for inputs of their shape.
"""

import math

from refconv.graph.model import printable
from refconv.graph.onnx_shapes import PLAIN_DOMAINS, SMALL, infer

FROM_SHAPES = ("Shape", "Size")


def read_onnx(path, input_shapes, batch):
    """The Model of an ONNX graph; input_shapes: [(name, sizes)]; see sim.models.read_model."""
    try:
        import onnx
        import onnx.checker
        import onnx.inliner
        import onnx.shape_inference
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ValueError("reading ONNX graphs needs the package onnx; legal: pip install 'refconv[onnx]'") from None
    from refconv.graph.onnx_layers import model_of

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"cannot be read as ONNX: {error}; must be a whole protobuf file") from None
    if not model.graph.node:
        raise ValueError("has no graph with nodes: must be an ONNX model")
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        weights = without_weights(model.graph)
        scale = reshape(model.graph, weights, input_shapes, batch)
        onnx.checker.check_model(model)
        graph = Graph(model.graph, weights, *infer(copied(model)))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, DecodeError, UnicodeError, RuntimeError) as error:
        raise ValueError(f"is no valid ONNX graph: {printable(str(error).strip().splitlines()[0])}") from None
    return model_of(graph, path, scale)


def without_weights(graph):
    """Take large initializers for inputs, in place; returns the names of all initializers."""
    from onnx import TensorProto, helper

    names = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = {value.name for value in graph.input}
    kept = []
    for tensor in graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL and math.prod(tensor.dims) <= SMALL:
            kept.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return names


def reshape(graph, weights, input_shapes, batch):
    """Set the shapes of inputs in place; returns (images asked for, images of the graph): what counts of activations are scaled by.

    An unknown first dimension is the batch asked for. A known one stays as it is, and counts are scaled: graphs have their batch
    in the constants of Reshape nodes, too.
    """
    inputs = {value.name: value.type.tensor_type for value in graph.input if value.name not in weights and value.type.HasField("tensor_type")}
    for name, sizes in input_shapes:
        if name not in inputs and not (name == "" and len(inputs) == 1):
            raise ValueError(f"--input-shape {name}: no such input; legal: {', '.join(map(printable, inputs)) or 'none'}")
        kind = inputs[name] if name else next(iter(inputs.values()))
        if kind.HasField("shape") and len(kind.shape.dim) != len(sizes):
            raise ValueError(f"--input-shape {'x'.join(map(str, sizes))}: {printable(name)} has {len(kind.shape.dim)} dimensions")
        kind.shape.ClearField("dim")
        for size in sizes:
            kind.shape.dim.add().dim_value = size
    for kind in inputs.values():
        if batch and kind.HasField("shape") and len(kind.shape.dim) > 1 and kind.shape.dim[0].dim_value < 1:
            kind.shape.dim[0].dim_value = batch
    if batch or input_shapes:
        del graph.value_info[:]  # what the file says of values in between was for other shapes
        for value in graph.output:
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    first = next(iter(inputs.values()), None)
    own = first.shape.dim[0].dim_value if first is not None and first.shape.dim else 1
    return (batch or own, own) if own > 0 else (1, 1)


def copied(message):
    """A protobuf message of its own."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


class Graph:
    """A graph, and what is known of it. constants: names of values known before the run; makers, users: the nodes of a value."""

    def __init__(self, graph, weights, shapes, values):
        self.nodes, self.inputs = list(graph.node), [value.name for value in graph.input if value.name not in weights]
        self.outputs = {value.name for value in graph.output}
        self._shapes, self._values = shapes, values
        self.makers, self.users, self.constants = {}, {}, {*weights, *values}
        for node in self.nodes:
            for name in node.output:
                self.makers[name] = node
            for name in node.input:
                self.users.setdefault(name, []).append(node)
            plain = node.domain in PLAIN_DOMAINS
            if all(name in self.constants for name in node.input if name) or (plain and node.op_type in FROM_SHAPES):
                self.constants.update(node.output)

    def shape(self, name):
        """Sizes of a value, or None where one of them is not known."""
        shape = self._shapes.get(name)
        return None if shape is None or None in shape else shape

    def needed_shape(self, name):
        """Sizes of a value, or a ValueError that says how to give them."""
        shape = self.shape(name)
        if shape is None:
            known = "x".join("?" if size is None else str(size) for size in self._shapes.get(name) or ())
            unknown = [given for given in self.inputs if self.shape(given) is None]
            inputs = " and ".join(map(self._example, unknown)) or "a graph whose shapes can be inferred"
            raise ValueError(f"the shape of {printable(name)} is not known ({known or 'no dimension'}): give {inputs}")
        return shape

    def _example(self, name):
        """How to give the sizes of an input: its own where they are known."""
        own = self._shapes.get(name) or (None, 3, None, None)
        filled = "x".join(str((1 if i == 0 else 224) if size is None else size) for i, size in enumerate(own))
        only_batch = own[0] is None and None not in own[1:]
        return f"--input-shape {printable(name)}:{filled}" + (" or --batch 1" if only_batch else "")

    def only_user(self, name):
        """The node that alone reads a value, or None."""
        users = self.users.get(name, ())
        return users[0] if len(users) == 1 and name not in self.outputs else None

    def maker(self, name, op):
        """The node of kind `op` that makes a value, or None."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == op and node.domain in PLAIN_DOMAINS else None

    def value(self, name):
        """The small constant called `name` as a list (a scalar as one of one), or None."""
        return self._values[name].ravel().tolist() if name in self._values else None


def named(node):
    """What a node is called: its name, else its first output."""
    return printable(node.name or next((name for name in node.output if name), "") or node.op_type)
