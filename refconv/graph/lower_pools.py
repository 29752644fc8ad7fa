"""Operators that pool, gate or normalise maps: which of them a kernel runs, on tensors that lie channels-last. All others are NumPy's."""

import math

from refconv.graph import orders
from refconv.graph.calls import GATED, NORMED, POOLED
from refconv.operators.types import axis_in
from refconv.operators.windows import axes_of
from refconv.problem.pools import GatedMap, LayerNorm, MapMean, Mean, Pool, in_kernels


def of_map(builder, step, sources, out):
    """(kernel of calls.OF_MAPS, names of what it reads, its record, order of `out`) of a step that such a kernel runs: there is one, and the sources
    lie as it needs. None of any other.

    A step whose result would be of another shape than `out` is left to NumPy, too, which says so.
    """
    known = step.op in OF_OP and all(source is None or (source.dtype == out.dtype and 0 not in source.shape) for source in sources[:1])
    if not known or not in_kernels(out.dtype) or 0 in out.shape:
        return None
    kernel, find = OF_OP[step.op]
    found = find(builder, step, sources, out)
    return found and (kernel, *found)


def _pool(builder, step, sources, out):
    x = sources[0]
    found = POOLS[step.op](builder, step, x, out) if len(x.shape) == 4 and x.buffer is not None else None
    return found and (step.sources[:1], *found)


def _gates(builder, step, sources, out):
    """A map times a number for each channel of an image, in either order; the channels are the innermost axis, whatever it is called."""
    for (x, gates), names in ((sources, step.sources), (sources[::-1], step.sources[::-1])):
        if len(x.shape) != 4 or len(gates.shape) != 4 or x.shape != out.shape or x.shape == gates.shape or x.buffer is None or x.dtype != gates.dtype:
            continue
        outer, *between, inner = x.order
        if gates.shape == tuple(1 if axis in between else size for axis, size in enumerate(x.shape)) and orders.same(
            gates.order, x.order, gates.shape
        ):
            return names, GatedMap(x.shape[outer], math.prod(x.shape[axis] for axis in between), x.shape[inner]), x.order
    return None


def _layer_norm(builder, step, sources, out):
    """Over the last axis, where that is innermost."""
    x, *vectors = sources
    rank, given = len(x.shape), step.attributes
    whole = x.shape == out.shape and x.buffer is not None and rank > 0 and x.order[-1] == rank - 1 and given.get("outputs", 1) == 1
    if not whole or axis_in(given.get("axis", -1), rank) != rank - 1:
        return None
    if any(vector is not None and (vector.shape, vector.dtype) != (x.shape[-1:], x.dtype) for vector in vectors) or vectors[0] is None:
        return None
    names = (*step.sources, "")[:3]
    return names, LayerNorm(math.prod(x.shape[:-1]), x.shape[-1], float(given.get("epsilon", 1e-5))), x.order


def _mean(builder, step, x, out):
    """Over the two axes that lie between the others, whatever these are called: of NHWC in a network that says NCHW, or in one that says NHWC."""
    axes, keep = _mean_axes(builder, step)
    if len(axes) != 2:
        return None
    outer, inner = (axis for axis in range(4) if axis not in axes)
    lying = outer, *axes, inner
    made = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)) if keep else (x.shape[outer], x.shape[inner])
    if made != out.shape or not orders.same(x.order, lying, x.shape):
        return None
    return MapMean(x.shape[outer], math.prod(x.shape[axis] for axis in axes), x.shape[inner]), lying if keep else orders.plain(2)


def _mean_axes(builder, step):
    """(the axes that a mean of a map goes over, in order, whether they are kept)."""
    if step.op == "GlobalAveragePool":
        return [2, 3], True
    given = builder.constant(step.sources[1]) if len(step.sources) > 1 and step.sources[1] else step.attributes.get("axes")
    return sorted({axis_in(axis, 4) for axis in (() if given is None else given)}), bool(step.attributes.get("keepdims", 1))


def _windows(builder, step, x, out):
    """The largest or the mean of windows whose elements are neighbours; not where each of the largest lies, which is a second output."""
    lying, given = orders.channels_last(4), step.attributes
    if given.get("outputs", 1) > 1 or not given.get("kernel_shape") or not orders.same(x.order, lying, x.shape):
        return None
    named = {name: given[name] for name in ("strides", "pads", "dilations", "auto_pad", "ceil_mode") if name in given}
    rows, columns = axes_of(x.shape[2:], given["kernel_shape"], **named)
    if (rows.dilation, columns.dilation) != (1, 1) or (*x.shape[:2], rows.count, columns.count) != out.shape:
        return None
    mean = Mean(int(given.get("count_include_pad", 0))) if step.op == "AveragePool" else None
    return Pool(x.shape[0], x.shape[1], rows, columns, mean), lying


POOLS = {"GlobalAveragePool": _mean, "ReduceMean": _mean, "MaxPool": _windows, "AveragePool": _windows}
"""(record, order of what is made) of a step by op, or None, from the builder, the step, its source and what it makes."""
OF_OP = {**dict.fromkeys(POOLS, (POOLED, _pool)), "Mul": (GATED, _gates), "LayerNormalization": (NORMED, _layer_norm)}
"""(kernel of calls.OF_MAPS, function that finds what it is given) by op."""
