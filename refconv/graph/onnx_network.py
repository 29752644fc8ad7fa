"""An ONNX graph as a Network, and what is known of its tensors once the sizes of its inputs are.

The graph is kept without its large weights, so that shapes can be inferred again for other sizes of inputs in little time.
"""

import os
from typing import NamedTuple

import numpy as np

from refconv.graph.model import printable, sizes_text
from refconv.graph.network import Network, NetworkInput, shape_text, with_attributes
from refconv.graph.onnx_branches import copied, resolve
from refconv.graph.onnx_file import checked, loaded, valid
from refconv.graph.onnx_graph import Graph
from refconv.graph.onnx_inputs import set_inputs, symbol_of
from refconv.graph.onnx_operands import faults
from refconv.graph.onnx_shapes import shapes_of
from refconv.graph.onnx_values import PLAIN_DOMAINS, attributes, captured, check_tensor, is_plain, named, subgraphs
from refconv.graph.operands import Sizes
from refconv.graph.passes.microsoft import DOMAIN, EXPANDED
from refconv.operators import OPERATORS, VALUES_NEEDED
from refconv.operators.types import NotSupported, numpy_type
from refconv.operators.windows import axes_of
from refconv.problem.steps import Step

SHAPE_ALONE = ("Shape", "Size")
BRANCH = "If"
FLAGS = {
    *("ceil_mode", "count_include_pad", "keepdims", "transA", "transB", "exclude_outside", "antialias", "noop_with_empty_axes", "allowzero"),
    *("select_last_index", "exclusive", "reverse", "largest", "sorted", "storage_order"),
}
"""Attributes that say yes or no."""


def check_opset(opset):
    """ValueError for an operator set that the installed onnx does not know: its operators may mean something else."""
    import onnx

    if not 1 <= opset <= onnx.defs.onnx_opset_version():
        raise ValueError(f"operator set {opset}: must be from 1 to {onnx.defs.onnx_opset_version()}, the newest of onnx {onnx.__version__}")


class Sized(NamedTuple):
    """A network on inputs of known sizes. shapes: {tensor: sizes}; dtypes: {tensor: dtype}; values: {tensor: array} of small ones that follow.

    faults: {tensor: why its node cannot make it}.
    """

    network: Network
    shapes: dict
    dtypes: dict
    values: dict
    faults: dict


