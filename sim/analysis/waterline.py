"""The waterline: the roofline of a sequence of kernels that run one after another. Pure functions, numbers in, numbers out.

Kernel i does n_i operations and moves b_i bytes between memory and chip; the machine does R operations and moves B bytes per second, M = R / B.
Within a kernel arithmetic and transfers overlap; two kernels do not.

    intensity of a kernel    n_i / b_i; it is under water where that is below M
    time of a kernel         t_i = max(n_i / R, b_i / B)
    attainable efficiency    min(1, intensity / M)
    waterline                (sum n_i / R) / (sum t_i): the mean of the kernels' efficiencies, harmonic, weighted by operations
    roofline of the whole    min(1, (sum n_i / sum b_i) / M)

The roofline of the whole is never below the waterline: it lets the bandwidth that a compute-bound kernel leaves idle serve its memory-bound
neighbours, which run at another time. Both are equal where all kernels are on one side of M.

A reconstruction. The waterline is of Lavin, "On the Efficiency of Convolutional Neural Networks" (arXiv 2404.03617), which extends the roofline
(Williams, Waterman and Patterson, 2009) to sequences of parallel kernels; its equations were not at hand, and these are derived here.

What it bounds: a program that makes these passes and no others, with the algorithm that has these operations. What stays in a cache from one
kernel to the next, or Winograd's algorithm, may run faster.
"""

import math
from typing import NamedTuple


class KernelCost(NamedTuple):
    """A kernel: its multiply-adds, and the bytes that it reads and writes."""

    name: str
    macs: int
    bytes: int

    @property
    def flops(self):
        """Operations: a multiply-add is two."""
        return 2 * self.macs

    @property
    def intensity(self):
        """FLOP for each byte moved; infinite of a kernel that moves none."""
        return self.flops / self.bytes if self.bytes else math.inf


class KernelLine(NamedTuple):
    """A kernel against the machine. ideal_s: its operations at the peak; latency_s: what it takes at least; efficiency: ideal_s / latency_s."""

    cost: KernelCost
    intensity: float
    efficiency: float
    ideal_s: float
    latency_s: float
    under_water: bool


class Waterline(NamedTuple):
    """kernels: a KernelLine each, in order. ideal_s, latency_s: their sums; efficiency: the waterline; roofline_efficiency: of the whole at once."""

    kernels: tuple
    balance_flop_per_byte: float
    ideal_s: float
    latency_s: float
    efficiency: float
    roofline_efficiency: float

    @property
    def macs(self):
        """Of all kernels."""
        return sum(line.cost.macs for line in self.kernels)

    @property
    def flops(self):
        """Of all kernels."""
        return 2 * self.macs

    @property
    def bytes(self):
        """Of all kernels."""
        return sum(line.cost.bytes for line in self.kernels)

    @property
    def submerged(self):
        """The kernels under water."""
        return tuple(line for line in self.kernels if line.under_water)

    @property
    def submerged_share(self):
        """The part of the latency, of 1, that kernels under water take."""
        return math.fsum(line.latency_s for line in self.submerged) / self.latency_s


def waterline(kernels, peak_flop_per_s, bandwidth_bytes_per_s):
    """The Waterline of KernelCosts run one after another, on a machine of that peak (FLOP/s) and bandwidth (bytes/s).

    ValueError names a rate that is not a finite number above 0, a kernel that has negative MACs or bytes or neither, or says that there are no MACs.
    """
    for name, rate in (("peak_flop_per_s", peak_flop_per_s), ("bandwidth_bytes_per_s", bandwidth_bytes_per_s)):
        if not 0 < rate < math.inf:
            raise ValueError(f"{name} = {rate!r}: must be a finite number above 0")
    kernels = tuple(kernels)
    for kernel in kernels:
        if not (kernel.macs >= 0 and kernel.bytes >= 0 and kernel.macs + kernel.bytes > 0):
            raise ValueError(f"kernel {kernel.name}: macs = {kernel.macs!r}, bytes = {kernel.bytes!r}: must be 0 or more, and not both 0")
    if not any(kernel.macs for kernel in kernels):
        raise ValueError("kernels: must have multiply-adds, since what is asked for is a share of the arithmetic peak")
    balance = peak_flop_per_s / bandwidth_bytes_per_s
    lines = tuple(_line(kernel, peak_flop_per_s, bandwidth_bytes_per_s) for kernel in kernels)
    ideal, latency = math.fsum(line.ideal_s for line in lines), math.fsum(line.latency_s for line in lines)
    moving = sum(kernel.bytes for kernel in kernels) / bandwidth_bytes_per_s
    return Waterline(lines, balance, ideal, latency, ideal / latency, min(1.0, ideal / moving) if moving else 1.0)


def _line(kernel, peak_flop_per_s, bandwidth_bytes_per_s):
    ideal, moving = kernel.flops / peak_flop_per_s, kernel.bytes / bandwidth_bytes_per_s
    latency = max(ideal, moving)
    return KernelLine(kernel, kernel.intensity, ideal / latency, ideal, latency, moving > ideal)
