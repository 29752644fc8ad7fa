"""What multiplies or shifts each output channel of a convolution or product by a constant goes into its weight and bias.

    BatchNormalization(conv(x))     weight * f, (bias - mean) * f + shift     f = scale / sqrt(var + epsilon)
    conv(x) * c, conv(x) / c        weight * c, bias * c
    conv(x) + c, conv(x) - c        bias + c

where nothing else takes the convolution's output. Computed in float64, rounded once. A factor that makes an infinite weight stays apart: sums of
infinities of both signs, or over padding, are not the infinite multiple of a sum.
"""

import math

import numpy as np

FOLDED = ("BatchNormalization", "Mul", "Div", "Add", "Sub")
NORM_PARAMETERS = 4


def fold_scales(network):
    """Fold all of them, from the first step on: what follows a folded one may be folded, too."""
    takers, makers, steps, arrays, labels = network.takers(), network.makers, {}, {}, {}
    constant = lambda name: arrays.get(name, network.constant(name))
    for step in network.steps:
        if step.op not in FOLDED:
            continue
        source = next((name for name in step.sources[: 1 if step.op in ("BatchNormalization", "Div", "Sub") else 2] if name in makers), None)
        before = steps.get(source, makers.get(source))
        if before is None or before.op not in ("conv", "product") or len(takers[source]) > 1 or step.attributes.get("output"):
            continue
        weight, bias = (constant(before.parameters.get(role)) for role in ("weight", "bias"))
        found = factor_and_shift(step, [constant(name) for name in step.sources if name != source], weight, before.op)
        if found is None:
            continue
        factor, shift = found
        wide = np.zeros(len(weight)) if bias is None else bias.astype(np.float64)
        roles = {"weight": before.parameters["weight"], "bias": f"{step.name} bias"}
        if factor is not None:
            scaled = (weight.astype(np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
            if not np.isfinite(scaled).all():
                continue
            roles["weight"] = f"{step.name} weight"
            arrays[roles["weight"]] = scaled
            wide = wide * factor
        if bias is None and shift is None:
            del roles["bias"]
        else:
            arrays[roles["bias"]] = (wide + (0 if shift is None else shift)).astype(weight.dtype)
        steps[step.name] = before._replace(name=step.name, parameters=roles)
        labels[step.name] = network.label_of_both(before, step, labels)
    return network.changed(steps, arrays, labels)


def factor_and_shift(step, constants, weight, op):
    """(factor, shift) of each output channel, float64, None for 1 and 0; None where a step is not of that kind."""
    if not constants or any(array is None for array in constants):
        return None
    if step.op == "BatchNormalization":
        given = step.attributes
        fits = op == "conv" and all(array.shape == (len(weight),) for array in constants) and len(constants) == NORM_PARAMETERS
        if not fits or given.get("training_mode") or not given.get("spatial", 1):
            return None
        scale, bias, mean, var = (array.astype(np.float64) for array in constants)
        factor = scale / np.sqrt(var + given.get("epsilon", 1e-5))
        return factor, bias - mean * factor
    vector = by_channel(constants[0], weight, op)
    if vector is None or constants[0].dtype != weight.dtype:
        return None
    if step.op in ("Add", "Sub"):
        return None, vector if step.op == "Add" else -vector
    return (vector if step.op == "Mul" else 1 / vector), None


def by_channel(array, weight, op):
    """A constant as a number for each output channel, None where it is not one: (K, 1, 1) beside maps, (K,) beside the rows of a product."""
    axes, channels = weight.ndim, len(weight)
    own = (1,) * axes if op == "conv" else ()
    shape = array.shape
    if math.prod(shape) == 1 and (op == "product" or len(shape) <= axes):
        return np.broadcast_to(array.astype(np.float64).reshape(()), channels) if op == "conv" or len(shape) <= 1 else None
    if op == "conv" and len(shape) <= axes and (*own[: axes - len(shape)], *shape) == (1, channels, *[1] * (axes - 2)):
        return array.astype(np.float64).reshape(-1)
    return array.astype(np.float64) if op == "product" and shape == (channels,) else None
