"""Operators that reduce axes: sums, means, extremes, norms; places of extremes; sums so far; the softmax family."""

import numpy as np

from refconv.operators.types import axis_in, in_work_type

FLAT_BEFORE = 13
"""Before this version of the operators, Softmax and its family see a matrix: the axes before `axis`, and the others."""


def over(function):
    """A reduction from function(x in the type of sums, axis, keepdims). The axes are the second operand, or once an attribute."""

    def run(x, given=None, *, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = given if given is not None else axes
        if axes is None or len(axes) == 0:
            axes = () if noop_with_empty_axes else range(x.ndim)
        axes = tuple(axis_in(axis, x.ndim) for axis in axes)
        return np.asarray(function(in_work_type(x), axes, bool(keepdims))).astype(x.dtype)

    return run


def _least(x, axes, keepdims):
    return x.min(axis=axes, keepdims=keepdims, initial=_extreme(x.dtype, 1))


def _largest(x, axes, keepdims):
    return x.max(axis=axes, keepdims=keepdims, initial=_extreme(x.dtype, -1))


def _extreme(dtype, sign):
    """The largest (sign 1) or least value of a type: what the extreme of no elements is."""
    if dtype.kind == "b":
        return sign > 0
    if dtype.kind in "iu":
        return np.iinfo(dtype).max if sign > 0 else np.iinfo(dtype).min
    return sign * np.inf


def _log_sum_exp(x, axes, keepdims):
    top = x.max(axis=axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    result = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
    return result if keepdims else np.squeeze(result, axis=axes)


REDUCTIONS = {
    "ReduceSum": lambda x, axes, keep: x.sum(axis=axes, keepdims=keep, dtype=x.dtype),
    "ReduceMean": lambda x, axes, keep: x.mean(axis=axes, keepdims=keep, dtype=x.dtype if x.dtype.kind == "f" else None),
    "ReduceProd": lambda x, axes, keep: x.prod(axis=axes, keepdims=keep, dtype=x.dtype),
    "ReduceMax": _largest,
    "ReduceMin": _least,
    "ReduceL1": lambda x, axes, keep: np.abs(x).sum(axis=axes, keepdims=keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: np.sqrt((x * x).sum(axis=axes, keepdims=keep, dtype=x.dtype)),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axis=axes, keepdims=keep, dtype=x.dtype),
    "ReduceLogSum": lambda x, axes, keep: np.log(x.sum(axis=axes, keepdims=keep, dtype=x.dtype)),
    "ReduceLogSumExp": _log_sum_exp,
}


def place_of(function):
    """ArgMax or ArgMin from NumPy's."""

    def run(x, *, axis=0, keepdims=1, select_last_index=0):
        if select_last_index:
            result = x.shape[axis] - 1 - np.expand_dims(function(np.flip(x, axis), axis=axis), axis)
        else:
            result = np.expand_dims(function(x, axis=axis), axis)
        return (result if keepdims else np.squeeze(result, axis)).astype(np.int64)

    return run


def so_far(function):
    """CumSum or CumProd from NumPy's."""

    def run(x, axis, *, exclusive=0, reverse=0):
        axis = axis_in(np.ravel(axis)[0], x.ndim)
        x = np.flip(x, axis) if reverse else x
        result = function(x, axis=axis, dtype=x.dtype)
        if exclusive:
            before = np.full_like(x.take([0], axis), function is np.cumprod)
            result = np.concatenate([before, result], axis).take(range(x.shape[axis]), axis)
        return np.flip(result, axis) if reverse else result

    return run


def along(function):
    """An operator of the softmax family from function(x, axis)."""

    def run(x, *, axis=None, opset):
        flat = opset < FLAT_BEFORE
        axis = (1 if flat else -1) if axis is None else axis
        if not flat:
            return function(in_work_type(x), axis).astype(x.dtype)
        axis = axis_in(axis, x.ndim) if x.ndim else 0
        rows = in_work_type(x).reshape(int(np.prod(x.shape[:axis])), -1)
        return function(rows, 1).reshape(x.shape).astype(x.dtype)

    return run


def softmax(x, axis):
    """exp(x) over its sum along an axis."""
    raised = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return raised / raised.sum(axis=axis, keepdims=True)


def log_softmax(x, axis):
    """The logarithm of the softmax."""
    x = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def hardmax(x, axis):
    """1 at the first largest along an axis, else 0."""
    return (
        np.expand_dims(x.argmax(axis=axis), axis)
        == np.arange(x.shape[axis]).reshape([-1 if i == axis_in(axis, x.ndim) else 1 for i in range(x.ndim)])
    ) * 1


def top_k(x, k, *, axis=-1, largest=1, sorted=1):
    """The k largest (or least) along an axis, in order, and their places; of equal ones the first."""
    count = int(np.ravel(k)[0])
    keys = np.flip(x, axis) if largest else x
    order = np.argsort(keys, axis=axis, kind="stable")
    if largest:
        order = x.shape[axis] - 1 - np.flip(order, axis)
    places = order.take(range(count), axis)
    return np.take_along_axis(x, places, axis), places.astype(np.int64)


TABLE = {
    **{op: over(function) for op, function in REDUCTIONS.items()},
    "ArgMax": place_of(np.argmax),
    "ArgMin": place_of(np.argmin),
    "CumSum": so_far(np.cumsum),
    "CumProd": so_far(np.cumprod),
    "Softmax": along(softmax),
    "LogSoftmax": along(log_softmax),
    "Hardmax": along(hardmax),
    "TopK": top_k,
}
