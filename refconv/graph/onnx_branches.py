"""If nodes whose branch is known, or follows from what comes after: the branch's nodes take the place of the If.

torch exports `squeeze(0)` of a value of unknown batch as an If on its first size: Squeeze in one branch, Identity in the other. Once the batch is
known, so is the branch. Where the condition is not known and the branches' outputs differ in rank, a convolution behind the If decides: it takes
as many dimensions as its weight has. That is an assumption, and noted.
"""

from refconv.graph.model import sizes_text
from refconv.graph.onnx_shapes import ELSE, THEN, branches_of, infer, output_shapes
from refconv.graph.onnx_values import attributes, captured, is_plain, named, reads, subgraphs

KEEPS_RANK = {
    *("Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Div", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu"),
    *("HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LeakyRelu", "Log", "Mish", "Mul", "Neg", "PRelu", "Pad", "Pow"),
    *("Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh"),
}
TAKES_RANK_OF_WEIGHT = ("Conv", "ConvTranspose", "Gemm", "FusedConv")


def resolve(model, notes, assume=True):
    """Replace If nodes whose branch is known or follows, in place; returns Known of the ModelProto. notes: a dict whose keys are the assumptions.

    assume: whether a branch may be taken for what comes after the If; else only where the condition is known.
    """
    while True:
        known = infer(copied(model))
        chosen = [
            (i, graph)
            for i, node in enumerate(model.graph.node)
            if branches_of(node) and (graph := branch_of(node, model, known, notes if assume else None))
        ]
        if not chosen:
            return known
        for i, graph in reversed(chosen):
            inline(model.graph, i, graph)


def copied(message):
    """A protobuf message of its own."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def branch_of(node, model, known, notes):
    """The graph of the branch that an If takes, or is assumed to take (notes: None where nothing may be assumed); None where that stays open."""
    branches = branches_of(node)
    condition = known.values.get(node.input[0])
    wanted = None if condition is None or condition.size != 1 else THEN if condition.ravel()[0] else ELSE
    if notes is None:
        return branches.get(wanted)
    if wanted is None and all(None not in known.shapes.get(name, (None,)) for name in node.output if name):
        return None
    shapes = {name: output_shapes(graph, model, known) for name, graph in branches.items()}
    needed = [needed_rank(name, model.graph, known) for name in node.output]
    fitting = [name for name in branches if all(fits(shape, need) for shape, need in zip(shapes[name], needed, strict=True))]
    told = "; ".join(f"{name}: {', '.join(map(shape_text, shapes[name]))}" for name in branches)
    if len(fitting) == 1 and wanted != fitting[0]:
        user = next(need[1] for need in needed if need)
        why = "its condition is not known" if wanted is None else f"with these sizes it would take {wanted}, which {named(user)} cannot read"
        notes[f"If {named(node)}: {why}; {fitting[0]} is assumed, for {named(user)} ({user.op_type}) takes its output ({told})"] = None
        return branches[fitting[0]]
    if wanted is None:
        notes[f"If {named(node)}: its condition is not known, and its branches differ in shape ({told})"] = None
        return None
    return branches[wanted]


def shape_text(shape):
    """Sizes as text."""
    return "not known" if shape is None else sizes_text(shape) or "a scalar"


def fits(shape, need):
    """Whether a value of this shape can be what is needed; need: None or (rank, node)."""
    return need is None or shape is None or len(shape) == need[0]


def needed_rank(name, graph, known):
    """(rank, node) of the first node after a value, reached through nodes that keep its rank, that needs one rank; None if there is none."""
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop(0)
        if not name or name in seen:
            continue
        seen.add(name)
        for node in graph.node:
            if not node.input or name not in node.input:
                continue
            first = node.input[0] == name
            if first and node.op_type in TAKES_RANK_OF_WEIGHT and len(node.input) > 1 and known.shapes.get(node.input[1]):
                return len(known.shapes[node.input[1]]), node
            if first and node.op_type in ("MaxPool", "AveragePool") and isinstance(attributes(node).get("kernel_shape"), list):
                return len(attributes(node)["kernel_shape"]) + 2, node
            if first and is_plain(node) and node.op_type in KEEPS_RANK:
                waiting.extend(node.output[:1])
    return None


def inline(graph, index, branch):
    """Replace the If at an index of a graph by a branch's nodes, in place."""
    node = copied(graph.node[index])
    outside = {name for i, other in enumerate(graph.node) if i != index for name in (*other.output, *reads(other))}
    outside |= {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    inside = [name for made in branch.node for name in made.output if name] + [tensor.name for tensor in branch.initializer]
    prefix = node.name or node.output[0]
    renamed = {name: f"{prefix}/{name}" for name in inside if name in outside or name in node.output}
    added, made = [], {name for made in branch.node for name in made.output if name}
    for value, output in zip(branch.output, node.output, strict=True):
        if value.name in made and output:
            renamed[value.name] = output
            made.remove(value.name)
        elif output:
            added.append((value.name, output))
    nodes = [copied(inner) for inner in branch.node]
    for inner in nodes:
        rename(inner, renamed)
    for name, output in added:
        identity = type(node)()
        identity.op_type, identity.name = "Identity", output
        identity.input.append(renamed.get(name, name))
        identity.output.append(output)
        nodes.append(identity)
    for tensor in branch.initializer:
        kept = graph.initializer.add()
        kept.CopyFrom(tensor)
        kept.name = renamed.get(tensor.name, tensor.name)
    for value in branch.value_info:
        kept = graph.value_info.add()
        kept.CopyFrom(value)
        kept.name = renamed.get(value.name, value.name)
    whole = [*map(copied, graph.node[:index]), *nodes, *map(copied, graph.node[index + 1 :])]
    del graph.node[:]
    graph.node.extend(whole)


def rename(node, renamed):
    """Give the values of a node and of its subgraphs other names, in place."""
    for names in (node.input, node.output):
        for i, name in enumerate(names):
            names[i] = renamed.get(name, name)
    for graph in subgraphs(node).values():
        outside = set(captured(graph))
        outer = {name: new for name, new in renamed.items() if name in outside}
        for inner in graph.node:
            rename(inner, outer)
        for value in graph.output:
            value.name = outer.get(value.name, value.name)
