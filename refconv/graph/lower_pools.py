"""Operators that pool or gate maps: which of them a kernel runs, on tensors that lie channels-last. All others are NumPy's."""

import math

from refconv.graph import orders
from refconv.operators.types import axis_in
from refconv.operators.windows import axes_of
from refconv.problem.pools import MapGates, MapMean, Mean, Pool, in_kernels


def pooled(builder, step, x, out):
    """(record of refconv/problem/pools.py, order of `out`) of a step whose kernel there is and whose source x lies as that needs; else None.

    A step whose result would be of another shape than `out` is left to NumPy, too, which says so.
    """
    if len(x.shape) != 4 or x.buffer is None or not in_kernels(x.dtype) or x.dtype != out.dtype or 0 in (*x.shape, *out.shape):
        return None
    return POOLS[step.op](builder, step, x, out)


def gated(sources, out):
    """(which source is the map, its MapGates) where one of two is a map and the other has a factor for each channel of each image; else None."""
    for i, (x, gates) in enumerate((sources, sources[::-1]) if len(sources) == 2 else ()):
        known = x is not None and gates is not None and x.buffer is not None and x.dtype == gates.dtype == out.dtype and in_kernels(x.dtype)
        if not known or len(x.shape) != 4 or x.shape != out.shape or len(gates.shape) != 4 or 0 in x.shape:
            continue
        outer, *between, inner = x.order
        wanted = [1 if axis in between else size for axis, size in enumerate(x.shape)]
        if list(gates.shape) == wanted and x.shape != gates.shape and orders.same(gates.order, x.order, gates.shape):
            return i, MapGates(x.shape[outer], math.prod(x.shape[axis] for axis in between), x.shape[inner])
    return None


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
