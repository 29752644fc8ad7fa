"""The activations: their names, their definitions in float64, and the codes that tell a kernel which one to compute."""

import math
from typing import NamedTuple

import numpy as np

from refconv.static import Static, static_record

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _logistic(x):
    return 1 / (1 + np.exp(-x))


def _gelu(x):
    return np.where(np.isneginf(x), -0.0, x * (_erfc(-x * math.sqrt(0.5)) / 2))


def _hard(x):
    return np.clip(x / 6 + 0.5, 0, 1)


DEFINITIONS = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "silu": lambda x: x * _logistic(x),
    "gelu": _gelu,
    "gelu_tanh": lambda x: x * _logistic(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x)),  # (1 + tanh(z)) / 2 = logistic(2 z)
    "hardswish": lambda x: x * _hard(x),
    "sigmoid": _logistic,
    "hardsigmoid": _hard,
}
"""The activations of an array of float64. gelu is the exact one, x (1 + erf(x / sqrt(2))) / 2; the hard ones are torch's."""

ACTIVATIONS = {name: Static(code) for code, name in enumerate(DEFINITIONS)}
"""The code of each activation, by name: the `kind` of the instruction `activate` (refconv/tile/activations.py)."""
IDENTITY = ACTIVATIONS["identity"]


@static_record
class Activations(NamedTuple):
    """Those of a layer, by code: outer(inner(sum + bias) + residual). Without a residual there is an outer one alone."""

    inner: Static
    outer: Static

    @property
    def none(self):
        """Whether there is none (0 or 1)."""
        return int(self.inner == self.outer == IDENTITY)


NO_ACTIVATION = Activations(IDENTITY, IDENTITY)
