"""Residual blocks of real networks by name, as records of zeros: for what depends on shapes alone (simulator, costs, tables).

Lavin: "On the Efficiency of Convolutional Neural Networks" (arXiv 2404.03617); spio: the code of its author (andravin/spio). What is marked
"our choice" is in none of the sources named.
"""

from typing import Any, NamedTuple

import numpy as np

from refconv.elements import element
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


class BlockPreset(NamedTuple):
    """A named block: shapes of its record's arrays (of `se` within it too), its map of `size` x `size` pixels, and where it comes from.

    Values of `shapes` that are no shapes are the record's fields as they are.
    """

    name: str
    kind: Any
    size: int
    shapes: dict
    origin: str

    def record(self, dtype="float32"):
        """The record, of zeros of the dtype; every bias is there that the network has, batch norms folded."""

        def value(given):
            if isinstance(given, dict):
                return SqueezeExcite(**{name: value(inner) for name, inner in given.items()})
            return np.zeros(given, made) if isinstance(given, tuple) else given

        made = element(dtype).dtype
        return self.kind(**{name: value(given) for name, given in self.shapes.items()})


def _feed_forward(c, hidden):
    return {"expand_weight": (hidden, c), "expand_bias": (hidden,), "project_weight": (c, hidden), "project_bias": (c,)}


def _conv(k, width, r):
    return {"conv_weight": (k, width, r, r), "conv_bias": (k,)}


def _separable(c, k, **changed):
    return {**_conv(c, 1, 3), "project_weight": (k, c), "project_bias": (k,), **changed}


_NORM = {"norm_weight": (96,), "norm_bias": (96,)}


def _se(c, squeezed):
    return {"reduce_weight": (squeezed, c), "reduce_bias": (squeezed,), "expand_weight": (c, squeezed), "expand_bias": (c,)}


BLOCK_PRESETS = {
    preset.name: preset
    for preset in (
        BlockPreset(
            "ffn",
            FFNBlock,
            56,
            _feed_forward(96, 384),
            "feed-forward network, x added (Lavin Sec. 5.2, eq. (30), without), alpha 4; 96 channels, 56x56 as ConvNeXt-T stage 1: our choice",
        ),
        BlockPreset(
            "convfirst",
            ConvFirstBlock,
            64,
            {**_conv(64, 8, 3), **_feed_forward(64, 384)},
            "ConvFirst (Lavin Fig. 6 (b)), 64 channels, group width 8, alpha 6, 64x64: the shape that spio's benchmark script runs",
        ),
        BlockPreset(
            "convnext",
            ConvNeXtBlock,
            56,
            {**_conv(96, 1, 7), **_NORM, "scale": (96,), **_feed_forward(96, 384)},
            "ConvNeXt-T stage 1 (arXiv 2201.03545), 96 channels, depthwise 7x7, alpha 4, 56x56",
        ),
        BlockPreset(
            "convnextv2",
            ConvNeXtV2Block,
            56,
            {**_conv(96, 1, 7), **_NORM, **_feed_forward(96, 384), "response_weight": (384,), "response_bias": (384,)},
            "ConvNeXt-V2-T stage 1 (arXiv 2301.00808), as convnext with global response normalisation instead of layer scale",
        ),
        BlockPreset(
            "mbconv",
            MBConvBlock,
            56,
            {**_feed_forward(24, 144), **_conv(144, 1, 3), "se": _se(144, 6)},
            "MBConv (Lavin's figure of blocks, (d)) with squeeze-excitation to 6, as EfficientNet-B0's 24 channels, 3x3, alpha 6, 56x56",
        ),
        BlockPreset(
            "fusedmbconv",
            FusedMBConvBlock,
            56,
            {**_conv(192, 48, 3), "project_weight": (48, 192), "project_bias": (48,)},
            "FusedMBConv (Lavin Fig. 6 (a)) as EfficientNetV2-S stage 2, 48 channels, 3x3, alpha 4; SiLU; 56x56 (input of 224x224): our choice",
        ),
        BlockPreset(
            "separable",
            SeparableBlock,
            112,
            _separable(32, 64, project_activation="relu"),
            "MobileNetV1's first depthwise separable convolution (arXiv 1704.04861, Table 1), 32 to 64 channels, 112x112",
        ),
        BlockPreset(
            "separable_512",
            SeparableBlock,
            14,
            _separable(512, 512, project_activation="relu"),
            "MobileNetV1's five in the middle (arXiv 1704.04861, Table 1), 512 channels, 14x14",
        ),
        BlockPreset(
            "separable_linear",
            SeparableBlock,
            112,
            _separable(32, 16, activation="relu6"),
            "MobileNetV2's first stage (arXiv 1801.04381, Table 2), 32 to 16 channels, no activation after them, 112x112",
        ),
        BlockPreset(
            "separable_se",
            SeparableBlock,
            112,
            _separable(32, 16, activation="silu", se=_se(32, 8)),
            "EfficientNet-B0's first stage (arXiv 1905.11946, Table 1), 32 to 16 channels, squeeze-excitation to 8, 112x112",
        ),
        BlockPreset(
            "fasternet",
            FasterNetBlock,
            56,
            {"conv_weight": (24, 24, 3, 3), **_feed_forward(96, 192), "project_bias": None},
            "FasterNet-T2 stage 1 (arXiv 2303.03667), 96 channels, 24 of them convolved 3x3, alpha 2, 56x56",
        ),
    )
}
