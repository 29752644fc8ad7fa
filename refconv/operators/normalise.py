"""Normalisations: of batches, of instances, of groups of channels, of layers. Sums are in float32 or wider."""

import math

import numpy as np

from refconv.operators.types import NotSupported, axis_in, in_work_type


def by_channel(vector, x):
    """A vector of C numbers, to meet (N, C, ...)."""
    return in_work_type(vector).reshape(-1, *[1] * (x.ndim - 2))


def batch_normalization(x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1, is_test=1):
    """(x - mean) / sqrt(var + epsilon) * scale + bias of each channel, with the mean and variance given."""
    if training_mode or not spatial:
        raise NotSupported("training_mode = 1 or spatial = 0: must be inference, with one mean a channel")
    factor = in_work_type(scale) / np.sqrt(in_work_type(var) + in_work_type(var).dtype.type(epsilon))
    centred = in_work_type(x) - by_channel(in_work_type(mean), x)  # first: an infinite factor of both x and the mean would give NaN
    return (centred * by_channel(factor, x) + by_channel(in_work_type(bias), x)).astype(x.dtype)


def _normed(x, axes, epsilon):
    """(x minus its mean over axes, over the root of its variance + epsilon), the mean, 1 / that root."""
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + x.dtype.type(epsilon))
    return centred * inverse, mean, inverse


def instance_normalization(x, scale, bias, *, epsilon=1e-5):
    """Of each channel of each image, times scale, plus bias."""
    normed, _, _ = _normed(in_work_type(x), tuple(range(2, x.ndim)), epsilon)
    return (normed * by_channel(scale, x) + by_channel(bias, x)).astype(x.dtype)


def group_normalization(x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1):
    """Of each group of channels of each image, times scale, plus bias, one a channel as from version 21 on (the one before is withdrawn)."""
    grouped = in_work_type(x).reshape(x.shape[0], num_groups, -1)
    normed, _, _ = _normed(grouped, (2,), epsilon)
    return (normed.reshape(x.shape) * by_channel(scale, x) + by_channel(bias, x)).astype(x.dtype)


def layer_normalization(x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    """Over all axes from `axis` on, times scale, plus bias; then the means, and 1 / the deviations."""
    normed, mean, inverse = _normed(in_work_type(x), tuple(range(axis_in(axis, x.ndim), x.ndim)), epsilon)
    scaled = normed * in_work_type(scale) + (0 if bias is None else in_work_type(bias))
    return scaled.astype(x.dtype), mean, inverse


def rms_normalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    """x over the root of the mean of its squares over all axes from `axis` on, times scale."""
    wide = in_work_type(x)
    square = (wide * wide).mean(axis=tuple(range(axis_in(axis, x.ndim), x.ndim)), keepdims=True)
    return (wide / np.sqrt(square + wide.dtype.type(epsilon))).astype(x.dtype) * scale


def mean_variance_normalization(x, *, axes=(0, 2, 3)):
    """x minus its mean over axes, over its deviation."""
    wide = in_work_type(x)
    return ((wide - wide.mean(axis=tuple(axes), keepdims=True)) / (wide.std(axis=tuple(axes), keepdims=True) + wide.dtype.type(1e-9))).astype(x.dtype)


def lp_normalization(x, *, axis=-1, p=2):
    """x over its norm along an axis; 0 where that is 0."""
    wide = in_work_type(x)
    norm = np.abs(wide).sum(axis=axis, keepdims=True) if p == 1 else np.sqrt((wide * wide).sum(axis=axis, keepdims=True))
    return np.where(norm == 0, 0, wide / np.where(norm == 0, 1, norm)).astype(x.dtype)


def lrn(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    """x / (bias + alpha / size * the squares of the `size` channels around it) ** beta."""
    wide = in_work_type(x)
    before, after = (size - 1) // 2, math.ceil((size - 1) / 2)
    squares = np.pad(wide * wide, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return (wide / (bias + alpha / size * total) ** wide.dtype.type(beta)).astype(x.dtype)


TABLE = {
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "LpNormalization": lp_normalization,
    "LRN": lrn,
}
