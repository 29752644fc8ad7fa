"""Resize and Upsample: every axis by itself, an output element being a weighted sum of a few input elements along it.

Source: the ONNX operator's text; where an output element lies among the input elements is `coordinate_transformation_mode`.
"""

import numpy as np

from refconv.operators.types import NotSupported, axis_in, in_work_type

PLACES = {
    b"half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5,
    b"pytorch_half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5 if out > 1 else np.zeros_like(i),
    b"align_corners": lambda i, scale, size, out: i * (size - 1) / (out - 1) if out > 1 else np.zeros_like(i),
    b"asymmetric": lambda i, scale, size, out: i / scale,
    b"tf_half_pixel_for_nn": lambda i, scale, size, out: (i + 0.5) / scale,
    b"half_pixel_symmetric": lambda i, scale, size, out: size / 2 * (1 - out / (scale * size)) + (i + 0.5) / scale - 0.5,
}
"""Where the output elements i lie among `size` input elements, by mode: of i, the scale, the size and the number of outputs."""
ROUNDED = {
    b"round_prefer_floor": lambda x: np.ceil(x - 0.5),
    b"round_prefer_ceil": lambda x: np.floor(x + 0.5),
    b"floor": np.floor,
    b"ceil": np.ceil,
}
CROPPED = b"tf_crop_and_resize"


def resize(
    x,
    roi=None,
    scales=None,
    sizes=None,
    *,
    mode=b"nearest",
    coordinate_transformation_mode=b"half_pixel",
    nearest_mode=b"round_prefer_floor",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    axes=None,
    antialias=0,
    keep_aspect_ratio_policy=b"stretch",
    opset,
):
    """x with other sizes, by the elements nearest, by linear or by cubic interpolation. Before version 11, scales stand where roi does now."""
    if opset < 11:
        scales, roi, coordinate_transformation_mode, nearest_mode = roi, None, b"asymmetric", b"floor"
    axes = range(x.ndim) if axes is None else [axis_in(axis, x.ndim) for axis in axes]
    scales = None if scales is None or scales.size == 0 else np.ravel(scales).astype(np.float64)
    if scales is None:
        sizes = [int(size) for size in np.ravel(sizes)]
        scales = np.array([size / x.shape[axis] for size, axis in zip(sizes, axes, strict=True)])
        if keep_aspect_ratio_policy != b"stretch":
            scale = min(scales) if keep_aspect_ratio_policy == b"not_larger" else max(scales)
            scales = np.full(len(sizes), scale)
            sizes = [int(np.floor(scale * x.shape[axis] + 0.5)) for axis in axes]
    else:
        sizes = [int(np.floor(x.shape[axis] * scale)) for axis, scale in zip(axes, scales, strict=True)]
    result, outside = in_work_type(x) if x.dtype.kind not in "iub" else x.astype(np.float64), None
    for i, (axis, scale, size) in enumerate(zip(axes, scales, sizes, strict=True)):
        if scale == 1 and size == x.shape[axis] and coordinate_transformation_mode != CROPPED:
            continue
        start, end = (roi[i], roi[i + len(sizes)]) if coordinate_transformation_mode == CROPPED else (0, 1)
        at = _places(coordinate_transformation_mode, size, float(scale), x.shape[axis], float(start), float(end))
        result = _sums(
            result, axis, *_weights(mode, nearest_mode, at, x.shape[axis], min(float(scale), 1) if antialias else 1.0, cubic_coeff_a, exclude_outside)
        )
        if coordinate_transformation_mode == CROPPED:
            beyond = ((at < 0) | (at > x.shape[axis] - 1)).reshape([-1 if j == axis else 1 for j in range(x.ndim)])
            outside = beyond if outside is None else outside | beyond
    if outside is not None:
        result = np.where(outside, extrapolation_value, result)
    return (np.clip(np.rint(result), np.iinfo(x.dtype).min, np.iinfo(x.dtype).max) if x.dtype.kind in "iu" else result).astype(x.dtype)


def _places(mode, count, scale, size, start, end):
    i = np.arange(count, dtype=np.float64)
    if mode == CROPPED:
        if count > 1:
            return start * (size - 1) + i * (end - start) * (size - 1) / (count - 1)
        return np.full(1, 0.5 * (start + end) * (size - 1))
    if mode not in PLACES:
        raise NotSupported(f"coordinate_transformation_mode = {mode!r}: must be {', '.join(name.decode() for name in (*PLACES, CROPPED))}")
    return PLACES[mode](i, scale, size, count)


def _weights(mode, nearest_mode, at, size, scale, a, exclude_outside):
    """(indices, weights) of the input elements, both (outputs, elements); scale: less than 1 where windows are widened against aliasing."""
    if mode == b"nearest":
        if nearest_mode not in ROUNDED:
            raise NotSupported(f"nearest_mode = {nearest_mode!r}: must be {', '.join(name.decode() for name in ROUNDED)}")
        return np.clip(ROUNDED[nearest_mode](at), 0, size - 1).astype(np.int64)[:, None], np.ones((len(at), 1))
    if mode not in (b"linear", b"cubic"):
        raise NotSupported(f"mode = {mode!r}: must be nearest, linear or cubic")
    reach = (1 if mode == b"linear" else 2) / scale
    first = np.floor(at - reach).astype(np.int64) + 1
    taps = first[:, None] + np.arange(int(np.ceil(2 * reach)))
    far = np.abs(at[:, None] - taps) * scale
    weights = np.maximum(0, 1 - far) if mode == b"linear" else _cubic(far, a)
    if exclude_outside:
        weights = np.where((taps >= 0) & (taps < size), weights, 0)
    if exclude_outside or scale < 1:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(taps, 0, size - 1), weights


def _cubic(x, a):
    """The cubic convolution kernel at distances x >= 0. Source: Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _sums(x, axis, indices, weights):
    if weights.shape[1] == 1:
        return x.take(indices[:, 0], axis)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    return sum(x.take(indices[:, t], axis) * weights[:, t].astype(x.dtype).reshape(shape) for t in range(weights.shape[1]))


def upsample(x, given=None, *, scales=None, mode=b"nearest"):
    """The forerunner of Resize: floor, asymmetric."""
    scales = np.ravel(given if given is not None else scales)
    return resize(x, None, scales, mode=mode, coordinate_transformation_mode=b"asymmetric", nearest_mode=b"floor", opset=13)


TABLE = {"Resize": resize, "Upsample": upsample}
