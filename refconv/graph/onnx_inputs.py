"""The sizes of an ONNX graph's inputs: those of the file, those that are given, and the batch.

The batch is one symbol: the unknown first size of the inputs, set once, wherever it stands. Sizes without a name are an unknown each. An input that
has none is left alone. Where all sizes are known, the graph stays as it is, and counts of what depends on inputs of the batch's size are scaled:
graphs have their batch in the constants of Reshape nodes, too.
"""

from typing import NamedTuple

from refconv.graph.model import printable, sizes_text
from refconv.graph.onnx_matrices import PRODUCTS
from refconv.graph.onnx_shapes import SAME_SHAPES_AS
from refconv.graph.onnx_values import captured, is_plain, reads

MULTIPLY = {"Conv", "FusedConv"} | PRODUCTS
"""Operators whose first two inputs are operands of a layer."""
UNNAMED = ""
"""The symbol of sizes that are not known and have no name."""
SIZES_BESIDE = ("Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "TopK", "Unsqueeze", "Upsample")
"""Operators whose inputs but the first say sizes, axes and places."""
SHAPES = "input_shapes = NAME:SIZES"
"""How an error says that shapes are to be given."""


def set_inputs(graph, weights, input_shapes, batch, notes):
    """Set the shapes of a GraphProto's inputs in place; returns whether the batch was a symbol.

    Where a given shape has a size for a symbol, the symbol has that size everywhere. ValueError lists the inputs where the batch is in doubt.
    """
    inputs = {value.name: value.type.tensor_type for value in graph.input if value.name not in weights and value.type.HasField("tensor_type")}
    symbols, replaced = {}, False
    for name, sizes in input_shapes:
        if name not in inputs and not (name == "" and len(inputs) == 1):
            raise ValueError(f"input_shapes = {name}: no such input; legal: {', '.join(map(printable, inputs)) or 'none'}")
        name = name or next(iter(inputs))
        kind = inputs[name]
        if kind.HasField("shape") and len(kind.shape.dim) != len(sizes):
            raise ValueError(f"input_shapes = {sizes_text(sizes)}: {printable(name)} has {len(kind.shape.dim)} dimensions")
        for dim, size in zip(kind.shape.dim, sizes, strict=False):
            symbol = symbol_of(dim)
            replaced = replaced or (symbol is None and dim.dim_value != size)
            if symbol and symbols.setdefault(symbol, size) != size:
                raise ValueError(f"input_shapes = {printable(name)}: {printable(symbol)} = {size}: is {symbols[symbol]} elsewhere; must be one size")
        kind.shape.ClearField("dim")
        for size in sizes:
            kind.shape.dim.add().dim_value = size
    first = {name: symbol_of(kind.shape.dim[0]) for name, kind in inputs.items() if len(kind.shape.dim) > 1}
    first = {name: symbols.get(symbol, symbol) for name, symbol in first.items() if symbol is not None}
    whose = [name for name, symbol in first.items() if isinstance(symbol, str)] if batch else []
    batches = {first[name] for name in whose}
    if len(batches) > 1 or (batches == {UNNAMED} and len(whose) > 1):
        doubt = "symbol" if batches != {UNNAMED} else "unnamed size"
        raise ValueError(f"batch = {batch}: which {doubt} is the batch is in doubt; inputs: {listed(inputs)}; legal: {SHAPES} for all but one")
    symbolic = bool(batches)
    if symbolic:
        symbol = batches.pop()
        symbols[symbol] = batch
        note_other_sizes(inputs, symbol, batch, notes)
        if len(inputs) > 1:
            notes[first_size(batch, whose)] = None
        for name in whose:
            inputs[name].shape.dim[0].dim_value = batch
    bind(graph, inputs, symbols)
    if symbols or input_shapes:
        forget(graph, everything=replaced or UNNAMED in symbols)
    return symbolic


def symbol_of(dim):
    """The name of a size that is not known; None where it is known. One without a letter or digit is no name: PaddlePaddle's "?" is any size."""
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return None
    return dim.dim_param if any(map(str.isalnum, dim.dim_param)) else UNNAMED


def listed(inputs):
    """Inputs and their shapes as text."""
    return "; ".join(f"{printable(name)} [{printable(sizes_of(kind)) if kind.HasField('shape') else '?'}]" for name, kind in inputs.items())


def sizes_of(kind):
    """Sizes of a TypeProto.Tensor as text: symbols by their names, "?" for one without."""
    return ", ".join(str(dim.dim_value) if symbol_of(dim) is None else symbol_of(dim) or "?" for dim in kind.shape.dim)


def note_other_sizes(inputs, symbol, batch, notes):
    """Note where the symbol of the batch stands for another size as well, such as those of the map."""
    others = [name for name, kind in inputs.items() if symbol != UNNAMED and any(symbol_of(dim) == symbol for dim in kind.shape.dim[1:])]
    if others:
        told = "; ".join(f"{printable(name)} [{printable(sizes_of(inputs[name]))}]" for name in others)
        notes[f"batch {batch} is {printable(symbol)}, which other sizes are, too: {told}"] = None


def bind(graph, inputs, symbols):
    """Give symbols their sizes wherever they stand in inputs, outputs and values in between."""
    kinds = [*inputs.values(), *(value.type.tensor_type for value in (*graph.output, *graph.value_info) if value.type.HasField("tensor_type"))]
    for kind in kinds:
        for dim in kind.shape.dim:
            if dim.dim_param and dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]


