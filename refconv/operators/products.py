"""Products: of matrices, transposed convolutions, and what is computed on quantised numbers."""

import numpy as np

from refconv.operators.types import NotSupported, axis_in, in_work_type, numpy_type
from refconv.operators.windows import axes_of, taps

UINT8 = 2
"""The number that TensorProto has for it."""


def matmul(a, b, *, out=None):
    """The product of matrices, batches broadcast; halves are summed in float32."""
    if a.dtype.itemsize > 2 or a.dtype.kind in "iu":
        return np.matmul(a, b, out=out)
    return np.matmul(in_work_type(a), in_work_type(b)).astype(a.dtype)


def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    """alpha * a b + beta * c, a and b transposed where that is said."""
    a, b = (in_work_type(x.T if turned else x) for x, turned in ((a, transA), (b, transB)))
    result = np.matmul(a, b)
    result = result if alpha == 1 else result * result.dtype.type(alpha)
    if c is not None:
        result = result + (in_work_type(c) if beta == 1 else in_work_type(c) * result.dtype.type(beta))
    return result.astype(a.dtype)


def einsum(*operands, equation):
    """Sums of products by an equation of axes."""
    return np.einsum(equation.decode(), *map(in_work_type, operands)).astype(operands[0].dtype)


def conv(x, weight, bias=None, *, kernel_shape=None, strides=None, pads=None, dilations=None, auto_pad=b"NOTSET", group=1):
    """A convolution by its definition, a matrix product a tap: of maps that no kernel here has the axes of, and of integers."""
    axes = axes_of(x.shape[2:], weight.shape[2:], strides, pads, dilations, auto_pad)
    n, k = len(x), len(weight)
    kind = np.result_type(in_work_type(x), in_work_type(weight))
    grouped, matrices = x.reshape(n, group, -1, *x.shape[2:]), weight.reshape(group, k // group, *weight.shape[1:])
    total = np.zeros((n, group, k // group, *(axis.count for axis in axes)), kind)
    for place, windows, elements in taps(axes):
        total[windows] += np.einsum("gkc,ngc...->ngk...", matrices[(..., *place)].astype(kind), grouped[elements].astype(kind))
    total = total.reshape(n, k, *total.shape[3:])
    return (total if bias is None else total + in_work_type(bias).reshape(-1, *[1] * len(axes))).astype(x.dtype)


def conv_transpose(
    x,
    weight,
    bias=None,
    *,
    kernel_shape=None,
    strides=None,
    pads=None,
    dilations=None,
    auto_pad=b"NOTSET",
    group=1,
    output_padding=None,
    output_shape=None,
):
    """The transposed convolution: every input element adds the window, times it, to the output. weight: (C, K / group, ...)."""
    rank = x.ndim - 2
    strides, dilations, more = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
    pads = list(pads or [0] * 2 * rank)
    kernel, sizes = weight.shape[2:], list(output_shape or [0] * rank)[-rank:]
    for i, (size, length, stride, dilation) in enumerate(zip(x.shape[2:], kernel, strides, dilations, strict=True)):
        whole = (size - 1) * stride + (length - 1) * dilation + 1 + more[i]
        if output_shape or auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
            sizes[i] = sizes[i] if output_shape else size * stride
            total = max(0, whole - sizes[i])
            pads[i] = total // 2 if auto_pad == b"SAME_UPPER" else total - total // 2
            pads[i + rank] = total - pads[i]
        else:
            sizes[i] = whole - pads[i] - pads[i + rank]
    n, k = len(x), weight.shape[1] * group
    grouped = in_work_type(x).reshape(n, group, -1, *x.shape[2:])
    matrices = in_work_type(weight).reshape(group, -1, *weight.shape[1:])
    result = np.zeros((n, group, k // group, *sizes), grouped.dtype)
    # windows of the output slide over it with the input's elements as their numbers
    ends = [
        max(0, (count - 1) * stride + (length - 1) * dilation + 1 - size - pads[i])
        for i, (count, size, length, stride, dilation) in enumerate(zip(x.shape[2:], sizes, kernel, strides, dilations, strict=True))
    ]
    axes = [
        axis._replace(count=count) for axis, count in zip(axes_of(sizes, kernel, strides, [*pads[:rank], *ends], dilations), x.shape[2:], strict=True)
    ]
    for place, windows, elements in taps(axes):
        result[elements] += np.einsum("gck,ngc...->ngk...", matrices[(..., *place)], grouped[windows])
    result = result.reshape(n, k, *sizes)
    return (result if bias is None else result + in_work_type(bias).reshape(-1, *[1] * rank)).astype(x.dtype)


def _per_axis(vector, rank, axis):
    """One number, or one along an axis, to meet an array of that rank."""
    vector = np.asarray(vector)
    return vector.reshape(()) if vector.size == 1 else vector.reshape([-1 if i == axis_in(axis, rank) else 1 for i in range(rank)])


def _blocks(vector, x, axis, block_size):
    """Scales or zero points for each element of x: one for all, along an axis, or for each block of block_size elements along it."""
    if block_size == 0 or vector.ndim < 2:
        return _per_axis(vector, x.ndim, axis)
    return np.repeat(vector, block_size, axis).take(range(x.shape[axis]), axis)


def quantize(x, scale, zero=None, *, axis=1, block_size=0, output_dtype=0, precision=0, saturate=1):
    """x / scale + zero, rounded to even, within the type of zero, or without one of output_dtype, or uint8."""
    kind = zero.dtype if zero is not None else numpy_type(output_dtype or UINT8)
    if kind.kind not in "iu":
        raise NotSupported(f"quantised numbers of type {kind}: must be integers of 8 bits or more, given by a zero point")
    zero = np.zeros((), kind) if zero is None else zero
    limits = np.iinfo(kind)
    scaled = np.rint(in_work_type(x) / in_work_type(_blocks(scale, x, axis, block_size))) + _blocks(zero, x, axis, block_size)
    return np.clip(scaled, limits.min, limits.max).astype(kind)


def dequantize(x, scale, zero=None, *, axis=1, block_size=0, output_dtype=0):
    """(x - zero) * scale."""
    centred = x.astype(np.float32) if zero is None else x.astype(np.float32) - _blocks(zero, x, axis, block_size).astype(np.float32)
    return (centred * in_work_type(_blocks(scale, x, axis, block_size))).astype(scale.dtype)


def dynamic_quantize(x):
    """x as uint8, with the scale and zero point that its range, 0 included, gives."""
    low, high = min(0, x.min(initial=0)), max(0, x.max(initial=0))
    scale = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / scale), 0, 255).astype(np.uint8) if scale else np.uint8(0)
    scaled = np.rint(x / scale) + zero if scale else np.zeros_like(x)
    return np.clip(scaled, 0, 255).astype(np.uint8), scale, zero


def matmul_integer(a, b, a_zero=None, b_zero=None):
    """The product of integers of 8 bits less their zero points, as int32."""
    a, b = (
        x.astype(np.int32) - (0 if zero is None else _along(zero, x, i).astype(np.int32)) for i, (x, zero) in enumerate(((a, a_zero), (b, b_zero)))
    )
    return np.matmul(a, b)


def _along(vector, x, columns):
    """A zero point, or scale, of a matrix: one for all, or one a row of the first operand or a column of the second."""
    return vector.reshape(()) if vector.size == 1 else vector if vector.ndim == x.ndim else vector if columns else vector[:, None]


def qlinear_matmul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero):
    """The product of quantised matrices, quantised anew."""
    product = matmul_integer(a, b, a_zero, b_zero).astype(np.float64)
    scaled = product * _along(in_work_type(a_scale), a, 0) * _along(in_work_type(b_scale), b, 1) / in_work_type(y_scale)
    limits = np.iinfo(y_zero.dtype)
    return np.clip(np.rint(scaled) + y_zero.astype(np.int64), limits.min, limits.max).astype(y_zero.dtype)


def conv_integer(x, weight, x_zero=None, w_zero=None, **window):
    """The convolution of integers of 8 bits less their zero points, as int32; padding is the zero point."""
    x = x.astype(np.int32) - (0 if x_zero is None else x_zero.astype(np.int32).reshape(()))
    weight = weight.astype(np.int32) - (0 if w_zero is None else _per_axis(w_zero, weight.ndim, 0).astype(np.int32))
    return conv(x, weight, **window)


def qlinear_conv(x, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, bias=None, **window):
    """The convolution of quantised numbers, quantised anew; the bias is of scale x_scale * w_scale."""
    total = conv_integer(x, weight, x_zero, w_zero, **window)
    total = total if bias is None else total + bias.reshape(-1, *[1] * (x.ndim - 2))
    scale = np.float64(x_scale.reshape(())) * _per_axis(w_scale, x.ndim, 1).astype(np.float64) / np.float64(y_scale.reshape(()))
    limits = np.iinfo(y_zero.dtype)
    return np.clip(np.rint(total * scale) + np.int64(y_zero.reshape(())), limits.min, limits.max).astype(y_zero.dtype)


TABLE = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamic_quantize,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "ConvInteger": conv_integer,
    "QLinearConv": qlinear_conv,
}
