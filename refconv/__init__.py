"""Reference convolution kernels: one source, compiled to vector code here and run on a simulated memory hierarchy by `sim`."""

from refconv.cli import asked_for, end_on_interrupt

if asked_for("refconv", "sim"):  # before the imports below, which take a second
    end_on_interrupt()

from refconv import reference
from refconv.choices import choose, tilings
from refconv.ops.blocks import fused_block, unfused_block
from refconv.ops.layers import PackedWeight, conv2d, depthwise_conv2d, pack, partial_conv2d, pointwise_conv2d
from refconv.ops.network import load
from refconv.ops.prepare import prepare
from refconv.problem.batch_norm import fold_batch_norm
from refconv.problem.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    ConvNeXtV2Block,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
    SqueezeExcite,
)
from refconv.problem.conv import Conv2d, PartialConv2d
from refconv.version import __version__
from refconv.weights.packed import empty

__all__ = [
    "Conv2d",
    "ConvFirstBlock",
    "ConvNeXtBlock",
    "ConvNeXtV2Block",
    "FFNBlock",
    "FasterNetBlock",
    "FusedMBConvBlock",
    "MBConvBlock",
    "PackedWeight",
    "PartialConv2d",
    "SeparableBlock",
    "SqueezeExcite",
    "__version__",
    "choose",
    "conv2d",
    "depthwise_conv2d",
    "empty",
    "fold_batch_norm",
    "fused_block",
    "load",
    "pack",
    "partial_conv2d",
    "pointwise_conv2d",
    "prepare",
    "reference",
    "tilings",
    "unfused_block",
]
