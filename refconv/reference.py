"""The definition of every operation, in plain NumPy and float64, written to be read.

Layout NCHW; weight (K, C/groups, R, S); padding of the four sides (top, left, bottom, right); torch's meaning of stride and dilation.
Used by the tests, and by whoever wants to know what an operation means. Blocks take their weights as a record of refconv/problem/blocks.py
(`b` below), where their sources and choices are.
"""

import numpy as np

from refconv.problem.activations import DEFINITIONS
from refconv.problem.arrays import check_unmasked
from refconv.problem.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    ConvNeXtV2Block,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
)


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1, *, activation=None, residual=None):
    """(N, C, H, W) and (K, C/groups, R, S) to (N, K, P, Q), float64: the sum over channels of a group and the window, plus bias, plus the residual
    (N, K, P, Q), of all of which the activation is taken."""
    x, weight = _wide("x", x), _wide("weight", weight)
    (stride, dilation), (top, left, bottom, right) = (_of("stride", stride, 2), _of("dilation", dilation, 2)), _of("padding", padding, 4)
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, _, height, width = x.shape
    k, c_group, kernel_h, kernel_w = weight.shape
    p = (height - (kernel_h - 1) * dilation[0] - 1) // stride[0] + 1
    q = (width - (kernel_w - 1) * dilation[1] - 1) // stride[1] + 1
    x = x.reshape(n, groups, c_group, height, width)
    weight = weight.reshape(groups, k // groups, c_group, kernel_h, kernel_w)
    out = np.zeros((n, groups, k // groups, p, q))
    for r in range(kernel_h):
        for s in range(kernel_w):
            rows = slice(r * dilation[0], r * dilation[0] + (p - 1) * stride[0] + 1, stride[0])
            columns = slice(s * dilation[1], s * dilation[1] + (q - 1) * stride[1] + 1, stride[1])
            out += np.einsum("ngcpq,gkc->ngkpq", x[:, :, :, rows, columns], weight[:, :, :, r, s])
    out = out.reshape(n, k, p, q)
    return _ended(out if bias is None else out + _by_channel(bias), activation, residual)


def depthwise_conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), *, activation=None, residual=None):
    """As conv2d with one group for each channel of x; weight (C * multiplier, 1, R, S)."""
    return conv2d(x, weight, bias, stride, padding, dilation, groups=np.shape(x)[1], activation=activation, residual=residual)


def pointwise_conv2d(x, weight, bias=None, *, activation=None, residual=None):
    """(N, C, H, W) and (K, C, 1, 1) to (N, K, H, W): a matrix product for each pixel; activation and residual as of conv2d."""
    out = np.einsum("nchw,kc->nkhw", _wide("x", x), _wide("weight", weight)[:, :, 0, 0])
    return _ended(out if bias is None else out + _by_channel(bias), activation, residual)


def partial_conv2d(x, weight, bias=None, *, activation=None, residual=None):
    """The first Cp channels convolved by weight (Cp, Cp, R, S) with same padding, the rest as they are (FasterNet, Sec. 3.2); activation and residual
    as of conv2d, of all channels."""
    x = _wide("x", x)
    convolved = len(weight)
    return _ended(np.concatenate([_same_conv2d(x[:, :convolved], weight, bias), x[:, convolved:]], axis=1), activation, residual)


def _ended(out, activation, residual):
    """activation(out + residual), either of which may be None."""
    out = out if residual is None else out + _wide("residual", residual)
    return out if activation is None else activate(out, activation)


def _same_conv2d(x, weight, bias, groups=1, stride=1, pads=None):
    """conv2d padded to ceil(H / stride) x ceil(W / stride) outputs, or by `pads`; stride: a number or a pair."""
    r, s = np.shape(weight)[2:]
    stride = stride if isinstance(stride, tuple) else (stride, stride)
    return conv2d(x, weight, bias, stride, pads or ((r - 1) // 2, (s - 1) // 2, r // 2, s // 2), groups=groups)


def activate(x, name):
    """The activation of that name (one of refconv.problem.blocks.ACTIVATIONS) of every element, float64: as refconv.tile.activations defines it."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return DEFINITIONS[name](_wide("x", x))


def layer_norm(x, weight, bias, eps):
    """Of each pixel: channels minus their mean, over the root of their (population) variance + eps, times weight (C,), plus bias (C,) or None."""
    x = _wide("x", x)
    normed = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    scaled = normed * _by_channel(weight)
    return scaled if bias is None else scaled + _by_channel(bias)


def max_pool(x, size, stride, padding):
    """The largest of each window of size x size pixels of (N, C, H, W), at every `stride`-th; padding is never the largest."""
    top, left, bottom, right = padding
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=-np.inf)
    rows, columns = x.shape[2] - size + 1, x.shape[3] - size + 1
    shifted = [x[:, :, r : r + rows : stride, s : s + columns : stride] for r in range(size) for s in range(size)]
    return np.max(shifted, axis=0)


def blur_pool(x):
    """[1, 2, 1] x [1, 2, 1] / 16 at every second pixel of the map, which is reflected by 1: (N, C, ceil(H / 2), ceil(W / 2))."""
    x = np.pad(_wide("x", x), ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect")
    binomial = np.outer([1, 2, 1], [1, 2, 1]) / 16
    return depthwise_conv2d(x, np.tile(binomial, (x.shape[1], 1, 1, 1)), stride=(2, 2))


def squeeze_excite(x, se):
    """Every channel times its gate, which follows from the means of all channels over the map; se: a SqueezeExcite."""
    x = _wide("x", x)
    means = x.mean(axis=(2, 3), keepdims=True)
    squeezed = activate(_matrix(means, se.reduce_weight, se.reduce_bias), se.activation)
    return x * activate(_matrix(squeezed, se.expand_weight, se.expand_bias), se.gate)


def response_gates(x, weight, eps):
    """1 + weight (C,) * g / (mean of g over channels + eps), (N, C, 1, 1), g being the norm of each channel over the map."""
    norms = np.sqrt((_wide("x", x) ** 2).sum(axis=(2, 3), keepdims=True))
    return 1 + _by_channel(weight) * norms / (norms.mean(axis=1, keepdims=True) + eps)


def ffn_block(x, b):
    """x + project(activation(expand(x)))."""
    return _add(x, _project(_expand(x, b), b), b)


def convfirst_block(x, b):
    """x + project(activation(expand(conv(x)))); at stride 2 expand meets blur_pool([conv(x), x])."""
    convolved = _same_conv2d(x, b.conv_weight, b.conv_bias, groups=b.groups)
    if b.stride == 2:
        convolved = blur_pool(np.concatenate([convolved, x], axis=1))
    return _add(x, _project(_expand(convolved, b), b), b)


def convnext_block(x, b):
    """x + scale * project(activation(expand(layer_norm(conv(x)))))."""
    convolved = _same_conv2d(x, b.conv_weight, b.conv_bias, groups=b.groups)
    projected = _project(_expand(layer_norm(convolved, b.norm_weight, b.norm_bias, b.eps), b), b)
    return _add(x, projected if b.scale is None else projected * _by_channel(b.scale), b)


def convnextv2_block(x, b):
    """x + project(h * response_gates(h) + response_bias), h = activation(expand(layer_norm(conv(x))))."""
    convolved = _same_conv2d(x, b.conv_weight, b.conv_bias, groups=b.groups)
    hidden = _expand(layer_norm(convolved, b.norm_weight, b.norm_bias, b.eps), b)
    responded = hidden * response_gates(hidden, b.response_weight, b.response_eps)
    return _add(x, _project(responded if b.response_bias is None else responded + _by_channel(b.response_bias), b), b)


def mbconv_block(x, b):
    """x + project(squeeze_excite(activation(conv(activation(expand(x))))))."""
    convolved = _same_conv2d(_expand(x, b), b.conv_weight, b.conv_bias, b.groups, b.stride, b.pads)
    hidden = activate(convolved, b.activation)
    return _add(x, _project(hidden if b.se is None else squeeze_excite(hidden, b.se), b), b)


def separable_block(x, b):
    """x + project_activation(project(squeeze_excite(activation(conv(x))))), or without x."""
    hidden = activate(_same_conv2d(x, b.conv_weight, b.conv_bias, b.groups, b.stride, b.pads), b.activation)
    projected = _project(hidden if b.se is None else squeeze_excite(hidden, b.se), b)
    return _add(x, activate(projected, b.project_activation), b)


def fused_mbconv_block(x, b):
    """x + project(squeeze_excite(activation(conv(x))))."""
    hidden = activate(_same_conv2d(x, b.conv_weight, b.conv_bias, 1, b.stride, b.pads), b.activation)
    return _add(x, _project(hidden if b.se is None else squeeze_excite(hidden, b.se), b), b)


def fasternet_block(x, b):
    """x + project(activation(expand(partial_conv2d(x))))."""
    return _add(x, _project(_expand(partial_conv2d(x, b.conv_weight), b), b), b)


_BLOCK = {
    FFNBlock: ffn_block,
    ConvFirstBlock: convfirst_block,
    ConvNeXtBlock: convnext_block,
    ConvNeXtV2Block: convnextv2_block,
    MBConvBlock: mbconv_block,
    SeparableBlock: separable_block,
    FusedMBConvBlock: fused_mbconv_block,
    FasterNetBlock: fasternet_block,
}


def block(x, record):
    """(N, C, H, W) to (N, K, P, Q), float64: the block whose weights the record holds. ValueError where the sizes do not fit the record."""
    n, c, h, w = np.shape(x)
    if c != record.c:
        raise ValueError(f"x of shape {np.shape(x)}: must have {record.c} channels, as the {type(record).__name__}")
    record.layers(max(1, n), h, w)  # raises where the map is too small
    return _BLOCK[type(record)](x, record)


def _wide(name, value):
    """The value as a float64 array; TypeError where it has a mask, which would be lost."""
    check_unmasked(name, value)
    return np.asarray(value, np.float64)


def _of(name, value, count):
    """The value, a tuple of so many numbers; ValueError where it is none."""
    if np.shape(value) != (count,):
        raise ValueError(f"{name} = {value!r}: must be {'(vertical, horizontal)' if count == 2 else '(top, left, bottom, right)'}")
    return tuple(value)


def _by_channel(vector):
    """(C,) as (C, 1, 1), to meet (N, C, H, W)."""
    return _wide("vector", vector)[:, None, None]


def _matrix(x, weight, bias):
    """pointwise_conv2d with a weight (K, C)."""
    return pointwise_conv2d(x, _wide("weight", weight)[:, :, None, None], bias)


def _expand(x, b):
    return activate(_matrix(x, b.expand_weight, b.expand_bias), b.activation)


def _project(hidden, b):
    return _matrix(hidden, b.project_weight, b.project_bias)


def _add(x, projected, b):
    """The sum of a residual block, or the projected alone where it has none."""
    return _wide("x", x) + projected if b.residual else projected