class OnnxNetwork:
    """What an ONNX file says. inputs: NetworkInputs; outputs: names; deciding: names of inputs whose values shapes depend on; notes: assumptions."""

    def __init__(self, source, strict=True):
        """source: the path of a file, or a ModelProto, which is left as it is. strict: else operators that there are not become steps, too."""
        if isinstance(source, str | os.PathLike):
            model = loaded(source, weights=True)
        elif not hasattr(source, "opset_import"):
            raise TypeError(f"source of type {type(source).__name__}: must be the path of an ONNX file, or an onnx.ModelProto")
        else:
            model = copied(source)
        self.notes, self._strict = {}, strict
        with valid():
            constants_as_initializers(model.graph)
            self.arrays = {tensor.name: array_of_tensor(tensor) for tensor in model.graph.initializer}
            self.model, self.weights = checked(model, self.notes)
            self.opset = min(given.version for given in self.model.opset_import if given.domain in PLAIN_DOMAINS)
            check_opset(self.opset)
            self.said = {name: sizes for name, sizes in shapes_of(self.model.graph).items() if name in {out.name for out in self.model.graph.output}}
            del self.model.graph.value_info[:]
            for value in self.model.graph.output:
                value.type.tensor_type.ClearField("shape")
        self.inputs = tuple(input_of(value) for value in self.model.graph.input if value.name not in self.weights)
        self.outputs = tuple(value.name for value in self.model.graph.output)
        self.deciding = deciding(self.model.graph, {given.name for given in self.inputs})
        self._network, self._branches = None, False

    def network(self):
        """The Network for all sizes of inputs, None where they decide branches or padding.

        ValueError lists all operators that there are not; or all nodes whose weights do not fit, whatever sizes the file leaves open.
        """
        if self._network is None and not self._branches:
            model = copied(self.model)
            with valid():
                known = resolve(model, self.notes, assume=False)
            self._branches = any(operator(node) == BRANCH for node in model.graph.node)
            network, by_sizes = with_pads(self._network_of(model, later=(BRANCH,)), known.shapes)
            network = network.changed({}, {name: array for name, array in known.values.items() if name in network.makers})  # holds for all sizes
            self._branches = self._branches or by_sizes
            if self._strict:
                refuse(network, known.shapes, faults(Graph(model, self.weights, known)))
            self._network = None if self._branches else network
        return self._network

    def sized(self, sizes, values=()):
        """The Sized for inputs of these sizes, {name: sizes}, and values of those that are deciding, {name: array}."""
        from onnx import numpy_helper

        model, values = copied(self.model), dict(values)
        kept = [value for value in model.graph.input if value.name not in values]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in values.items())
        given = [(name, size) for name, size in sizes.items() if name not in values]
        with valid():
            set_inputs(model.graph, self.weights | set(values), given, None, {})
            known = resolve(model, {}, assume=False)
        network = self.network() or with_pads(self._network_of(model), known.shapes)[0]
        if all(given.sizes is not None and all(isinstance(size, int) for size in given.sizes) for given in self.inputs):
            self._check_outputs(known.shapes)
        dtypes = {name: kind for name, number in known.types.items() if (kind := known_type(number)) is not None}
        return Sized(network, known.shapes, dtypes, known.values, faults(Graph(model, self.weights | set(values), known)))

    def _check_outputs(self, shapes):
        """ValueError where the file says other sizes of an output than its nodes give."""
        for name, said in self.said.items():
            found = shapes.get(name, said)
            if len(found) != len(said) or any(None not in pair and pair[0] != pair[1] for pair in zip(found, said, strict=True)):
                raise ValueError(f"output {printable(name)} is {sizes_text(found)} by its nodes, {sizes_text(said)} in the file: must be the same")

    def _network_of(self, model, later=()):
        """The Network of a graph; later: operators that may be there, for they will be replaced."""
        arrays = {**{tensor.name: array_of_tensor(tensor) for tensor in model.graph.initializer}, **self.arrays}
        nodes, steps, labels, lacking = model.graph.node, [], {}, []
        for node in nodes:
            op = operator(node)
            label = f"{node.op_type} {named(node)}"
            if op not in OPERATORS and op not in EXPANDED:
                lacking += [node] if self._strict and op not in later else []
                if self._strict or op in later:
                    continue
            given = {name: array_of_tensor(value) if hasattr(value, "data_type") else value for name, value in attributes(node).items()}
            for name in FLAGS & set(given):
                if given[name] not in (0, 1):
                    raise ValueError(f"{printable(label)}: {name} = {given[name]!r}: must be 0 or 1")
            sources = tuple(node.input)
            while sources and not sources[-1]:
                sources = sources[:-1]
            for i, name in enumerate(node.output):
                if name:
                    more = {} if len(node.output) == 1 else {"output": i, "outputs": len(node.output)}
                    steps.append(Step(name, op, sources, attributes={**given, **more}))
                    labels[name] = printable(label)
        if lacking:
            raise ValueError(f"operators that there are not: {'; '.join(self._described(node, model) for node in lacking)}")
        network = Network(self.inputs, self.outputs, tuple(steps), arrays, labels, self.opset)
        return network.changed({})

    def _described(self, node, model):
        """A node with its op, its name and the shapes of what it reads."""
        known = shapes_of(model.graph) | {given.name: given.sizes for given in self.inputs}
        shapes = ", ".join(f"{printable(name)} [{shape_text(known.get(name))}]" for name in node.input if name)
        domain = "" if is_plain(node) else f"{node.domain}."
        return printable(f"{domain}{node.op_type} {named(node)} of {shapes}")


