"""A layer norm written out, as exporters did before operator set 17, is a LayerNormalization:

d = x - ReduceMean(x)     d / Sqrt(ReduceMean(d^2) + epsilon) [* scale [+ bias]]     over the last axis
"""

import numpy as np

from refconv.graph.passes.activations import scalar
from refconv.problem.steps import Step


def name_layer_norms(network):
    """Name those; scale and bias are constant vectors, which nothing but the norm comes before."""
    makers, takers, changed, arrays = network.makers, network.takers(), {}, {}
    for step in network.steps:
        found = centred(network, makers, step)
        if found is None:
            continue
        x, epsilon = found
        last, scale, bias = step, None, None
        for op in ("Mul", "Add"):
            after = takers[last.name][0] if len(takers[last.name]) == 1 else None
            vector = None if after is None or after.op != op else constant_vector(network, after, last.name)
            if vector is None or (scale is not None and vector.shape != scale.shape):
                break
            last, scale, bias = after, vector if op == "Mul" else scale, vector if op == "Add" else bias
        if scale is None:
            continue  # its width, and with it a scale of ones, is not known here
        names = [f"{last.name} scale"] + ([f"{last.name} bias"] if bias is not None else [])
        arrays.update(zip(names, (scale, bias), strict=False))
        changed[last.name] = Step(last.name, "LayerNormalization", (x, *names), attributes={"axis": -1, "epsilon": epsilon})
    return network.changed(changed, arrays)


def constant_vector(network, step, name):
    """The constant vector that is the other source of a step of two, None where it is none."""
    others = [network.constant(source) for source in step.sources if source != name]
    return others[0] if len(others) == 1 and others[0] is not None and others[0].ndim == 1 and others[0].dtype.kind == "f" else None


def centred(network, makers, step):
    """(x, epsilon) where a step is d / Sqrt(ReduceMean(d^2) + epsilon), else None."""
    difference, root = (makers.get(name) for name in step.sources) if step.op == "Div" and len(step.sources) == 2 else (None, None)
    if difference is None or root is None or difference.op != "Sub" or root.op != "Sqrt":
        return None
    total = makers.get(root.sources[0])
    if total is None or total.op != "Add":
        return None
    for name, other in (total.sources, total.sources[::-1]):
        epsilon, variance = scalar(network, other), mean_of(network, makers, name)
        square = makers.get(variance) if epsilon is not None and variance else None
        if square is not None and squared(network, square, difference.name):
            x, mean = difference.sources
            return (x, epsilon) if mean_of(network, makers, mean) == x else None
    return None


def mean_of(network, makers, name):
    """The tensor whose mean over its last axis `name` is, None where it is none."""
    step = makers.get(name)
    if step is None or step.op != "ReduceMean" or not step.attributes.get("keepdims", 1):
        return None
    axes = network.constant(step.sources[1]) if len(step.sources) > 1 else step.attributes.get("axes")
    return step.sources[0] if axes is not None and np.ravel(axes).tolist() == [-1] else None


def squared(network, step, name):
    """Whether a step is the square of a tensor."""
    if step.op == "Mul":
        return tuple(step.sources) == (name, name)
    exponent = network.constant(step.sources[1]) if step.op == "Pow" and step.sources[0] == name else None
    return exponent is not None and exponent.size == 1 and exponent.ravel()[0] == 2
