"""Reference convolution kernels: one source, compiled to vector code here and run on a simulated memory hierarchy by `sim`."""

from refconv import reference
from refconv.layout import empty
from refconv.ops import PackedWeight, conv2d, depthwise_conv2d, pack, partial_conv2d, pointwise_conv2d
from refconv.problem import Conv2d, PartialConv2d
from refconv.tilings import choose, tilings

__all__ = [
    "Conv2d",
    "PackedWeight",
    "PartialConv2d",
    "choose",
    "conv2d",
    "depthwise_conv2d",
    "empty",
    "pack",
    "partial_conv2d",
    "pointwise_conv2d",
    "reference",
    "tilings",
]
