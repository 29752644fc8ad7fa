"""What there is to choose for a problem: its legal tilings, and the kernel and tiling that a call takes with the reasons in numbers."""

from typing import Any, NamedTuple

import numpy as np

from refconv import host
from refconv.elements import element
from refconv.kernels import kernel_for
from refconv.plan import thread_count
from refconv.problem.conv import Conv2d
from refconv.tiling.candidates import candidates
from refconv.tiling.checked import checked
from refconv.tiling.measured import Subject, look_up


class Choice(NamedTuple):
    """The kernel and tiling that are taken for a problem, and one line that says which cache holds what, and what has been measured of it."""

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


def choose(problem, dtype=np.float32, target=None, *, threads=None):
    """The Choice for a problem: kernel, tiling, and in one line the bytes of what each cache is meant to hold.

    The tiling is the rule's for the target. Without a target it is that of a call on this computer with so many threads (None: one), which
    takes what refconv.tune has measured, if it has: the line then says so. ValueError or TypeError says what is wrong with an argument.
    """
    here = target is None
    if not here and threads is not None:
        raise ValueError(f"threads = {threads!r} with a target: must be None, since the target has its own")
    problem, itemsize, target = _asked(problem, dtype, target)
    threads = thread_count(1 if threads is None else threads)
    target = target._replace(threads=threads) if here else target
    row = kernel_for(problem, target.lanes(itemsize))
    known = look_up(Subject(row, problem, element(dtype), threads)) if here else None
    tiling = known.tiling if known else row.tiling(problem, itemsize, target)
    explanation = row.explain(problem, tiling, itemsize, target)
    return Choice(row.name, tiling, f"{explanation}; {known}" if known else explanation)


def _asked(problem, dtype, target):
    """(problem, itemsize of the sums, target) of what a caller passed."""
    problem = Conv2d.parse(problem) if isinstance(problem, str) else problem.checked()
    return problem, element(dtype).work.itemsize, target or host.target()
