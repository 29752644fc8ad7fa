"""What is known of an ONNX graph's values from the graph alone. Which nodes are layers: refconv/graph/onnx_layers.py."""

import math
from typing import Any, NamedTuple

from refconv.graph.model import printable, sizes_text
from refconv.graph.onnx_shapes import MICROSOFT, NCHWC, SAME_SHAPES_AS
from refconv.graph.onnx_values import EVALUATED, PLAIN_DOMAINS, array_of, attributes, evaluated, is_plain, reads, subgraphs

FROM_SHAPES = ("Shape", "Size")
RANDOM = {
    *(("", op) for op in ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")),
    *((MICROSOFT, op) for op in ("BiasDropout", "BitmaskDropout", "BitmaskBiasDropout", "Sampling")),
}
"""Operators that give other values in each run."""
ALWAYS_TRAINS_BEFORE = 7
"""Before this version of the operators a Dropout drops unless its attribute is_test says otherwise; from 12 on, where its third input says so."""
MOST_INDICES = 1 << 24
"""The most elements of an array of indices that is evaluated."""


class Found(NamedTuple):
    """A layer that a node is. op: what it is called; parts: other nodes that belong to it; besides: names of operands that the layer leaves out."""

    op: str
    problem: Any
    bias: bool
    parts: tuple = ()
    besides: tuple = ()


class NotModelled(Exception):
    """Why a node that multiplies is no layer."""


def same_each_run(node, opset, values):
    """Whether a node that reads constants alone gives one: nothing in it or its subgraphs is random, or of an operator that no one knows."""
    from onnx import defs

    domain = "" if is_plain(node) else node.domain
    if not (domain in (MICROSOFT, NCHWC) or (domain, node.op_type) in SAME_SHAPES_AS or defs.has(node.op_type, domain)):
        return False
    if (domain, node.op_type) in RANDOM or (domain == "" and node.op_type == "Dropout" and trains(node, opset, values)):
        return False
    for graph in subgraphs(node).values():
        within = values | {tensor.name: array for tensor in graph.initializer if (array := array_of(tensor)) is not None}
        if not all(same_each_run(inner, opset, within) for inner in graph.node):
            return False
    return True


def trains(node, opset, values):
    """Whether a Dropout may drop anything."""
    if opset is not None and opset < ALWAYS_TRAINS_BEFORE:
        return not attributes(node).get("is_test", 0)
    mode = node.input[2] if len(node.input) > 2 else ""
    return mode != "" and (mode not in values or bool(values[mode].any()))


class Graph:
    """A graph, and what is known of it. constants: names of values known before the run; makers, users: the nodes of a value.

    opset: the version of ONNX's own operators, None where the file does not say it.
    """

    def __init__(self, model, weights, known):
        graph = model.graph
        self.model, self.known = model, known
        self.nodes, self.inputs = list(graph.node), [value.name for value in graph.input if value.name not in weights]
        self.outputs = {value.name for value in graph.output}
        weights = weights | {tensor.name for tensor in graph.initializer}
        self.opset = min((given.version for given in model.opset_import if given.domain in PLAIN_DOMAINS), default=None)
        self.makers, self.users, self.constants = {}, {}, {*weights, *known.values}
        for node in self.nodes:
            read = reads(node)
            for name in node.output:
                self.makers[name] = node
            sizes_only = is_plain(node) and node.op_type in FROM_SHAPES
            for name in read if not sizes_only else ():
                self.users.setdefault(name, []).append(node)
            if sizes_only or (all(name in self.constants for name in read) and same_each_run(node, self.opset, known.values)):
                self.constants.update(node.output)

    def shape(self, name):
        """Sizes of a value, or None where one of them is not known."""
        shape = self.known.shapes.get(name)
        return None if shape is None or None in shape else shape

    def needed_shape(self, name):
        """Sizes of a value. ValueError says how to give them where an input's are missing; NotModelled where the graph leaves them open."""
        shape = self.shape(name)
        if shape is not None:
            return shape
        known = sizes_text(self.known.shapes.get(name) or ()) or "no dimension"
        behind = self._inputs_of(name)
        unknown = [given for given in self.inputs if given in behind and self.shape(given) is None]
        if not unknown:
            raise NotModelled(f"the shape of {printable(name)} is not known ({known})")
        raise ValueError(f"the shape of {printable(name)} is not known ({known}): give {' and '.join(map(self._example, unknown))}")

    def _inputs_of(self, name):
        """Names of all values that a value is made from, its own included."""
        waiting, seen = [name], set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting.extend(reads(self.makers[name]) if name in self.makers else ())
        return seen

    def _example(self, name):
        """How to give the sizes of an input: its own where they are known, else some that its readers take."""
        own = self.known.shapes.get(name) or self._taken(name)
        filled = "x".join(str((1 if i == 0 else 224) if size is None else size) for i, size in enumerate(own))
        open_first = [shape for given in self.inputs if len(shape := self.known.shapes.get(given, ())) > 1 and shape[0] is None]
        only_batch = open_first == [own] and None not in own[1:]
        return f"input_shapes = {printable(name)}:{filled}" + (" or batch = 1" if only_batch else "")

    def _taken(self, name):
        """Sizes that a reader of a value takes, None for any."""
        for node in self.users.get(name, ()):
            weight = self.shape(node.input[1]) if len(node.input) > 1 and node.input[0] == name else None
            if weight and len(weight) > 2 and node.op_type in ("Conv", "FusedConv"):
                groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
                return (None, weight[1] * groups, *[None] * (len(weight) - 2))
            if weight and len(weight) == 2 and node.op_type in ("MatMul", "Gemm"):
                turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
                return (None, weight[1 if turned else 0])
        return None, 3, None, None

    def only_user(self, name):
        """The node that alone reads a value, or None; a node that reads its shape alone does not count."""
        users = self.users.get(name, ())
        return users[0] if len(users) == 1 and name not in self.outputs else None

    def maker(self, name, op):
        """The node of kind `op` that makes a value, or None."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == op and is_plain(node) else None

    def value(self, name):
        """The small constant called `name` as a list (a scalar as one of one), or None."""
        return self.known.values[name].ravel().tolist() if name in self.known.values else None

    def array(self, name):
        """The constant called `name` of up to MOST_INDICES elements, evaluated now; None where it is not known."""
        if name in self.known.values:
            return self.known.values[name]
        node, shape = self.makers.get(name), self.shape(name)
        if node is None or shape is None or math.prod(shape) > MOST_INDICES or not is_plain(node) or node.op_type not in EVALUATED:
            return None
        inputs = {read: self.array(read) for read in node.input if read}
        if any(array is None for array in inputs.values()):
            return None
        return evaluated(node, self.known.shapes, inputs, self.model, MOST_INDICES).get(name)
