"""Pooling of maps that lie channels-last, as numbers: what is computed by kernels that stand beside the table (kernels/map_mean.py)."""

from typing import NamedTuple


class MapMean(NamedTuple):
    """The mean of each channel over all pixels of an image: (n, pixels, channels) to (n, channels)."""

    n: int
    pixels: int
    channels: int


def in_kernels(dtype):
    """Whether the kernels pool elements of a dtype; all others are NumPy's."""
    return dtype.name in ("float32", "float64")
