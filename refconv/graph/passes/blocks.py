"""Residual blocks that there are fused kernels for become one step each, a "block".

What a block is stands in its record (refconv/problem/blocks.py): the graph of steps of one with arrays of a single element is the pattern that is
looked for. What has been found is put into a record of the network's own arrays; its checks say whether their sizes fit, and its graph, compared
with what stands in the network step by step, whether strides, padding, groups and activations do. Nothing between a block's input and its
output may be taken by anything else, nor be an output of the network.
"""

import itertools

import numpy as np

from refconv.graph.network import with_attributes
from refconv.graph.passes.maps import OF_CONV, OF_PRODUCT, Map, Maps
from refconv.problem.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
    SqueezeExcite,
)
from refconv.problem.steps import INPUT, Step, centred_pads, matrix_shape

ONE = np.ones(1, np.float32)
ARRAYS = {"conv_weight": (1, 1, 1, 1), "norm_weight": (1,)}
"""Shapes of the fields that are weights and no matrices."""
GATES_OF = "se_"
"""What the names of the parameters of squeeze-excitation begin with."""
EITHER_FIRST = ("add", "multiply")
"""Steps of two sources that may be exchanged."""


def _example(record, **more):
    """A record whose arrays have one element each, all there but a scale, which passes before this one have folded.

    Activations stand for whichever is found in their place, so that those of one record differ.
    """
    shapes = {name: ARRAYS.get(name, (1, 1) if name.endswith("weight") else (1,)) for name in record.__dataclass_fields__}
    arrays = {name: ONE.reshape(shape) for name, shape in shapes.items() if name.endswith(("weight", "bias"))}
    return record(**{**arrays, "activation": "relu", **more})


GATES = _example(SqueezeExcite, activation="silu", gate="sigmoid")
ENDS = [{"residual": True}, {"residual": False}]
ACTIVATED = {"residual": False, "project_activation": "gelu"}
WIDER = {"project_weight": np.ones((2, 1), np.float32), "project_bias": np.ones(2, np.float32)}
RECORDS = (
    # record, for each list of steps that it may have: fields that make it so
    (SeparableBlock, [{"se": se, **ACTIVATED} for se in (GATES, None)]),  # before MBConv: what that projects are sums
    (MBConvBlock, [{"se": se, **end} for se in (GATES, None) for end in ENDS]),
    (SeparableBlock, [{"se": se, "activation": kind, **end} for se in (GATES, None) for kind in ("relu", "identity") for end in ENDS]),
    (ConvNeXtBlock, [{}]),
    (FasterNetBlock, [{}]),
    (ConvFirstBlock, [{}, WIDER, {"stride": 2, "expand_weight": np.ones((1, 2), np.float32)}]),  # x is added where the channels are as many
    (FFNBlock, ENDS),
    (FusedMBConvBlock, ENDS),
)
"""In the order in which they are looked for: one that has another in it comes before that."""
GROUPED = MBConvBlock, SeparableBlock
"""Records whose kernels are for depthwise and grouped convolutions: ResNet's bottlenecks, whose are dense, took up to three times as long in them."""
PATTERNS = [(example, example.graph) for record, fields in RECORDS for example in [_example(record, **given) for given in fields]]


def fuse_blocks(network, always=False):
    """Make blocks of all that are there, from the last step on; always: they are to run so wherever they can, not where it pays alone."""
    maps, takers, steps, taken = Maps(network), network.takers(), {}, set()
    for step in reversed(network.steps):
        found = None if step.name in taken else next(_blocks(maps, takers, step, taken), None)
        if found is not None:
            steps[step.name] = with_attributes(found, always=always)
            taken.update(inner.name for inner in found.attributes["steps"])
    return network.changed(steps)


def _blocks(maps, takers, step, taken):
    """Yield the "block" steps that a step could be the last of, but for those that need a step of `taken`."""
    ways = [Map(step.name, perm, done) for done in range(len(maps.parts(step.name)), 0, -1) for perm in (OF_CONV, OF_PRODUCT)]
    for (example, pattern), last in itertools.product(PATTERNS, ways):
        found = _bound({step.name: step for step in pattern.steps}, maps, pattern.steps[-1].name, last, {})
        record = found and _record(example, pattern, {name: maps.part(made) for name, made in found.items() if name != INPUT})
        made = record and _block(maps, record, found[INPUT], last)
        if made and _alone(maps, takers, made, taken):
            yield made


