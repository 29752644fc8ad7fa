"""Reference convolution kernels: one source, compiled to vector code here and run on a simulated memory hierarchy by `sim`."""

from refconv import reference
from refconv.ops import PackedWeight, conv2d, depthwise_conv2d, pack, partial_conv2d, pointwise_conv2d
from refconv.problem import Conv2d, PartialConv2d

__all__ = [
    "Conv2d",
    "PackedWeight",
    "PartialConv2d",
    "conv2d",
    "depthwise_conv2d",
    "pack",
    "partial_conv2d",
    "pointwise_conv2d",
    "reference",
]
