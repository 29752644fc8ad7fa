"""Reference convolution kernels: one source, compiled to vector code here and run on a simulated memory hierarchy by `sim`."""

from refconv import reference
from refconv.block_ops import fused_block, unfused_block
from refconv.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SqueezeExcite,
    fold_batch_norm,
)
from refconv.layout import empty
from refconv.ops import PackedWeight, conv2d, depthwise_conv2d, pack, partial_conv2d, pointwise_conv2d
from refconv.problem import Conv2d, PartialConv2d
from refconv.tilings import choose, tilings

__all__ = [
    "Conv2d",
    "ConvFirstBlock",
    "ConvNeXtBlock",
    "FFNBlock",
    "FasterNetBlock",
    "FusedMBConvBlock",
    "MBConvBlock",
    "PackedWeight",
    "PartialConv2d",
    "SqueezeExcite",
    "choose",
    "conv2d",
    "depthwise_conv2d",
    "empty",
    "fold_batch_norm",
    "fused_block",
    "pack",
    "partial_conv2d",
    "pointwise_conv2d",
    "reference",
    "tilings",
    "unfused_block",
]
