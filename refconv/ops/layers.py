"""The friendly shell: functions of arrays with torch's meaning. They check, convert, pack, and call a kernel."""

import functools
from typing import Any, NamedTuple

import numpy as np

from refconv import host, kernels
from refconv.elements import element
from refconv.ops.border import border_marker, not_finite
from refconv.ops.convert import copy_transposed
from refconv.plan import MOST_PLANS, LayerProgram, make_plan, thread_count
from refconv.problem.activations import ACTIVATIONS, NO_ACTIVATION
from refconv.problem.arrays import as_array, check_unmasked
from refconv.problem.conv import LARGEST, Conv2d, PartialConv2d, auto_pads, is_integer, same_pads
from refconv.tiling.checked import normalised
from refconv.tiling.measured import when_measured
from refconv.weights.packed import empty, order_of, pack_weight


class PackedWeight:
    """A weight in the order its kernel reads: what `pack` returns and every operation takes in place of the array.

    shape (K, C/groups, R, S), groups, dtype: the weight's; `data`: a flat copy in the packed `order`.
    """

    __slots__ = ("data", "dtype", "groups", "not_finite", "order", "shape")

    def __init__(self, weight, groups):
        self.shape, self.groups, self.dtype = weight.shape, groups, weight.dtype
        lanes = host.target().lanes(element(weight.dtype).work.itemsize)
        self.order = order_of(weight.shape, groups, lanes)
        self.data = pack_weight(weight, groups, self.order, lanes)
        self.data.flags.writeable = False
        self.not_finite = not_finite(weight)

    def __repr__(self):
        return f"PackedWeight(shape={self.shape}, groups={self.groups}, dtype={self.dtype}, order={self.order!r})"


def pack(weight, groups=1):
    """Pack a weight (K, C/groups, R, S), or (K, C) of a pointwise convolution, once for many calls.

    The packed weight is a copy: later changes of the array do not reach it. ValueError or TypeError names what is wrong with it.
    """
    weight = as_array("weight", weight)
    weight = weight[:, :, None, None] if weight.ndim == 2 else weight
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(f"weight of shape {weight.shape}: must be (K, C/groups, R, S) or (K, C), none of them 0")
    if not is_integer(groups) or groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"groups = {groups!r}: must be a positive divisor of the {weight.shape[0]} output channels")
    return PackedWeight(weight, int(groups))


class Bound(NamedTuple):
    """A call of an operation whose arguments have been checked.

    program: of refconv.plan; x: as NHWC, of any strides; batched, layout, out: as given; others: ((name, array), ...), which `out` must be
    apart from; mark(out NHWC): what is done to the result after the kernel (refconv/ops/border.py), or None; residual: as x, or None.
    """

    program: Any
    x: Any
    batched: bool
    layout: str
    out: Any
    others: tuple
    mark: Any
    residual: Any = None

    def run(self):
        """The result, in the layout asked for; of no images, for which the program is not, an empty one."""
        x, out = self.x, self.out
        target = result(out, (len(x), *self.program.out_shape[1:]), x, self.others, self.layout, self.batched)
        direct = target if target.flags.c_contiguous else empty(target.shape, x.dtype)
        if len(x):
            program = self.program if self.residual is None else self.program._replace(residual=contiguous(self.residual).reshape(-1))
            program.run(contiguous(x).reshape(-1), direct.reshape(-1))
            if self.mark is not None:
                self.mark(direct)
        return deliver(direct, target, out, self.layout, self.batched)


def operation(bind):
    """An operation from the function that checks its arguments and returns a Bound, which is run; `bind`, refconv.prepare's way in, is kept."""

    @functools.wraps(bind)
    def call(*arguments, **options):
        return bind(*arguments, **options).run()

    call.bind = bind
    return call


@operation
def conv2d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    activation=None,
    residual=None,
    layout="NCHW",
    out=None,
    tiling=None,
    threads=None,
):
    """2-D convolution as torch.nn.functional.conv2d: float32, float64, and float16 or bfloat16 (ml_dtypes) with sums in float32.

    x: (N, C, H, W) or (C, H, W); with layout="NHWC" (N, H, W, C) or (H, W, C). weight: (K, C/groups, R, S) in both layouts, or
    `pack(weight, groups)`. bias: (K,) or None. stride, dilation: an int or a pair (vertical, horizontal). padding: an int, a pair, the four
    sides (top, left, bottom, right), "valid", or "same" (stride 1; the odd element goes to the bottom and right, as in torch). "same_upper" and
    "same_lower", ONNX's auto_pad, pad as the size needs it for ceil(H / stride) x ceil(W / stride) outputs, an odd element at the bottom and right or
    at the top and left; the former is TensorFlow's SAME. On an even map a 3x3 window of stride 2 then has (0, 0, 1, 1), not torch's padding=1.
    Padding is zeros that are multiplied: where a weight over it is infinite or NaN, the result is NaN, with any number of groups.
    activation: a name of refconv.problem.blocks.ACTIVATIONS, computed as refconv/tile/activations.py says. residual: an array of the result's shape
    and dtype: the result is activation(conv + bias + residual), made in one pass. float32 and float64 have the bits of separate passes; halves are
    rounded once, at the end.
    out: an array to write to, of the result's shape and dtype, contiguous in `layout`, apart from every input.
    tiling: a tiling of the kernel (refconv.tiling) instead of the rule's. threads: at most this many (None: Numba's current
    number); the result does not depend on it.

    Returns (N, K, P, Q) or as x is given; an empty array for no images. TypeError or ValueError names the argument, its value and what is legal.
    """
    return _convolve(x, weight, bias, (stride, padding, dilation), groups, Ending(activation, residual), Options(layout, out, tiling, threads))