def forget(graph, everything):
    """Take out what the file says of values in between, which is for other sizes: all, or what onnx can infer; and the sizes of the outputs."""
    from onnx import defs

    inferred = {name for node in graph.node if is_plain(node) and defs.has(node.op_type) for name in node.output}
    inferred |= {name for node in graph.node if (node.domain, node.op_type) in SAME_SHAPES_AS for name in node.output}
    kept = [] if everything else [value for value in graph.value_info if value.name not in inferred]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if everything or value.name in inferred:
                dim.Clear()


class Scale(NamedTuple):
    """The ratio that counts of activations are scaled by. images: asked for; own: of the graph; values: names of those that have the batch."""

    images: int = 1
    own: int = 1
    values: frozenset = frozenset()

    def of(self, name):
        """(images asked for, images of the graph) of a value: (1, 1) of one that depends on no input that has the batch."""
        return (self.images, self.own) if name in self.values else (1, 1)

    def within(self, node, body, nodes):
        """The Scale of a subgraph of a node; nodes: those that it comes down to. What one iteration gives to the next has the batch in both."""
        values = {name for name in captured(body) if name in self.values}
        values |= {value.name for value, name in zip(body.input, node.input, strict=False) if name in self.values}
        after = body.output[1:] if node.op_type == "Loop" else body.output
        carried = body.input[2:] if node.op_type == "Loop" else body.input
        while True:
            found = reached(nodes, values)
            values |= {value.name for value, made in zip(carried, after, strict=False) if made.name in found}
            if values <= found:
                return self._replace(values=found)


def images(graph, batch, notes):
    """The Scale of a Graph whose sizes are known for `batch` images.

    The graph's batch is the first size of those inputs from which the layers' operands have it. ValueError lists the inputs where they differ.
    What is made from no input of that first size is left alone.
    """
    sizes = {name: graph.shape(name) for name in graph.inputs}
    found = {sizes[name][0] for name in batched_inputs(graph)} or {shape[0] for shape in sizes.values() if shape and len(shape) > 1}
    if len(found) != 1:
        told = listed({value.name: value.type.tensor_type for value in graph.model.graph.input if value.name in sizes})
        legal = f"{SHAPES} with the sizes wanted, instead of batch = {batch}"
        raise ValueError(f"batch = {batch}: which size is the batch is in doubt; inputs: {told}; legal: {legal}")
    own = found.pop()
    whose = [name for name, shape in sizes.items() if shape and shape[0] == own]
    if len(whose) < len(sizes):
        notes[first_size(batch, whose)] = None
    return Scale(batch, max(own, 1), reached(graph.nodes, whose))


def first_size(batch, names):
    """The note on whose first size the batch is."""
    return f"batch {batch} is the first size of {', '.join(map(printable, names))}; other inputs stay as they are"


def reached(nodes, names):
    """Names of all values that depend on these; nodes: in order. What follows from sizes alone gives sizes to what is made, not to what is there."""
    values = set(names)
    for node in nodes:
        read = node.input[:1] if is_plain(node) and node.op_type in SIZES_BESIDE else reads(node)
        if not values.isdisjoint(read):
            values.update(filter(None, node.output))
    return frozenset(values)


def batched_inputs(graph):
    """Inputs of more than one dimension whose first size reaches the operands of layers, through nodes that keep it."""
    waiting = [name for node in graph.nodes if node.op_type in MULTIPLY for name in node.input[:2]]
    found, seen = {}, set()
    while waiting:
        name = waiting.pop()
        shape = graph.shape(name)
        if name in seen or name in graph.constants or not shape:
            continue
        seen.add(name)
        if name in graph.inputs and len(shape) > 1:
            found[name] = None
        maker = graph.makers.get(name)
        waiting.extend(read for read in (reads(maker) if maker else ()) if (graph.shape(read) or (0,))[0] == shape[0])
    return list(found)
