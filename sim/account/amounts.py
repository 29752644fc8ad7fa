"""The amounts of work that the matrix efficiency measure weighs (sim/analysis/matrix_efficiency.py), of the layers of a network."""

import math

from refconv.problem.steps import CONVOLUTIONS, tensor_elements
from sim.analysis.matrix_efficiency import NOTHING, Amounts, convolution_amounts

VIEWS = ("pad", "concatenate")
"""Steps that compute nothing."""


def layer_amounts(network, n=1, size=None, weights=None):
    """{step: Amounts} of a Network of refconv.networks for n images of size x size pixels (None: its own).

    A convolution has its multiply-adds, and the elements of its input and output. Any other step makes its output on the vector unit, as data passes
    from the convolution before it or to the one after it: an operation an element, no data of its own. A pool or mean reads more than it makes:
    an operation for each element read. weights: Weights, whose `narrowest` says which groups are vector work.
    """
    sized = network.steps(n, size)
    elements = tensor_elements(network.shape(n, size), sized)
    return {name: _amounts(one, elements, weights) for name, one in sized.items()}


def network_amounts(network, n=1, size=None, weights=None):
    """The Amounts of a whole Network: its layers' added up."""
    return sum(layer_amounts(network, n, size, weights).values(), start=NOTHING)


def _amounts(one, elements, weights):
    step, problem = one.step, one.problem
    if step.op in CONVOLUTIONS:
        tensors, conv = problem.tensors, getattr(problem, "conv", problem)
        return convolution_amounts(problem.macs, conv.c_group if conv.groups > 1 else math.inf, tensors["input"] + tensors["output"], weights)
    if step.op in VIEWS:
        return NOTHING
    return Amounts(0, max(one.elements, elements[step.sources[0]]), 0)
