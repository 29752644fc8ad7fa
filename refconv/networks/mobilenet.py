"""MobileNetV2 (Sandler et al., arXiv 1801.04381) and MobileNetV3-Small (Howard et al., arXiv 1905.02244), as in torchvision."""

from refconv.networks.language import Classifier, Conv, MBConv, Mean, Stage
from refconv.networks.network_data import Network
from refconv.networks.widths import nearest_multiple

V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2's Table 2: (expansion, channels, blocks, stride of the first)."""
V3_SMALL = (
    ((3, 16, 16, True, "relu", 2),),
    ((3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1)),
    ((5, 96, 40, True, "hardswish", 2), (5, 240, 40, True, "hardswish", 1), (5, 240, 40, True, "hardswish", 1)),
    ((5, 120, 48, True, "hardswish", 1), (5, 144, 48, True, "hardswish", 1)),
    ((5, 288, 96, True, "hardswish", 2), (5, 576, 96, True, "hardswish", 1), (5, 576, 96, True, "hardswish", 1)),
)
"""MobileNetV3's Table 2, by channels: (kernel, hidden channels, channels, squeeze-excitation, activation, stride)."""


def _v2():
    stages, c = [Stage("stem", (Conv(32, 3, 2, "relu6"),))], 32
    for i, (expansion, channels, depth, stride) in enumerate(V2):
        blocks = []
        for j in range(depth):
            blocks.append(MBConv(channels, expansion * c, 3, 1 if j else stride, activation="relu6"))
            c = channels
        stages.append(Stage(f"stage{i + 1}", tuple(blocks)))
    head = Stage("head", (Conv(1280, activation="relu6"), Mean(), Classifier()))
    return Network("mobilenetv2", "MobileNet", 224, (*stages, head))


def _v3_small():
    stages = [Stage("stem", (Conv(16, 3, 2, "hardswish"),))]
    for i, rows in enumerate(V3_SMALL):
        blocks = tuple(
            MBConv(channels, hidden, kernel, stride, nearest_multiple(hidden / 4) if squeezed else 0, activation, "relu", "hardsigmoid")
            for kernel, hidden, channels, squeezed, activation, stride in rows
        )
        stages.append(Stage(f"stage{i + 1}", blocks))
    after = Conv(1024, activation="hardswish", batch_norm=False, bias=True)
    head = Stage("head", (Conv(576, activation="hardswish"), Mean(), after, Classifier()))
    return Network("mobilenetv3_small", "MobileNet", 224, (*stages, head))


NETWORKS = (_v2(), _v3_small())