def _bound(pattern, maps, name, made, bound):
    """{step of a pattern: Map} where the step called `name`, and with it all before it, makes that Map; None where it does not."""
    if name in bound:
        return bound if bound[name] == made else None
    if name not in pattern:  # the input
        return {**bound, name: made}
    step, part = pattern[name], maps.part(made)
    if part is None or part.op != step.op:
        return None
    for sources in (part.sources, part.sources[::-1]) if step.op in EITHER_FIRST else (part.sources,):
        found = {**bound, name: made}
        for inner, source in zip(step.sources, sources, strict=True):
            found = found and _bound(pattern, maps, inner, source, found)
        if found:
            return found
    return None


def _record(example, pattern, parts):
    """The record of what was found, {step: Part}; None where it does not fit or is not what its own graph says."""
    arrays, stands_for = dict.fromkeys(example.arrays), {}
    for step in pattern.steps:
        part = parts[step.name]
        for role, array in part.arrays.items():
            name = step.parameters[role]
            if name not in arrays:
                return None
            arrays[name] = _as(example.arrays[name], array)
        for name, value in step.attributes.items():
            if stands_for.setdefault((name, value), part.attributes[name]) != part.attributes[name] and name == "kind":
                return None
    own = {name: array for name, array in arrays.items() if not name.startswith(GATES_OF)}
    more = _fields(example, stands_for, parts)
    if getattr(example, "se", None) is not None:
        gates = {name.removeprefix(GATES_OF): array for name, array in arrays.items() if name.startswith(GATES_OF)}
        more["se"] = gates | _fields(example.se, stands_for, parts)
    try:
        if "se" in more:
            more["se"] = SqueezeExcite(**more["se"])
        record = type(example)(**own, **more)
    except (ValueError, TypeError):
        return None
    if isinstance(record, GROUPED) and record.groups == 1:
        return None
    steps = record.graph.steps
    alike = len(steps) == len(pattern.steps) and all(step[:3] == other[:3] for step, other in zip(steps, pattern.steps, strict=True))
    return record if alike and all(dict(step.attributes) == parts[step.name].attributes for step in steps) else None


def _fields(example, stands_for, parts):
    """The fields of a record that are no arrays, with what has been found instead of the example's."""
    found, fields = {}, type(example).__dataclass_fields__
    for name in fields:
        value = getattr(example, name)
        if isinstance(value, str):
            found[name] = stands_for.get(("kind", value), value)
        elif name == "eps":
            found[name] = parts["norm"].attributes["eps"]
        elif name == "residual" or (name == "stride" and "pads" not in fields):
            found[name] = value
        elif name == "stride":
            found[name] = parts["conv"].attributes["stride"]
        elif name == "pads":
            conv = parts["conv"]
            centred = centred_pads(matrix_shape(conv.arrays["weight"])[2:])
            found[name] = None if conv.attributes["pads"] == centred else conv.attributes["pads"]
    return found


def _as(example, array):
    """A 1x1 weight as a matrix where the field is one."""
    return array.reshape(array.shape[:2]) if example.ndim == 2 and matrix_shape(array)[2:] == (1, 1) else array


def _block(maps, record, source, last):
    """The Step: a record from one Map to another, with what is left of the last step, which comes after it."""
    step = maps.makers[last.name]
    left = maps.parts(last.name)[last.done :]
    sources = (source.name, *(step.sources[1:] if "add" in left else ()))
    inner = _between(maps, sources, step)
    given = {"record": record, "read": source.perm, "write": last.perm, "steps": inner}
    if "add" in left[1:]:
        given["before_sum"] = step.attributes["before_sum"]
    if left[-1:] == ("activation",):
        given["activation"] = step.attributes["activation"]
    kept = {name: name for one in inner for name in one.parameters.values()}
    return Step(last.name, "block", sources, kept, given)


def _between(maps, sources, last):
    """The network's steps that make the last of tensors, in order."""
    waiting, found = [last.name], set()
    while waiting:
        name = waiting.pop()
        if name in maps.makers and name not in found and name not in sources:
            found.add(name)
            waiting.extend(maps.makers[name].sources)
    return tuple(step for step in maps.network.steps if step.name in found)


def _alone(maps, takers, block, taken):
    """Whether nothing else takes what lies within a block; what only sees its input in another order does not."""
    inner = {step.name for step in block.attributes["steps"]}
    views = {name for name in inner if maps.made(name, ()).name in block.sources}
    hidden = inner - views - {block.name}
    return not inner & taken and all(taker is not None and taker.name in inner for name in hidden for taker in takers[name])