def refuse(network, shapes, found):
    """ValueError that lists the steps of a Network which cannot be made, if there are any; found: {tensor: why}."""
    told = []
    for step in network.steps:
        if step.name in found:
            sources = ", ".join(str(Sizes(name, shapes.get(name))) for name in step.sources if name)
            told.append(f"{printable(network.label(step))} of {sources}: {found[step.name]}")
    if told:
        raise ValueError(f"cannot be run: {'; '.join(told)}")


def with_pads(network, shapes):
    """(the Network with the padding of convolutions of several strides as numbers where it is ONNX's SAME, whether some of it is not known)."""
    changed, is_open = {}, False
    for step in network.steps:
        given = step.attributes
        strided = step.op in ("Conv", f"{DOMAIN}FusedConv") and any(stride != 1 for stride in given.get("strides", ()))
        if not strided or given.get("auto_pad") not in (b"SAME_UPPER", b"SAME_LOWER"):
            continue
        sizes, kernel = (shapes.get(name, (None,))[2:] for name in step.sources[:2])
        if not sizes or len(sizes) != len(kernel) or None in (*sizes, *kernel):
            is_open = True
            continue
        axes = axes_of(sizes, kernel, given["strides"], None, given.get("dilations"), given["auto_pad"])
        pads = [*(axis.before for axis in axes), *(axis.after for axis in axes)]
        changed[step.name] = with_attributes(step, auto_pad=b"NOTSET", pads=pads)
    return network.changed(changed), is_open


def operator(node):
    """The name of a node's operator in the table."""
    return node.op_type if is_plain(node) else f"{node.domain}.{node.op_type}"


def known_type(number):
    """numpy_type, or None."""
    try:
        return numpy_type(number)
    except NotSupported:
        return None


def array_of_tensor(tensor):
    """A TensorProto as an array; ValueError where it does not hold its elements."""
    from onnx import numpy_helper

    check_tensor(tensor)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"initializer {printable(tensor.name)} cannot be read: {printable(str(error))}") from None


def constants_as_initializers(graph):
    """Make the Constant nodes of a graph initializers, in place, where they hold one array."""
    from onnx import numpy_helper

    left = []
    for node in graph.node:
        array = constant_array(node) if node.op_type == "Constant" and is_plain(node) and len(node.output) == 1 else None
        if array is None:
            left.append(node)
        else:
            graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    if len(left) < len(graph.node):
        left = [copied(node) for node in left]
        del graph.node[:]
        graph.node.extend(left)


def constant_array(node):
    """The array of a Constant node, or None where it is text or sparse."""
    ((name, value),) = attributes(node).items() if len(node.attribute) == 1 else (("", None),)
    if name == "value":
        return array_of_tensor(value)
    kind = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}.get(name)
    return None if kind is None else np.array(value, kind)


def input_of(value):
    """The NetworkInput of a ValueInfoProto; ValueError for what is no array of an element type."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"input {printable(value.name)} is a {value.type.WhichOneof('value')}: must be a tensor")
    try:
        dtype = numpy_type(kind.elem_type)
    except NotSupported as error:
        raise ValueError(f"input {printable(value.name)} has {error}") from None
    sizes = None
    if kind.HasField("shape"):
        sizes = tuple(dim.dim_value if (symbol := symbol_of(dim)) is None else symbol for dim in kind.shape.dim)
    return NetworkInput(value.name, sizes, dtype)


def deciding(graph, inputs):
    """Names of the inputs whose values, not only whose sizes, decide the shape of some tensor."""
    makers = {name: node for node in graph.node for name in node.output if name}
    waiting = [
        node.input[i] for node in graph.node if is_plain(node) for i in VALUES_NEEDED.get(node.op_type, ()) if i < len(node.input) and node.input[i]
    ]
    waiting += [node.input[0] for node in graph.node if subgraphs(node) and node.op_type == BRANCH]
    found, seen = set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in inputs:
            found.add(name)
        node = makers.get(name)
        if node is not None and node.op_type not in SHAPE_ALONE:
            waiting.extend(filter(None, (*node.input, *(name for inner in subgraphs(node).values() for name in captured(inner)))))
    return found
