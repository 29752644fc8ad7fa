"""Pooling, gates and norms of arrays that lie channels-last, by this project's kernels."""

import functools

from numba import typeof

from refconv.frames import NativeCall
from refconv.jit import compiled, native
from refconv.kernels.gate_map import gate_map
from refconv.kernels.layer_norm import layer_norm
from refconv.kernels.map_mean import map_mean
from refconv.kernels.pool_windows import pool_windows
from refconv.plan import flat
from refconv.problem.pools import GatedMap, LayerNorm, MapMean, Pool

_KERNELS = {MapMean: map_mean, Pool: pool_windows, GatedMap: gate_map, LayerNorm: layer_norm}


def pooler(sources, out, problem):
    """A function of no arguments that pools, gates or normalises flat arrays into the flat array out, all float32 or all float64.

    problem: a record of refconv/problem/pools.py; sources: x, of a GatedMap also the gates, of a LayerNorm weight and bias.
    """
    return functools.partial(compiled(*_signed(out, problem, len(sources))), *sources, out, problem)


def pooling(sources, out, problem):
    """What the function of `pooler` does, as a NativeCall."""
    return NativeCall(*native(*_signed(out, problem, len(sources))), (*sources, out, problem))


def _signed(out, problem, count):
    """The kernel of a problem, and the Numba types of its arguments."""
    return _KERNELS[type(problem)], (*[flat(out.dtype)] * (count + 1), typeof(problem))
