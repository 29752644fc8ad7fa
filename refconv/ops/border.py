"""The border's one rule: padding is zeros that are multiplied like pixels. Where a weight is infinite or NaN, 0 times it is NaN.

Kernels of narrow groups skip the padding, since 0 times a finite weight adds nothing (a 7x7 window on a 7x7 map would take 1.75 times as
long); others multiply. So that no result depends on which kernel runs, what skipped weights would have made NaN is marked here, after the
kernel, for those rare weights alone.
"""

import weakref

import numpy as np

from refconv.problem.conv import Conv2d

_MASKS = weakref.WeakKeyDictionary()
"""For each record `not_finite` of its convolution's weight, () where there is nothing to mark."""


def not_finite(weight):
    """Where a weight (K, C/groups, R, S) is infinite or NaN in any input channel: a mask (K, R, S), or None where it is nowhere."""
    mask = ~np.isfinite(weight)
    return mask.any(axis=1) if mask.any() else None


def border_marker(problem, mask):
    """mark(out), which sets to NaN those outputs (N, P, Q, K) of a Conv2d that `mask`, of not_finite, makes NaN; None where it makes none so.

    Nor does a PartialConv2d need it, whose kernel multiplies.
    """
    if mask is None or not isinstance(problem, Conv2d):
        return None
    return lambda out: _mark(out, touched_by_padding(problem, mask))


def block_border_marker(block, size):
    """The same for a residual block: the pixels that block_pixels_touched names; size: (h, w) of its input."""
    mask = _MASKS.get(block)
    if mask is None:
        step = next((step for step in block.graph.steps if step.name == "conv"), None)
        mask = None if step is None or step.op != "conv" else not_finite(block.graph.array(step, "weight"))
        _MASKS[block] = mask = () if mask is None else mask
    return (lambda out: _mark(out, block_pixels_touched(block, size, mask))) if len(mask) else None


def _mark(out, touched):
    out[:, touched] = np.nan


def touched_by_padding(conv, mask):
    """The outputs (P, Q, K) of a Conv2d some window of which has a weight of not_finite's mask over the padding."""
    rows, columns = (
        _outside(outputs, stride, dilation, pad, size, kernel)
        for outputs, stride, dilation, pad, size, kernel in (
            (conv.p, conv.stride_h, conv.dilation_h, conv.pad_top, conv.h, conv.r),
            (conv.q, conv.stride_w, conv.dilation_w, conv.pad_left, conv.w, conv.s),
        )
    )
    touched = np.zeros((conv.p, conv.q, len(mask)), bool)
    for r, s in zip(*np.nonzero(mask.any(axis=0)), strict=True):
        touched |= (rows[r][:, None] | columns[s])[:, :, None] & mask[:, r, s]
    return touched


def _outside(outputs, stride, dilation, pad, size, kernel):
    """[tap][output]: whether the tap lies outside the image, along one axis."""
    at = np.arange(outputs) * stride + np.arange(kernel)[:, None] * dilation - pad
    return (at < 0) | (at >= size)


def block_pixels_touched(block, size, mask):
    """The output pixels (P, Q) of a residual block on a map of `size` (h, w) that are NaN in every channel; mask: of its convolution's weight.

    A NaN of the convolution is in all channels after the next matrix product; in the pixels around it where ConvFirst of stride 2 blurs the
    map; and in the whole map where squeeze-excitation takes its mean, or a response its norm.
    """
    (h, w), ops = size, {step.op for step in block.graph.steps}
    pixels = touched_by_padding(dict(block.layers(1, h, w))["conv"], mask).any(axis=2)
    if "blur_pool" in ops:
        padded = np.pad(pixels, 1, "reflect")
        last_row, last_column = 2 * -(-h // 2) - 1, 2 * -(-w // 2) - 1
        pixels = np.any([padded[r : r + last_row : 2, s : s + last_column : 2] for r in range(3) for s in range(3)], axis=0)
    return np.broadcast_to(pixels.any(), pixels.shape) if {"mean", "response"} & ops else pixels
