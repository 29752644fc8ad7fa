"""Pooling of arrays that lie channels-last, by this project's kernels."""

import functools

from numba import typeof

from refconv.frames import NativeCall
from refconv.jit import compiled, native
from refconv.kernels.map_mean import map_mean
from refconv.kernels.pool_windows import pool_windows
from refconv.plan import flat
from refconv.problem.pools import MapMean, Pool

_KERNELS = {MapMean: map_mean, Pool: pool_windows}


def pooler(x, out, problem):
    """A function of no arguments that pools the flat array x into the flat array out, both float32 or both float64.

    problem: a record of refconv/problem/pools.py.
    """
    array = flat(x.dtype)
    return functools.partial(compiled(_KERNELS[type(problem)], (array, array, typeof(problem))), x, out, problem)


def pooling(x, out, problem):
    """What the function of `pooler` does, as a NativeCall."""
    array = flat(x.dtype)
    return NativeCall(*native(_KERNELS[type(problem)], (array, array, typeof(problem))), (x, out, problem))