@operation
def depthwise_conv2d(
    x, weight, bias=None, stride=1, padding=0, dilation=1, *, activation=None, residual=None, layout="NCHW", out=None, tiling=None, threads=None
):
    """As conv2d with one group for each of the C channels: weight (C * multiplier, 1, R, S), output channel k from input k // multiplier.

    Packed: `pack(weight, groups=C)`.
    """
    return _convolve(x, weight, bias, (stride, padding, dilation), None, Ending(activation, residual), Options(layout, out, tiling, threads))


@operation
def pointwise_conv2d(x, weight, bias=None, *, activation=None, residual=None, layout="NCHW", out=None, tiling=None, threads=None):
    """As conv2d with a weight (K, C, 1, 1) or (K, C): a matrix product for each pixel."""
    if not isinstance(weight, PackedWeight):
        weight = as_array("weight", weight)
        weight = weight[:, :, None, None] if weight.ndim == 2 else weight
    if tuple(weight.shape[2:]) != (1, 1) or weight.shape[1] == 0:
        raise ValueError(f"weight of shape {tuple(weight.shape)}: must be (K, C, 1, 1) or (K, C)")
    return _convolve(x, weight, bias, (1, 0, 1), 1, Ending(activation, residual), Options(layout, out, tiling, threads))


@operation
def partial_conv2d(x, weight, bias=None, *, activation=None, residual=None, layout="NCHW", out=None, tiling=None, threads=None):
    """FasterNet's partial convolution: the first Cp channels convolved (stride 1, same padding), the rest passed through.

    weight: (Cp, Cp, R, S) or packed, Cp at most C; bias (Cp,). Everything else as in conv2d, activation and residual are of all C channels.
    Source: FasterNet, Sec. 3.2.
    """
    x, batched = image("x", x, layout)
    packed = _weight(weight, 1, x.dtype)
    if packed.shape[0] != packed.shape[1]:
        raise ValueError(f"weight of shape {packed.shape}: must be (Cp, Cp, R, S)")
    if packed.shape[0] > x.shape[3]:
        raise ValueError(f"weight of shape {packed.shape}: must convolve at most the {x.shape[3]} channels of x")
    n, h, w, channels = planned_shape(x)
    problem = _partial(n, channels, h, w, packed.shape[0], *packed.shape[2:])
    ending = Ending(activation, residual)
    plan = make_plan("partial", problem, x.dtype, tiling if tiling is None else normalised(tiling), thread_count(threads), ending.activations)
    return _bound(plan, x, (weight, packed), bias, batched, ending, layout, out)


@functools.lru_cache(maxsize=MOST_PLANS)
def _partial(*sizes):
    return PartialConv2d(*sizes).checked()


class Options(NamedTuple):
    """How a layer is called, as of conv2d."""

    layout: str
    out: Any
    tiling: Any
    threads: Any


class Ending(NamedTuple):
    """What becomes of the sums of a layer, as of conv2d."""

    activation: Any
    residual: Any

    @property
    def activations(self):
        """The Activations; ValueError for what is none."""
        name = self.activation
        if name is None:
            return NO_ACTIVATION
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise ValueError(f"activation = {name!r}: must be None, or one of {', '.join(ACTIVATIONS)}")
        return NO_ACTIVATION._replace(outer=ACTIVATIONS[name])

    def residual_for(self, x, shape, layout, batched):
        """The residual of a result of this NHWC shape as NHWC, of any strides, or None; ValueError where it is not of that shape and x's dtype."""
        if self.residual is None:
            return None
        array = as_array("residual", self.residual)
        n, p, q, k = shape
        wanted = (shape if layout == "NHWC" else (n, k, p, q))[0 if batched else 1 :]
        if array.shape != wanted or array.dtype != x.dtype:
            raise ValueError(f"residual of shape {array.shape}, {array.dtype}: must be {wanted}, {x.dtype} as the result")
        return image("residual", array, layout)[0]


