"""The definition of every operation, in plain NumPy and float64, written to be read.

Layout NCHW; weight (K, C/groups, R, S); padding of the four sides (top, left, bottom, right); torch's meaning of stride and dilation.
Used by the tests, and by whoever wants to know what an operation means.
"""

import numpy as np


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """(N, C, H, W) and (K, C/groups, R, S) to (N, K, P, Q), float64: the sum over channels of a group and the window, plus bias."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    top, left, bottom, right = padding
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
    return out if bias is None else out + np.asarray(bias, np.float64)[:, None, None]


def depthwise_conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1)):
    """As conv2d with one group for each channel of x; weight (C * multiplier, 1, R, S)."""
    return conv2d(x, weight, bias, stride, padding, dilation, groups=np.shape(x)[1])


def pointwise_conv2d(x, weight, bias=None):
    """(N, C, H, W) and (K, C, 1, 1) to (N, K, H, W): a matrix product for each pixel."""
    out = np.einsum("nchw,kc->nkhw", np.asarray(x, np.float64), np.asarray(weight, np.float64)[:, :, 0, 0])
    return out if bias is None else out + np.asarray(bias, np.float64)[:, None, None]


def partial_conv2d(x, weight, bias=None):
    """The first Cp channels convolved by weight (Cp, Cp, R, S) with same padding, the rest as they are (FasterNet, Sec. 3.2)."""
    x = np.asarray(x, np.float64)
    convolved, _, r, s = np.shape(weight)
    sides = ((r - 1) // 2, (s - 1) // 2, r // 2, s // 2)
    return np.concatenate([conv2d(x[:, :convolved], weight, bias, padding=sides), x[:, convolved:]], axis=1)
