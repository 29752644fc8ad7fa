"""A measure of how well networks fit a machine with a matrix unit, after ISyNet's MEM; its formula and weights are ours. Pure functions.

    MEM = M / (M + vector * V + data * D), from 0 to 1

M: multiply-adds on the matrix unit: of convolutions and matrix products, but for groups narrower than `narrowest`. V: operations on the vector unit:
an operation for each element that an activation, norm, scale, sum, gate or pool makes, and the multiply-adds of the groups that are
too narrow. D: elements of inputs and outputs of the layers. `vector` and `data` say how many of the matrix unit's multiply-adds take as long as
one operation of V, as one element of D: then MEM is the matrix unit's share of the time of a machine that overlaps nothing.

What ISyNet (Letunovskiy et al., arXiv 2109.01932) says of its measure was at hand in the words of the authors' patent alone (US 2024/0169213 A1,
abstract): the space is determined by a measure that includes "an amount of matrix operations, and/or one of: i) an amount of layer input data and/or
layer output data, and ii) an amount of vector operations". The exact formula, its weights and its values were not available: nothing
here is the paper's number.
"""

import math
from typing import NamedTuple


class Weights(NamedTuple):
    """What a vector operation and an element cost, in multiply-adds of the matrix unit; groups of fewer channels than `narrowest` are vector work.

    Ours. The defaults are an Ascend 310's in float16: its core does 4096 multiply-adds a cycle as a matrix and 128 as a vector (32 to one); in the
    time of an element of 2 bytes from memory (51.2 GB/s) its 8 TFLOP/s are 156 multiply-adds. narrowest = 2: depthwise convolutions alone.
    """

    vector: float = 32.0
    data: float = 156.25
    narrowest: int = 2

    def checked(self):
        """These weights, or a ValueError that names the first that is not legal."""
        for name in ("vector", "data"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} = {value!r}: must be a finite number of 0 or more")
        if not self.narrowest >= 1:
            raise ValueError(f"narrowest = {self.narrowest!r}: must be 1 or more channels")
        return self


class Amounts(NamedTuple):
    """The amounts of a layer, or of layers added up: multiply-adds as a matrix, operations as a vector, elements in and out."""

    matrix: int
    vector: int
    data: int

    def __add__(self, other):
        return Amounts(*(one + another for one, another in zip(self, other, strict=True)))


NOTHING = Amounts(0, 0, 0)


def convolution_amounts(macs, group_width, elements, weights=None):
    """The Amounts of a convolution of so many multiply-adds, input channels a group, and elements of input and output together.

    weights: whose `narrowest` decides (None: the defaults).
    """
    narrow = group_width < (weights or Weights()).checked().narrowest
    return Amounts(0 if narrow else macs, macs if narrow else 0, elements)


def measure(amounts, weights=None):
    """MEM of a layer or, its layers' Amounts added up, of a network. weights: Weights (None: the defaults).

    ValueError where an amount is negative, or where nothing is weighed: the measure of no work is not defined.
    """
    weights = (weights or Weights()).checked()
    for name, value in amounts._asdict().items():
        if value < 0:
            raise ValueError(f"{name} = {value!r}: must be 0 or more")
    whole = amounts.matrix + weights.vector * amounts.vector + weights.data * amounts.data
    if not whole > 0:
        raise ValueError(f"amounts = {tuple(amounts)} with weights {tuple(weights)}: must weigh something")
    return amounts.matrix / whole


def space_measure(networks, weights=None):
    """MEM of a search space: the mean of its networks' measures, each counted once whatever its size; ours. networks: Amounts, one or more."""
    measures = [measure(amounts, weights) for amounts in networks]
    if not measures:
        raise ValueError("networks: must be at least one")
    return math.fsum(measures) / len(measures)
