"""Global response normalisation as it is written out (timm's), with its gates in one place:

x + (bias + weight * (x * n))    x * (1 + weight * n) + bias    n = g / (ReduceMean(g) + epsilon), g = ReduceL2(x)

bias and weight are constants; there may be a factor of 1 besides, which torch's addcmul brings along. Two passes over the map remain of four.
"""

import numpy as np

from refconv.problem.steps import Step


def gather_responses(network):
    """Write all of them so."""
    makers, takers, changed, arrays, labels = network.makers, network.takers(), {}, {}, {}
    for step in network.steps:
        found = written_out(network, makers, takers, step)
        if found is None:
            continue
        x, relative, weight, bias = found
        dtype, names = network.constant(weight).dtype, [f"{step.name} {what}" for what in ("one", "weighted", "gates", "gated")]
        one, weighted, gates, gated = names
        arrays[one] = np.ones((), dtype)
        made = [Step(weighted, "Mul", (relative, weight)), Step(gates, "Add", (weighted, one)), Step(gated, "Mul", (x, gates))]
        changed[step.name] = [*made, Step(step.name, "Add", (gated, bias))]
        labels.update((name, network.labels.get(step.name, step.op)) for name in names)
    return network.changed(changed, arrays, labels)


def written_out(network, makers, takers, step):
    """(x, n, weight, bias) where a step is such a sum, else None; nothing else takes what lies between."""
    alone = lambda name, op: makers.get(name) if name in makers and makers[name].op == op and len(takers[name]) == 1 else None
    for x, inner in both_ways(step, "Add"):
        for bias, weighted in both_ways(alone(inner, "Add"), "Add"):
            for one, other in both_ways(alone(weighted, "Mul"), "Mul"):
                array = network.constant(one)
                weighted = other if array is not None and array.size == 1 and np.all(array == 1) else weighted
            for weight, gated in both_ways(alone(weighted, "Mul"), "Mul"):
                for same, relative in both_ways(alone(gated, "Mul"), "Mul"):
                    constants = network.constant(bias) is not None and network.constant(weight) is not None
                    if same == x and constants and relative_norm(network, makers, relative, x):
                        return x, relative, weight, bias
    return None


def both_ways(step, op):
    """The sources of a step of two, in both orders; none of any other."""
    return (step.sources, step.sources[::-1]) if step is not None and step.op == op and len(step.sources) == 2 else ()


def relative_norm(network, makers, name, x):
    """(step of the norm, step of its mean, epsilon) where a tensor is norm / (mean of norm + epsilon), the norm one of x; else None."""
    divided = makers.get(name)
    if divided is None or divided.op != "Div":
        return None
    norm, least = (makers.get(source) for source in divided.sources)
    if norm is None or norm.op != "ReduceL2" or norm.sources[0] != x or not norm.attributes.get("keepdims", 1):
        return None
    for mean, eps in both_ways(least, "Add"):
        array, mean = network.constant(eps), makers.get(mean)
        if array is not None and array.size == 1 and mean is not None and mean.op == "ReduceMean" and mean.attributes.get("keepdims", 1):
            return (norm, mean, float(array.reshape(()))) if mean.sources[0] == norm.name else None
    return None
