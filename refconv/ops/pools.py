"""Pooling and gating of arrays that lie channels-last, by this project's kernels."""

import functools

from numba import typeof

from refconv.jit import compiled
from refconv.kernels.map_gates import map_gates
from refconv.kernels.map_mean import map_mean
from refconv.kernels.pool_windows import pool_windows
from refconv.plan import flat
from refconv.problem.pools import MapGates, MapMean, Pool

_KERNELS = {MapMean: map_mean, Pool: pool_windows, MapGates: map_gates}


def pooler(x, out, problem, *gates):
    """A function of no arguments that pools the flat array x into the flat array out, all float32 or all float64.

    problem: a record of refconv/problem/pools.py; gates: of a MapGates the flat array of them.
    """
    arrays = x, *gates, out
    signature = *[flat(x.dtype)] * len(arrays), typeof(problem)
    return functools.partial(compiled(_KERNELS[type(problem)], signature), *arrays, problem)
