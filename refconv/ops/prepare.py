"""An operation bound to all but its arrays: what a call of it costs besides the kernel is a few comparisons and one step into compiled code."""

import functools
import math
import threading
from typing import NamedTuple

import numba
import numpy as np

from refconv import frames
from refconv.elements import element
from refconv.ops.convert import transposing
from refconv.ops.layers import result
from refconv.plan import scratch
from refconv.problem.arrays import as_array
from refconv.weights.packed import empty


def prepare(op, x, *arguments, **options):
    """An operation made ready for calls with other arrays: `prepare(conv2d, x, weight, padding=1)(y)` is `conv2d(y, weight, padding=1)`, bit for bit.

    op: conv2d, depthwise_conv2d, pointwise_conv2d, partial_conv2d or fused_block; x, arguments, options: those of a call of it. Of x only the
    shape, the dtype and the order of its elements in memory count: contiguous in NHWC or in NCHW order. Weights and biases are copied: later
    changes of them are not seen, so prepare again. A residual is not copied: every call adds what lies in that array then, which must be contiguous
    in NHWC or NCHW order. The tiling and the number of threads are decided here, once.

    Returns a Prepared. With `out` that array is written, and returned, by every call that names no other.

    TypeError or ValueError names the argument, its value and what is legal.
    """
    bind = getattr(op, "bind", None)
    if bind is None:
        raise TypeError(f"op = {op!r}: must be conv2d, depthwise_conv2d, pointwise_conv2d, partial_conv2d or fused_block of refconv")
    bound = bind(x, *arguments, **options)
    if len(bound.x) == 0:
        raise ValueError(f"x of shape {np.shape(x)}: must have an image or more to prepare for")
    return Prepared(op.__name__, bound)


class _Side(NamedTuple):
    """The input or the output as each call is given it.

    shape, strides: its own; planes: whether its memory is in NCHW order, so that it is converted; matrices: (images, pixels, channels).
    """

    shape: tuple
    strides: tuple
    planes: bool
    matrices: tuple

    @property
    def size(self):
        return math.prod(self.shape)

    def check(self, name, array):
        """ValueError unless an array of the shape has the strides on all axes that have more than one element."""
        if any(size > 1 and a != b for size, a, b in zip(self.shape, array.strides, self.strides, strict=True)):
            order = "NCHW" if self.planes else "NHWC"
            raise ValueError(f"{name} with strides {array.strides}: must be contiguous in {order} order, {self.strides}, as prepared for")


