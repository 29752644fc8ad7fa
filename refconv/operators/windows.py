"""Windows that slide over maps: where they lie, and pooling. Maps have any number of axes after (N, C).

A window is met tap by tap: the tap's elements of all windows are one strided slice of the map, and what lies in the padding is left out, so
nothing is copied, whatever the order of the elements in memory.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from refconv.operators.types import NotSupported, in_work_type
from refconv.problem.conv import auto_pads


class Axis(NamedTuple):
    """Windows along one axis: `count` of `taps` elements, `dilation` apart, the first starting `before` elements before the map's `size`."""

    size: int
    taps: int
    stride: int
    dilation: int
    before: int
    after: int
    count: int

    def tap(self, i):
        """(slice of windows, slice of the map): those windows whose i-th element lies in the map, and these elements."""
        at = i * self.dilation - self.before
        first = max(0, -(at // self.stride))
        last = min(self.count, (self.size - 1 - at) // self.stride + 1)
        start = at + first * self.stride
        return slice(first, max(first, last)), slice(start, max(start, at + (last - 1) * self.stride + 1), self.stride)

    def inside(self, before=0, after=0):
        """Of each window, how many of its elements lie in the map with that much padding."""
        at = np.arange(self.count)[:, None] * self.stride + np.arange(self.taps) * self.dilation - self.before
        return ((at >= -before) & (at < self.size + after)).sum(axis=1)


def axes_of(sizes, kernel, strides=None, pads=None, dilations=None, auto_pad=b"NOTSET", ceil_mode=0):
    """An Axis for each of the sizes; pads: all begins, then all ends. With ceil_mode, a last window may hang over, but not begin beyond the map
    and its padding before."""
    rank = len(sizes)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    for name, given, count in (("strides", strides, rank), ("dilations", dilations, rank), ("kernel_shape", kernel, rank), ("pads", pads, 2 * rank)):
        if len(given) != count or min(given) < (0 if name == "pads" else 1):
            raise NotSupported(f"{name} = {list(given)} on a map {list(sizes)}: must be {count} numbers of {0 if name == 'pads' else 1} or more")
    found = []
    for i, (size, taps, stride, dilation) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        before, after, reach = pads[i], pads[i + rank], (taps - 1) * dilation + 1
        if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
            fewer, more = auto_pads(size, taps, stride, dilation)
            before, after = (fewer, more) if auto_pad == b"SAME_UPPER" else (more, fewer)
        elif auto_pad == b"VALID":
            before = after = 0
        space = size + before + after - reach
        count = (-(-space // stride) if ceil_mode == 1 else space // stride) + 1
        if ceil_mode == 1 and (count - 1) * stride >= size + before:
            count -= 1
        found.append(Axis(size, taps, stride, dilation, before, after, max(count, 0)))
    return found


def taps(axes):
    """Yield (place of the tap in the window, index of windows, index of the map) of each tap, both indices for (N, C, ...)."""
    for place in itertools.product(*(range(axis.taps) for axis in axes)):
        of_windows, of_map = zip(*(axis.tap(i) for axis, i in zip(axes, place, strict=True)), strict=True)
        yield place, (..., *of_windows), (..., *of_map)


def _blank(x, axes, value, out):
    """`out`, or an array for a value a window, filled with a value."""
    out = np.empty((*x.shape[:2], *(axis.count for axis in axes)), x.dtype) if out is None else out
    out[...] = value
    return out


def max_pool(x, *, kernel_shape, strides=None, pads=None, dilations=None, auto_pad=b"NOTSET", ceil_mode=0, storage_order=0, outputs=1, out=None):
    """The largest of each window, padding left out; and where it lies in x as a flat array (storage_order 1: with columns before rows).

    A NaN is the largest, and of several the last, as in torch: ONNX does not say, and its reference and onnxruntime keep one only here and there.
    """
    axes = axes_of(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    least = -np.inf if x.dtype.kind not in "iu" else np.iinfo(x.dtype).min
    largest = _blank(x, axes, least, out if outputs == 1 else None)
    if outputs == 1:
        for _, windows, elements in taps(axes):
            np.maximum(largest[windows], x[elements], out=largest[windows])
        return largest
    order = [0, 1, *(reversed(range(2, x.ndim)) if storage_order else range(2, x.ndim))]
    numbers = np.arange(x.size).reshape([x.shape[i] for i in order]).transpose(np.argsort(order))
    places = np.zeros(largest.shape, np.int64)
    for _, windows, elements in taps(axes):
        better = ~(x[elements] <= largest[windows]) & (np.isnan(x[elements]) | ~np.isnan(largest[windows]))
        largest[windows] = np.where(better, x[elements], largest[windows])
        places[windows] = np.where(better, numbers[elements], places[windows])
    return largest, places


def average_pool(x, *, kernel_shape, strides=None, pads=None, dilations=None, auto_pad=b"NOTSET", ceil_mode=0, count_include_pad=0, out=None):
    """The mean of each window; padding counts, as zeros, where count_include_pad is 1, but never what hangs over it."""
    axes = axes_of(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    wide = in_work_type(x)
    total = _blank(wide, axes, 0, out if out is not None and out.dtype == wide.dtype else None)
    for _, windows, elements in taps(axes):
        np.add(total[windows], wide[elements], out=total[windows])
    counts = [axis.inside(axis.before, axis.after) if count_include_pad else axis.inside() for axis in axes]
    number = math.prod(np.ix_(*counts)).astype(wide.dtype) if counts else wide.dtype.type(1)
    return np.divide(total, number, out=total).astype(x.dtype, copy=False)


def lp_pool(x, *, kernel_shape, p=2, strides=None, pads=None, dilations=None, auto_pad=b"NOTSET", ceil_mode=0):
    """The root of order p of the sum of the p-th powers of each window."""
    axes = axes_of(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    powers = np.abs(in_work_type(x)) ** p
    total = _blank(powers, axes, 0, None)
    for _, windows, elements in taps(axes):
        total[windows] += powers[elements]
    return (total ** (1 / p)).astype(x.dtype)


def over_map(function):
    """A global pool from function(x in the type of sums, axes)."""
    return lambda x: function(in_work_type(x), tuple(range(2, x.ndim))).astype(x.dtype)


TABLE = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": over_map(lambda x, axes: x.mean(axis=axes, keepdims=True)),
    "GlobalMaxPool": over_map(lambda x, axes: x.max(axis=axes, keepdims=True)),
}
