"""Batch normalisation in inference: a scale and a shift of each output channel, which a convolution takes into its weight and bias."""

import numpy as np

from refconv.problem.arrays import check_array
from refconv.problem.block_base import check_eps


def fold_batch_norm(weight, bias, gamma, beta, mean, var, eps):
    """(weight, bias) of the convolution that equals one of `weight` and `bias` followed by batch norm in inference.

    weight: (K, ...) with the output channels first; bias: (K,) or None; gamma, beta, mean, var: (K,), of any element type each.
    weight * s and beta + (bias - mean) * s with s = gamma / sqrt(var + eps), in float64 and rounded once to the weight's dtype.
    TypeError or ValueError names the argument, its value and what is legal.
    """
    vectors = {"bias": bias, "gamma": gamma, "beta": beta, "mean": mean, "var": var}
    for name, array in {"weight": weight, **vectors}.items():
        if name != "bias" or bias is not None:
            check_array(name, array)
    if weight.ndim < 1 or 0 in weight.shape:
        raise ValueError(f"weight of shape {weight.shape}: must be (K, ...), none of them 0")
    for name, array in vectors.items():
        if array is not None and array.shape != weight.shape[:1]:
            raise ValueError(f"{name} of shape {array.shape}: must be {weight.shape[:1]}, the output channels of weight")
    check_eps(eps)
    gamma, beta, mean, var = (np.asarray(array, np.float64) for array in (gamma, beta, mean, var))
    if not (var >= 0).all():
        raise ValueError(f"var has an element {var[~(var >= 0)][0]}: must be 0 or more everywhere")
    factor = gamma / np.sqrt(var + eps)
    folded = np.asarray(weight, np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1))
    shifted = beta + ((0 if bias is None else np.asarray(bias, np.float64)) - mean) * factor
    return folded.astype(weight.dtype), shifted.astype(weight.dtype)
