"""ResNet (He et al., arXiv 1512.03385), as in torchvision: the stride of a bottleneck is at its 3x3 convolution."""

from refconv.networks.language import Basic, Bottleneck, Classifier, Conv, MaxPool, Mean, Stage
from refconv.networks.network_data import Network

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def _resnet(name):
    def block(width, stride):
        return Bottleneck(4 * width, width, stride) if name == "resnet50" else Basic(width, stride)

    stages = [Stage("stem", (Conv(64, 7, 2, "relu"), MaxPool(3, 2)))]
    for i, depth in enumerate(DEPTHS[name]):
        width = 64 << i
        stages.append(Stage(f"stage{i + 1}", (block(width, 2 if i else 1), *[block(width, 1)] * (depth - 1))))
    return Network(name, "ResNet", 224, (*stages, Stage("head", (Mean(), Classifier()))))


NETWORKS = tuple(map(_resnet, DEPTHS))
