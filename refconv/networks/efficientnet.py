"""EfficientNet-B0 to B5 (Tan and Le, arXiv 1905.11946) and EfficientNetV2-S (arXiv 2104.00298), as in torchvision."""

import math

from refconv.networks.language import Classifier, Conv, FusedMBConv, MBConv, Mean, Stage
from refconv.networks.network_data import Network
from refconv.networks.widths import nearest_multiple

B0 = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))
"""Table 1 of arXiv 1905.11946: (expansion, kernel, stride of the first block, channels, blocks)."""
SCALES = {
    "efficientnet_b0": (1.0, 1.0, 224),
    "efficientnet_b1": (1.0, 1.1, 240),
    "efficientnet_b2": (1.1, 1.2, 260),
    "efficientnet_b3": (1.2, 1.4, 300),
    "efficientnet_b4": (1.4, 1.8, 380),
    "efficientnet_b5": (1.6, 2.2, 456),
}
"""(width, depth, size of the input) of the authors' code: channels and blocks times those of B0."""
V2_S = ((True, 1, 1, 24, 2), (True, 4, 2, 48, 4), (True, 4, 2, 64, 4), (False, 4, 2, 128, 6), (False, 6, 1, 160, 9), (False, 6, 2, 256, 15))
"""Table 4 of arXiv 2104.00298: (whether fused, expansion, stride of the first block, channels, blocks), all 3x3."""


def _stage(i, c, channels, depth, stride, block):
    """(Stage, channels): block(channels in, channels out, stride) for each."""
    blocks = tuple(block(channels if j else c, channels, 1 if j else stride) for j in range(depth))
    return Stage(f"stage{i + 1}", blocks), channels


def _mbconv(expansion, kernel):
    return lambda c, channels, stride: MBConv(channels, expansion * c, kernel, stride, max(1, c // 4))


def _fused(expansion):
    return lambda c, channels, stride: FusedMBConv(channels, expansion * c if expansion > 1 else None, stride)


def _head(channels):
    return Stage("head", (Conv(channels, activation="silu"), Mean(), Classifier()))


def _b(name):
    width, depth, size = SCALES[name]
    c = nearest_multiple(32 * width)
    stages = [Stage("stem", (Conv(c, 3, 2, "silu"),))]
    for i, (expansion, kernel, stride, channels, blocks) in enumerate(B0):
        stage, c = _stage(i, c, nearest_multiple(channels * width), math.ceil(blocks * depth), stride, _mbconv(expansion, kernel))
        stages.append(stage)
    return Network(name, "EfficientNet", size, (*stages, _head(4 * c)))


def _v2_s():
    c, stages = 24, [Stage("stem", (Conv(24, 3, 2, "silu"),))]
    for i, (fused, expansion, stride, channels, blocks) in enumerate(V2_S):
        stage, c = _stage(i, c, channels, blocks, stride, _fused(expansion) if fused else _mbconv(expansion, 3))
        stages.append(stage)
    return Network("efficientnetv2_s", "EfficientNet", 384, (*stages, _head(1280)))


NETWORKS = (*map(_b, SCALES), _v2_s())
