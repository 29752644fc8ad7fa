"""What is computed element by element on a transposed product is computed before the Transpose, so that it can join the product:

    Transpose(product) + y        Transpose(product + Transpose^-1(y))

and so with -, *, /. Transposes are no work; those of constants are made here. ConvNeXt is exported so, with its layer scale and residual.
"""

import numpy as np

from refconv.operators import elementwise, normalise, windows
from refconv.problem.steps import Step

BETWEEN = ("Add", "Sub", "Mul", "Div")
KEEP_RANK = ("product", "activation", "Identity", "Dropout", *windows.TABLE, *normalise.TABLE)
"""Whose first output has as many axes as the first source."""


def sink_transposes(network):
    """Exchange all of them, from the first step on: a chain of several sinks as a whole."""
    makers, takers, changed, arrays, ranks = dict(network.makers), network.takers(), {}, {}, Ranks(network)
    for step in network.steps:
        for name, other in (step.sources, step.sources[::-1]) if step.op in BETWEEN and len(step.sources) == 2 else ():
            turned = makers.get(name)
            if turned is None or turned.op != "Transpose" or "perm" not in turned.attributes or len(takers[name]) > 1 or name == other:
                continue
            if not from_product(turned, makers):
                continue
            perm = turned.attributes["perm"]
            back, inner = np.argsort(perm).tolist(), f"{step.name} before {name}"
            constant, added = network.constant(other), []
            before = f"{other} as before {name}"
            if constant is not None and constant.ndim <= len(perm):
                arrays[before] = constant.reshape((1,) * (len(perm) - constant.ndim) + constant.shape).transpose(back)
                arrays[before] = as_vector(arrays[before])
            elif constant is None and ranks.of(other) == len(perm):
                added = [Step(before, "Transpose", (other,), attributes={"perm": back})]
            else:
                continue
            sources = tuple(turned.sources[0] if source == name else before for source in step.sources)
            changed[step.name] = [*added, Step(inner, step.op, sources), Step(step.name, "Transpose", (inner,), attributes={"perm": perm})]
            makers.update({made.name: made for made in changed[step.name]})
            break
    return network.changed(changed, arrays)


def from_product(turned, makers):
    """Whether a Transpose is of a product, or of what has been computed on one here."""
    step = makers.get(turned.sources[0])
    while step is not None and step.op in BETWEEN:
        step = next((makers[name] for name in step.sources if name in makers and makers[name].op in (*BETWEEN, "product")), None)
    return step is not None and step.op == "product"


def as_vector(array):
    """An array without the axes of size 1 that it begins with."""
    lead = next((i for i, size in enumerate(array.shape) if size != 1), array.ndim)
    return np.ascontiguousarray(array.reshape(array.shape[lead:]))


class Ranks:
    """How many axes tensors have, as far as their steps say it without sizes."""

    def __init__(self, network):
        self.network = network
        self.known = {given.name: len(given.sizes) for given in network.inputs if given.sizes is not None}
        for step in network.steps:
            found = self._of(step)
            if found is not None:
                self.known[step.name] = found

    def of(self, name):
        """The number of axes of a tensor, None where it is not known."""
        array = self.network.constant(name)
        return self.known.get(name) if array is None else array.ndim

    def _of(self, step):
        if step.op == "conv":
            return self.network.parameters[step.parameters["weight"]].ndim
        if step.op == "Transpose" and "perm" in step.attributes:
            return len(step.attributes["perm"])
        if step.op in KEEP_RANK:
            return self.of(step.sources[0])
        if step.op in elementwise.TABLE:
            ranks = [self.of(name) for name in step.sources if name]
            return None if None in ranks else max(ranks)
        return None