def _convolve(x, weight, bias, window, groups, ending, options):
    """window: (stride, padding, dilation); groups: None for one a channel of x."""
    layout, out, tiling, threads = options
    x, batched = image("x", x, layout)
    if groups is None:
        groups = x.shape[3]
        weight = _depthwise_weight(weight, groups)
    packed = _weight(weight, groups, x.dtype)
    planned = _planned if all(map(_exact, window)) else _planned.__wrapped__
    tiling = tiling if tiling is None else normalised(tiling)
    plan = planned(planned_shape(x), packed.shape, window, packed.groups, x.dtype, tiling, thread_count(threads), ending.activations)
    return _bound(plan, x, (weight, packed), bias, batched, ending, layout, out)


@functools.lru_cache(maxsize=MOST_PLANS, typed=True)
def _planned(x_shape, weight_shape, window, groups, dtype, tiling, threads, activations):
    """The plan for arrays of these shapes; `_planned.__wrapped__` is the same without this cache, whose keys are found faster than a problem."""
    return make_plan(*_geometry(x_shape, weight_shape, *window, groups, dtype), dtype, tiling, threads, activations)


when_measured(_planned.cache_clear)


def _bound(plan, x, weights, bias, batched, ending, layout, out):
    """x is NHWC, of any strides; weights: as given, and packed; ending: an Ending."""
    weight, packed = weights
    flat_bias = plan.no_bias
    if bias is not None:
        bias = as_array("bias", bias)
        if bias.dtype != x.dtype or bias.shape != packed.shape[:1]:
            raise ValueError(f"bias of shape {bias.shape}, {bias.dtype}: must be {packed.shape[:1]}, {x.dtype} as x")
        flat_bias = np.ascontiguousarray(bias)
    residual = ending.residual_for(x, (len(x), *plan.out_shape[1:]), layout, batched)
    others = ("weight", packed.data if weight is packed else weight), ("bias", bias), ("residual", residual)
    program, mark = LayerProgram(plan, packed.data, flat_bias, plan.no_bias), border_marker(plan.call.problem, packed.not_finite)
    return Bound(program, x, batched, layout, out, others, mark, residual)


def deliver(direct, target, out, layout, batched):
    """What a call returns: `target` (NHWC, perhaps a view) after what the kernel wrote to `direct` is in it, in `layout`, or `out`."""
    if direct is not target:
        n, p, q, k = direct.shape
        copy_transposed(direct.reshape(n, p * q, k), target.transpose(0, 3, 1, 2).reshape(n, k, p * q))
    if out is not None:
        return out
    target = target if layout == "NHWC" else target.transpose(0, 3, 1, 2)
    return target if batched else target[0]


def contiguous(x):
    """An NHWC image of any strides as a C-contiguous array: itself, or a copy."""
    if x.flags.c_contiguous:
        return x
    planes = x.transpose(0, 3, 1, 2)
    if not planes.flags.c_contiguous:
        return np.ascontiguousarray(x)
    n, h, w, c = x.shape
    copy = empty((n, h, w, c), x.dtype)
    copy_transposed(planes.reshape(n, c, h * w), copy.reshape(n, h * w, c))
    return copy


def result(out, shape, x, others, layout, batched):
    """The array to write, of an NHWC shape and seen as NHWC: new, or `out`, checked, also that it is apart from x and (name, array) of `others`."""
    n, p, q, k = shape
    dtype = x.dtype
    wanted = shape if layout == "NHWC" else (n, k, p, q)
    if out is None:
        return empty(wanted, dtype) if layout == "NHWC" else empty(wanted, dtype).transpose(0, 2, 3, 1)
    wanted = wanted if batched else wanted[1:]
    if type(out) is not np.ndarray:
        check_unmasked("out", out)
    if not isinstance(out, np.ndarray) or out.shape != wanted or out.dtype != dtype:
        given = f"{out.shape}, {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out = {given}: must be an array of shape {wanted}, {dtype}")
    view = out if batched else out[None]
    view = view if layout == "NHWC" else view.transpose(0, 2, 3, 1)
    if not out.flags.writeable:
        raise ValueError("out with flags.writeable = False: must be an array that can be written (a copy of it can)")
    if not (out.flags.c_contiguous or view.flags.c_contiguous):
        raise ValueError(f"out with strides {out.strides}: must be contiguous in {' or '.join(dict.fromkeys((layout, 'NHWC')))} order")
    for name, array in (("x", x), *others):
        if isinstance(array, np.ndarray) and np.may_share_memory(out, array) and np.shares_memory(out, array):
            raise ValueError(f"out overlaps {name} in memory: must be apart from every input")
    return view


