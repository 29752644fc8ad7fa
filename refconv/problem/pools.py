"""Pooling and gating of maps that lie channels-last, as numbers: what is computed by kernels that stand beside the table (kernels/map_mean.py,
kernels/pool_windows.py, kernels/map_gates.py)."""

from typing import Any, NamedTuple


class MapMean(NamedTuple):
    """The mean of each channel over all pixels of an image: (n, pixels, channels) to (n, channels)."""

    n: int
    pixels: int
    channels: int


class MapGates(NamedTuple):
    """Each channel of each image times a gate: (n, pixels, channels) by (n, channels)."""

    n: int
    pixels: int
    channels: int


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
    """Whether the kernels pool and gate elements of a dtype; all others are NumPy's."""
    return dtype.name in ("float32", "float64")
