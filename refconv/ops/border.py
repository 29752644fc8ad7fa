"""The border's one rule: padding is zeros that are multiplied like pixels. Where a weight is infinite or NaN, 0 times it is NaN.

Kernels of narrow groups skip the padding, since 0 times a finite weight adds nothing (a 7x7 window on a 7x7 map would take 1.75 times as
long); others multiply. So that no result depends on which kernel runs, what skipped weights would have made NaN is marked here, after the
kernel, for those rare weights alone.
"""

import numpy as np


def not_finite(weight):
    """Where a weight (K, C/groups, R, S) is infinite or NaN in any input channel: a mask (K, R, S), or None where it is nowhere."""
    mask = ~np.isfinite(weight)
    return mask.any(axis=1) if mask.any() else None


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


def block_pixels_touched(block, n, h, w):
    """The output pixels (P, Q) of a residual block that are NaN in every channel, or None.

    A NaN of the spatial convolution is in all channels after the next matrix product, in the pixels around it where stride 2 of ConvFirst blurs,
    and in the whole map where squeeze-excitation takes the mean of it.
    """
    graph, conv = block.graph, dict(block.layers(n, h, w)).get("conv")
    step = next((step for step in graph.steps if step.name == "conv"), None)
    mask = None if step is None or step.op != "conv" else not_finite(graph.array(step, "weight"))
    if mask is None:
        return None
    pixels, ops = touched_by_padding(conv, mask).any(axis=2), {step.op for step in graph.steps}
    if "blur_pool" in ops:
        padded = np.pad(pixels, 1, "reflect")
        rows, columns = -(-h // 2), -(-w // 2)
        pixels = np.any([padded[r : r + 2 * rows - 1 : 2, s : s + 2 * columns - 1 : 2] for r in range(3) for s in range(3)], axis=0)
    if "mean" in ops:
        pixels = np.broadcast_to(pixels.any(), pixels.shape)
    return pixels if pixels.any() else None
