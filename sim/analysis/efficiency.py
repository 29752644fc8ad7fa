"""Latency, operations and computational efficiency: the formula that relates them, and the efficiency gap. Pure functions.

    ideal latency             t_i(n) = n / R            n operations, R operations per second at the peak
    computational efficiency  C(n)   = R_a(n) / R       R_a(n) = n / t_a(n): operations per second achieved
    actual latency            t_a(n) = t_i(n) / C(n)
    efficiency gap            t_a(n) - t_i(n): at equal accuracy, the horizontal distance of the two curves of an efficiency gap plot

Source: Lavin, "On the Efficiency of Convolutional Neural Networks" (arXiv 2404.03617); the symbols are as a summary of the paper by others has
them, the content agrees with the paper's abstract and with every row of its results (refconv/published/lavin.py). 1 multiply-add is 2 operations.

FasterNet's equation (1), Latency = FLOPs / FLOPS, is the same with R_a for FLOPS; there, FLOPs are multiply-adds (sim/analysis/fasternet.py).
"""

import math
from typing import NamedTuple


def ideal_latency_s(flops, peak_flop_per_s):
    """Seconds that so many operations take at the peak. ValueError unless both are finite and above 0."""
    _positive(flops=flops, peak_flop_per_s=peak_flop_per_s)
    return flops / peak_flop_per_s


def computational_efficiency(flops, latency_s, peak_flop_per_s):
    """The part of the peak achieved, of 1: ideal latency / actual latency. ValueError unless all are finite and above 0.

    More than 1 says that the peak is not that of the machine as it ran, or that fewer operations were done than counted (Winograd's algorithm).
    """
    _positive(latency_s=latency_s)
    return ideal_latency_s(flops, peak_flop_per_s) / latency_s


def actual_latency_s(flops, efficiency, peak_flop_per_s):
    """Seconds that so many operations take at that computational efficiency, of 1. ValueError unless all are finite and above 0."""
    _positive(efficiency=efficiency)
    return ideal_latency_s(flops, peak_flop_per_s) / efficiency


def efficiency_gap_s(flops, latency_s, peak_flop_per_s):
    """Actual minus ideal latency in seconds. ValueError unless all are finite and above 0."""
    _positive(latency_s=latency_s)
    return latency_s - ideal_latency_s(flops, peak_flop_per_s)


class Execution(NamedTuple):
    """A run of `flops` operations in `latency_s` seconds on a machine of that peak: what the formula says of it."""

    flops: float
    latency_s: float
    peak_flop_per_s: float

    @property
    def achieved_flop_per_s(self):
        """Operations per second."""
        return self.flops / self.latency_s

    @property
    def ideal_latency_s(self):
        """As ideal_latency_s of this module."""
        return ideal_latency_s(self.flops, self.peak_flop_per_s)

    @property
    def efficiency(self):
        """As computational_efficiency of this module."""
        return computational_efficiency(*self)

    @property
    def gap_s(self):
        """As efficiency_gap_s of this module."""
        return efficiency_gap_s(*self)


def _positive(**values):
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} = {value!r}: must be a finite number above 0")
