"""A form of a contender, and the check that it computes what it should before it is timed."""

from typing import Any, NamedTuple

import numpy as np

TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 5e-3, "bfloat16": 5e-2}
"""Largest legal error of an output, over 1 + its magnitude: float32 was seen off by 5e-6, bfloat16 by 1e-2."""


class WrongResult(Exception):
    """A contender's numbers are not those of the definition."""


class Entry(NamedTuple):
    """A form of a contender: run() computes, result() computes and gives the output as a NumPy array, NCHW.

    winograd: whether it computes by Winograd's algorithm, with fewer multiplications than the definition has. Such a form is listed apart.
    measured: of this project's forms, what refconv.tune has kept of the tiling, or None.
    """

    run: Any
    result: Any
    winograd: bool = False
    measured: Any = None


WINOGRAD_TOLERANCE = 2e-4
"""The same for a Winograd form, whose transforms amplify roundings: float32 was seen off by 2.5e-5."""


def check(case, entries, expected, tolerance):
    """WrongResult unless each entry's result is `expected` within the tolerance, absolute and relative."""
    for name, entry in entries.items():
        legal = max(tolerance, WINOGRAD_TOLERANCE) if entry.winograd else tolerance
        result = entry.result()
        if result.shape != expected.shape:
            raise WrongResult(f"{name}: {case} gives {result.shape}; the definition {expected.shape}")
        error = np.abs(result - expected) / (1 + np.abs(expected))
        if not error.max() <= legal:
            raise WrongResult(f"{name}: {case} is off the definition by {error.max():.1e}; at most {legal:.0e} is legal")