class Prepared:
    """What `prepare` returns: called with an array x, and perhaps an out, it computes the operation and returns out.

    Both must have the shape, the dtype and the order in memory that were prepared for, and lie apart from each other; a ValueError or TypeError
    says what is wrong. Several Python threads may call it at once, each with an out of its own, or without any, when each call returns a new
    array: the workspace of a thread is its own, kept as long as the thread and this object live.

    name: of the operation; shape, dtype: of x; out_shape: of the result; measured: what refconv.tune has kept of its tiling, a Measured, None where
    the rule's or one of the call's own is taken.
    """

    __slots__ = ("_bound", "_compute", "_enter", "_local", "_residual", "_sides", "dtype", "name", "out", "out_shape", "shape")

    def __init__(self, name, bound):
        target = result(bound.out, bound.program.out_shape, bound.x, bound.others, bound.layout, bound.batched)
        self.name, self._bound = name, bound._replace(program=bound.program.owned(), x=None, out=None, others=())
        self._sides = self._side("x", bound.x), self._side("out", target)
        self._residual = bound.residual is not None and self._side("residual", bound.residual)
        self.dtype, self.out, (self.shape, self.out_shape) = bound.x.dtype, bound.out, (side.shape for side in self._sides)
        self._local, split = threading.local(), bound.program.split
        if numba.config.DISABLE_JIT:
            self._enter, self._compute = None, self._step_by_step
        else:
            self._enter = frames.entry(self.dtype.itemsize, len(self.shape))
            self._compute = self._at_once if split is None else functools.partial(split.safely, self._at_once, self._step_by_step)

    def _side(self, name, view):
        planes, (n, h, w, c) = not view.flags.c_contiguous, view.shape
        given = self._as_given(view)
        if planes and not view.transpose(0, 3, 1, 2).flags.c_contiguous:
            raise ValueError(f"{name} with strides {given.strides}: must be contiguous in NHWC or NCHW order, as in the calls to come")
        return _Side(given.shape, given.strides, planes, (n, h * w, c))

    def _as_given(self, view):
        """An NHWC view in the layout that calls have, with a batch axis or without."""
        view = view if self._bound.layout == "NHWC" else view.transpose(0, 3, 1, 2)
        return view if self._bound.batched else view[0]

    def _as_nhwc(self, array):
        array = array if self._bound.batched else array[None]
        return array if self._bound.layout == "NHWC" else array.transpose(0, 2, 3, 1)

    def __call__(self, x, out=None):
        if type(x) is not np.ndarray or x.shape != self.shape or x.dtype is not self.dtype:
            x = self._checked(x)
        if out is None:
            out = self.out
            if out is None:
                out = empty(self.out_shape, self.dtype)
        elif out is not self.out:
            self._check_out(out, x)
        wrong = self._compute(x, out)
        if wrong:
            self._say(wrong, x, out)
        if self._bound.mark is not None:
            self._bound.mark(self._as_nhwc(out))
        return out

    def __repr__(self):
        return f"Prepared({self.name}, {self.shape} -> {self.out_shape}, {self.dtype}, {self._bound.layout})"

    @property
    def measured(self):
        return next((plan.call.measured for plan in self._bound.program.plans if plan.call.measured), None)

    def _at_once(self, x, out):
        """Compute in one step of compiled code; 0, or what is wrong with x and out: one of frames."""
        return self._enter(x, out, getattr(self._local, "frame", None) or self._lay_out())

    def _lay_out(self):
        """The address of a frame for this Python thread, which keeps it, and the arrays that are in it."""
        stored, (x_side, out_side) = element(self.dtype), self._sides
        x, out = (frames.Given(which, side.size, self.dtype.itemsize) for which, side in enumerate(self._sides))
        image, made, calls = x, out, []
        if x_side.planes:
            image, (n, pixels, c) = scratch("x as NHWC", x.size, self.dtype), x_side.matrices
            calls.append(transposing(x, image, (n, c, pixels), stored))
        if out_side.planes:
            made = scratch("out as NHWC", out.size, self.dtype)
        program = self._bound.program
        if self._residual:
            residual, (n, pixels, k) = self._bound.residual, self._residual.matrices
            flat = scratch("residual as NHWC", residual.size, self.dtype) if self._residual.planes else residual.reshape(-1)
            if self._residual.planes:
                calls.append(transposing(residual.transpose(0, 3, 1, 2).reshape(-1), flat, (n, k, pixels), stored))
            program = program._replace(residual=flat)
        calls += program.native_calls(image, made)
        if out_side.planes:
            calls.append(transposing(made, out, out_side.matrices, stored))
        frame = frames.frame(calls, x_side.strides, out_side.strides)
        self._local.kept, self._local.frame = (frame, calls), frame.ctypes.data
        return self._local.frame

    def _step_by_step(self, x, out):
        """The same by the program's own calls: without the compiler, and where threads are not safe. 0, or what is wrong."""
        self._check_order(x, out)
        if np.may_share_memory(x, out):
            return frames.OVERLAP
        self._bound._replace(x=self._as_nhwc(x), out=out, mark=None).run()
        return 0

    def _check_order(self, x, out):
        for name, array, side in zip(("x", "out"), (x, out), self._sides, strict=True):
            side.check(name, array)

    def _say(self, wrong, x, out):
        self._check_order(x, out)
        if wrong == frames.OVERLAP:
            raise ValueError("out overlaps x in memory: must be apart from every input")
        raise RuntimeError(f"{self!r}: the kernel ended with an error")

    def _checked(self, x):
        """x as an array; TypeError or ValueError unless it has the shape and dtype."""
        array = as_array("x", x)
        if array.shape != self.shape:
            raise ValueError(f"x of shape {array.shape}: must be {self.shape} as prepared for")
        if array.dtype != self.dtype:
            raise TypeError(f"x of dtype {array.dtype}: must be {self.dtype} as prepared for")
        return array

    def _check_out(self, out, x):
        """ValueError or TypeError unless `out` is an array of the result's shape and dtype that can be written."""
        if type(out) is not np.ndarray or out.shape != self.out_shape or out.dtype is not self.dtype or not out.flags.writeable:
            bound = self._bound
            result(out, bound.program.out_shape, self._as_nhwc(x), (), bound.layout, bound.batched)
        if self._residual and np.may_share_memory(out, self._bound.residual):
            raise ValueError("out overlaps residual in memory: must be apart from every input")
