"""Layers drawn at random from the ranges of real networks: sizes that no one has tuned for, to measure rules and kernels by.

A draw is a layer of a network of this project at its own image size, with channels, rows and columns each scaled by a factor between 1/sqrt(2)
and sqrt(2), uniform in its logarithm, and rounded to any integer. Kernel, stride, padding and the width of groups stay.
"""

import functools
import random

from refconv.networks import names, network
from refconv.problem.conv import PartialConv2d
from refconv.problem.steps import CONVOLUTIONS

KINDS = ("dense", "pointwise", "depthwise", "grouped", "partial")
"""Drawn in turn, so that 30 layers have six of each, although half of all networks' layers are pointwise."""


def drawn_layers(count, seed=0):
    """`count` problems of one image, a Conv2d or PartialConv2d each; the same for a seed as long as the networks are the same."""
    rng, drawn = random.Random(seed), []
    for i in range(count):
        kind, found = KINDS[i % len(KINDS)], ()
        while not found:
            found = _layers(rng.choice(names())).get(kind, ())
        drawn.append(_ragged(rng.choice(found), kind, rng))
    return drawn


@functools.cache
def _layers(name):
    """{kind: the different layers of a network}."""
    found = {}
    for sized in network(name).steps().values():
        if sized.step.op in CONVOLUTIONS:
            found.setdefault(_kind(sized.problem), {})[sized.problem] = None
    return {kind: tuple(problems) for kind, problems in found.items()}


def _kind(problem):
    """The one of KINDS that a problem is of."""
    if isinstance(problem, PartialConv2d):
        return "partial"
    if problem.groups > 1:
        return "depthwise" if problem.groups == problem.c == problem.k else "grouped"
    return "pointwise" if (problem.r, problem.s) == (1, 1) else "dense"


def _ragged(problem, kind, rng):
    """The problem with other channels, rows and columns."""
    scaled = lambda size, least=1: max(least, round(size * 2 ** rng.uniform(-0.5, 0.5)))
    sizes = {"h": scaled(problem.h, problem.r), "w": scaled(problem.w, problem.s)}
    if kind == "partial":
        sizes["convolved"] = scaled(problem.convolved)
        sizes["c"] = sizes["convolved"] + scaled(problem.c - problem.convolved)
    elif problem.groups > 1:
        groups = scaled(problem.groups, 2)
        sizes |= {"groups": groups, "c": groups * problem.c_group, "k": groups * problem.k_group}
    else:
        sizes |= {"c": scaled(problem.c), "k": scaled(problem.k)}
    return problem._replace(**sizes).checked()
