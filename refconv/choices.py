"""What there is to choose for a problem: its legal tilings, and the rule's choice of kernel and tiling with its reasons in numbers."""

from typing import Any, NamedTuple

import numpy as np

from refconv import host
from refconv.elements import element
from refconv.kernels import kernel_for
from refconv.problem.conv import Conv2d
from refconv.tiling.candidates import candidates
from refconv.tiling.checked import checked


class Choice(NamedTuple):
    """The kernel and tiling that the rule takes for a problem, and one line that says which cache holds what."""

    kernel: str
    tiling: Any
    explanation: str

    def __str__(self):
        return f"{self.kernel} {self.tiling}: {self.explanation}"


def tilings(problem, kernel=None, dtype=np.float32, target=None):
    """Yield the legal tilings of a problem that fit the registers, for its kernel or the one named; the rule's choice comes first.

    problem: a Conv2d, a PartialConv2d or a benchdnn descriptor. target: a refconv.host.Target; this computer's by default. Which
    ones: refconv.tiling.candidates. ValueError names an unknown kernel or what the problem lacks for it.
    """
    problem, itemsize, target = _asked(problem, dtype, target)
    lanes = target.lanes(itemsize)
    rule = kernel_for(problem, lanes, kernel).tiling(problem, itemsize, target)
    yield rule
    for candidate in candidates(rule, problem, lanes, target):
        if candidate != rule:
            yield checked(candidate, rule, problem, lanes)


def choose(problem, dtype=np.float32, target=None):
    """The rule's Choice for a problem: kernel, tiling, and in one line the bytes of what each cache is meant to hold."""
    problem, itemsize, target = _asked(problem, dtype, target)
    row = kernel_for(problem, target.lanes(itemsize))
    tiling = row.tiling(problem, itemsize, target)
    return Choice(row.name, tiling, row.explain(problem, tiling, itemsize, target))


def _asked(problem, dtype, target):
    """(problem, itemsize of the sums, target) of what a caller passed."""
    problem = Conv2d.parse(problem) if isinstance(problem, str) else problem.checked()
    return problem, element(dtype).work.itemsize, target or host.target()
