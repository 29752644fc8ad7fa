"""Random weights under which the activations of a network keep their size from its input to its output.

A convolution's weights are normal, and the square of a filter's norm is 1 / (mean square of what it reads), so that what it makes has variance 1 (He
et al., arXiv 1502.01852, where the mean square after a ReLU is half the variance); before a sum it is BRANCH squared, so that many blocks that
each add to one tensor leave it about as large as it was. That mean square is taken here from draws: every tensor is stood for by some thousands of
its elements, as if they were independent. So are those that a mean over the map is taken of, though they are not: the mean is taken to be as
large as they are, and may be smaller. Results do not depend on the size of the image.
"""

import numpy as np

from refconv.problem.activations import DEFINITIONS
from refconv.problem.steps import CONVOLUTIONS

DRAWS = 1 << 12
"""Elements that stand for a tensor: its mean square is known to some 3 %."""
SPREAD = 0.1
"""Standard deviation of biases, and of factors, whose mean is 1."""

BRANCH = 0.3
"""Standard deviation of what a block adds to its input, beside 1 elsewhere: twenty blocks make of 1 the root of 1 + 20 * 0.09, 1.7."""


def random_parameters(graph, seed):
    """{name: float32 array} instead of a Graph's parameters, the same for a seed: variances and means as above, biases and factors by SPREAD."""
    weights, elements, arrays, takers = np.random.default_rng(seed), np.random.default_rng(0), {}, graph.takers()

    def added(name):
        """Whether a tensor is only ever added to another, scaled or not."""
        return name in takers and all(taker.op == "add" or (taker.op == "scale" and added(taker.name)) for taker in takers[name])

    def normal(shape, deviation, mean=0.0):
        array = weights.standard_normal(shape, np.float32)
        array *= np.float32(deviation)
        array += np.float32(mean)
        return array

    def give(step, role, deviation, mean=0.0):
        name = step.parameters.get(role)
        if name in graph.parameters:
            arrays[name] = normal(graph.parameters[name].shape, deviation, mean)
        return arrays.get(name)

    def make(step, tensors):
        x = tensors[0]
        if step.op in CONVOLUTIONS:
            whole = step.op == "conv"  # a partial one keeps the size of the channels that it leaves as they are
            filters = give(step, "weight", 1.0)
            filters /= np.linalg.norm(filters.reshape(len(filters), -1), axis=1).reshape(-1, *[1] * (filters.ndim - 1))
            deviation = BRANCH if added(step.name) else 1.0
            filters *= np.float32(deviation * np.mean(x * x) ** -0.5 if whole else 1)
            give(step, "bias", SPREAD * deviation)
            return deviation * elements.standard_normal(DRAWS) if whole else x
        if step.op in ("norm", "scale"):
            give(step, "weight", SPREAD, 1.0)
            give(step, "bias", SPREAD)
            return x if step.op == "scale" else (x - x.mean()) / x.std()
        return _ELEMENTS[step.op](step, elements, *tensors)

    graph.run(elements.standard_normal(DRAWS), make)
    return arrays


_ELEMENTS = {
    "mean": lambda step, rng, x: x,
    "pad": lambda step, rng, x: x,
    "blur_pool": lambda step, rng, x: x,
    "max_pool": lambda step, rng, x: rng.choice(x, (step.attributes["size"] ** 2, DRAWS)).max(axis=0),
    "concatenate": lambda step, rng, x, y: rng.permutation(np.concatenate([x, y]))[:DRAWS],
    "activation": lambda step, rng, x: DEFINITIONS[step.attributes["kind"]](x),
    "multiply": lambda step, rng, x, gates: x * rng.permutation(gates),
    "add": lambda step, rng, x, y: x + rng.permutation(y),
}
"""The draws of what a step without parameters makes, by op, from those of its sources."""
