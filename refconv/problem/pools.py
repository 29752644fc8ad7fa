"""Pooling, gating and norms of maps that lie channels-last, as numbers: what is computed by kernels that stand beside the table
(kernels/map_mean.py, pool_windows.py, gate_map.py, layer_norm.py)."""

from typing import Any, NamedTuple


class MapMean(NamedTuple):
    """The mean of each channel over all pixels of an image: (n, pixels, channels) to (n, channels)."""

    n: int
    pixels: int
    channels: int


class GatedMap(NamedTuple):
    """Each channel of an image times a number: (n, pixels, channels) by (n, channels)."""

    n: int
    pixels: int
    channels: int


class LayerNorm(NamedTuple):
    """The norm of each pixel over its channels, (pixels, channels), times a weight, plus a bias; eps: added to the variance."""

    pixels: int
    channels: int
    eps: float


class Mean(NamedTuple):
    """How a mean counts: whether the padding is part of a window (1), as zeros, or not (0)."""

    padded: int


class Pool(NamedTuple):
    """A value of each window: (n, rows.size, columns.size, channels) to (n, rows.count, columns.count, channels).

    rows, columns: an Axis each, of refconv/operators/windows.py, of dilation 1. mean: a Mean; None: the largest.
    """

    n: int
    channels: int
    rows: Any
    columns: Any
    mean: Any = None


def in_kernels(dtype):
    """Whether these kernels take elements of a dtype; all others are NumPy's."""
    return dtype.name in ("float32", "float64")
