"""Operational intensity of convolutions against their channels: FLOP for each byte that must move. Pure functions.

One layer alone, stride 1, outputs as large as inputs: each output position takes 2 K T g FLOP for K output channels, T taps (R S) and g input
channels a group, and moves C inputs and K outputs. P positions in all share K T g weights. With b bytes an element,

    intensity = 2 K T g / (b (C + K + K T g / P))

and in the limit of many positions, in which weights weigh nothing:

    dense      g = C, K = C      R S C / b                   4.5 C at 3x3 in float16
    grouped    g fixed, K = C    R S g / b                   whatever C: 144 at 3x3 with 32 channels a group, 4.5 depthwise
    pointwise  T = 1, K = a C    2 a C / (b (1 + a))         0.8 C at a = 4, C / b at a = 1

Derived here. The limits are the curves of the figure "Conv2d Operational Intensity vs. Channels" of Lavin, "On the Efficiency of Convolutional
Neural Networks" (arXiv 2404.03617), whose labels are read in the paper and whose values were digitised (4.5 C and 0.8 C within 1 %).
"""

import math
from typing import NamedTuple


def intensity(c, k, taps, width, itemsize, positions=math.inf):
    """FLOP/B of a convolution of c channels to k, `taps` taps and `width` input channels a group, at `positions` output positions (n h w).

    itemsize: bytes of an element. Inputs and weights are read once, outputs written once. ValueError unless all are above 0.
    """
    for name, value in {"c": c, "k": k, "taps": taps, "width": width, "itemsize": itemsize, "positions": positions}.items():
        if not value > 0:
            raise ValueError(f"{name} = {value!r}: must be above 0")
    weights = k * taps * width
    return 2 * weights / (itemsize * (c + k + weights / positions))


class Operator(NamedTuple):
    """A convolution of any number of channels c to `expansion` times c: kernel x kernel taps, `width` input channels a group (None: all c)."""

    kernel: int
    width: int | None = None
    expansion: int = 1

    def __str__(self):
        """In words: dense 3x3; depthwise 3x3; 1x1, C to 4 C; 3x3, groups of 32."""
        taps = f"{self.kernel}x{self.kernel}"
        kinds = {None: taps if self.kernel == 1 else f"dense {taps}", 1: f"depthwise {taps}"}
        return kinds.get(self.width, f"{taps}, groups of {self.width}") + (f", C to {self.expansion} C" if self.expansion > 1 else "")

    @property
    def least_channels(self):
        """Of one group."""
        return self.width or 1

    def intensity(self, channels, itemsize, positions=math.inf):
        """FLOP/B at c = channels (which may be a fraction, along a curve); as the function of this module."""
        return intensity(channels, self.expansion * channels, self.kernel**2, self.width or channels, itemsize, positions)

    def channels_at(self, balance_flop_per_byte, itemsize, positions=math.inf):
        """Channels from which on the intensity is at least this balance, as a float; math.inf where it never is."""
        if self.width is not None:
            reached = self.intensity(self.width, itemsize, positions) >= balance_flop_per_byte
            return float(self.width) if reached else math.inf
        # 2 a T c = balance b (1 + a + a T c / P), solved for c
        slope = self.expansion * self.kernel**2 * (2 - balance_flop_per_byte * itemsize / positions)
        return balance_flop_per_byte * itemsize * (1 + self.expansion) / slope if slope > 0 else math.inf


LAVIN = (Operator(3), Operator(1, expansion=4), Operator(3, width=32), Operator(3, width=1))
"""The operators of the paper's figure, which calls them Conv(3x3), Conv4(1x1), Conv_32(3x3) and Conv_1(3x3)."""
