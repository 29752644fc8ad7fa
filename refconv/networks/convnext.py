"""ConvNeXt (Liu et al., arXiv 2201.03545): Tiny and Small as in the paper and torchvision; Atto to Nano as in timm (rwightman's, not the paper's)."""

from refconv.networks.language import Classifier, ConvNeXt, Mean, Patches, Stage
from refconv.networks.network_data import Network

SIZES = {
    "convnext_atto": (40, (2, 2, 6, 2)),
    "convnext_femto": (48, (2, 2, 6, 2)),
    "convnext_pico": (64, (2, 2, 6, 2)),
    "convnext_nano": (80, (2, 2, 8, 2)),
    "convnext_tiny": (96, (3, 3, 9, 3)),
    "convnext_small": (96, (3, 3, 27, 3)),
}
"""Channels of the first stage, which double from stage to stage, and blocks."""


def _convnext(name):
    c, depths = SIZES[name]
    stages = [Stage("stem", (Patches(c, 4, "after"),))]
    for i, depth in enumerate(depths):
        down = (Patches(c << i, 2, "before"),) if i else ()
        stages.append(Stage(f"stage{i + 1}", (*down, *[ConvNeXt()] * depth)))
    return Network(name, "ConvNeXt", 224, (*stages, Stage("head", (Mean(), Classifier(layer_norm=True)))))


NETWORKS = tuple(map(_convnext, SIZES))