def image(name, value, layout):
    """(the array as NHWC, whether it had a batch axis); it may have no images, but pixels and channels."""
    if layout not in ("NCHW", "NHWC"):
        raise ValueError(f"layout = {layout!r}: must be 'NCHW' or 'NHWC'")
    array = as_array(name, value)
    if array.ndim not in (3, 4):
        raise ValueError(f"{name} of shape {array.shape}: must have 4 axes ({layout}) or 3 ({layout[1:]})")
    batched = array.ndim == 4
    if 0 in array.shape[batched:]:
        raise ValueError(f"{name} of shape {array.shape}: must have no axis of size 0 but the batch")
    array = array if batched else array[None]
    return (array if layout == "NHWC" else array.transpose(0, 2, 3, 1)), batched


def planned_shape(x):
    """The shape that a call for an NHWC image is checked and planned for: an empty batch as one image, which then is not computed."""
    return (max(1, len(x)), *x.shape[1:])


def _weight(weight, groups, dtype):
    """The packed weight, its dtype and groups agreeing with the call's."""
    packed = weight if isinstance(weight, PackedWeight) else pack(weight, groups)
    if packed.dtype != dtype:
        raise TypeError(f"weight of dtype {packed.dtype}: must be {dtype} as x")
    if not is_integer(groups) or packed.groups != groups:
        raise ValueError(f"groups = {groups!r}: must be {packed.groups}, for which the weight is packed (or pack(weight, groups=...) anew)")
    return packed


def _depthwise_weight(weight, channels):
    """The weight of a depthwise convolution of so many channels, its shape checked."""
    if not isinstance(weight, PackedWeight):
        weight = as_array("weight", weight)
    if len(weight.shape) != 4 or weight.shape[1] != 1 or weight.shape[0] % channels:
        raise ValueError(f"weight of shape {tuple(weight.shape)}: must be (C * multiplier, 1, R, S) for the {channels} channels of x")
    if isinstance(weight, PackedWeight) and weight.groups != channels:
        raise ValueError(f"weight packed for {weight.groups} groups: must be packed as pack(weight, groups={channels})")
    return weight


def _exact(value):
    """Whether a value and what it holds are plain ints or text, so that equal values mean the same call."""
    return type(value) is int or type(value) is str or (type(value) is tuple and {*map(type, value)} == {int})


def _geometry(x_shape, weight_shape, stride, padding, dilation, groups, dtype):
    """(kernel name, checked Conv2d) for an NHWC input and a weight."""
    n, h, w, c = x_shape
    k, c_group, r, s = weight_shape
    stride, dilation = _pair("stride", stride), _pair("dilation", dilation)
    top, left, bottom, right = sides(padding, (h, w), (r, s), stride, dilation)
    if c != c_group * groups:
        raise ValueError(f"weight of shape {weight_shape} with groups = {groups}: takes {c_group * groups} input channels, x has {c}")
    problem = Conv2d(n, c, h, w, k, r, s, *stride, top, left, bottom, right, *dilation, groups).checked()
    return kernels.kernel_for(problem, host.target().lanes(element(dtype).work.itemsize)).name, problem


def _integers(value):
    """A tuple of ints for an int or a sequence of ints, None for anything else."""
    if is_integer(value):
        return (int(value),)
    if isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return tuple(int(i) for i in value) if all(is_integer(i) for i in value) else None
    return None


def _pair(name, value):
    given = _integers(value)
    if given is None or len(given) > 2 or not given or not all(1 <= i < LARGEST for i in given):
        raise ValueError(f"{name} = {value!r}: must be a positive int or a pair of them, below {LARGEST}")
    return given if len(given) == 2 else given * 2


def sides(padding, size, kernel, stride, dilation):
    """(top, left, bottom, right) of a padding as conv2d takes it; size, kernel, stride, dilation: pairs (vertical, horizontal)."""
    if isinstance(padding, str) and padding == "valid":
        return 0, 0, 0, 0
    if isinstance(padding, str) and padding in ("same_upper", "same_lower"):
        fewer, more = zip(*map(auto_pads, size, kernel, stride, dilation), strict=True)
        return (*fewer, *more) if padding == "same_upper" else (*more, *fewer)
    if isinstance(padding, str) and padding == "same":
        if stride != (1, 1):
            raise ValueError(f"padding = 'same' with stride = {stride}: must have stride 1, or be 'same_upper' or 'same_lower'")
        (top, bottom), (left, right) = (same_pads(size, step) for size, step in zip(kernel, dilation, strict=True))
        return top, left, bottom, right
    given = _integers(padding)
    if given is None or len(given) not in (1, 2, 4) or not all(0 <= i < LARGEST for i in given):
        raise ValueError(
            f"padding = {padding!r}: must be an int of 0 or more, a pair of them, four sides (top, left, bottom, right), 'same', 'same_upper', "
            "'same_lower' or 'valid'"
        )
    return given * (4 // len(given))
