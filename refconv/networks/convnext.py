"""ConvNeXt (Liu et al., arXiv 2201.03545): Tiny and Small as in the paper and torchvision; Atto to Nano as in timm (rwightman's, not the paper's).
ConvNeXt-V2 (Woo et al., arXiv 2301.00808): the same sizes, global response normalisation instead of layer scale.
"""

from refconv.networks.language import Classifier, ConvNeXt, Mean, Patches, Stage
from refconv.networks.network_data import Network

SIZES = {
    "atto": (40, (2, 2, 6, 2)),
    "femto": (48, (2, 2, 6, 2)),
    "pico": (64, (2, 2, 6, 2)),
    "nano": (80, (2, 2, 8, 2)),
    "tiny": (96, (3, 3, 9, 3)),
    "small": (96, (3, 3, 27, 3)),
}
"""Channels of the first stage, which double from stage to stage, and blocks."""
SECOND = ("atto", "femto", "pico", "nano", "tiny")
"""Sizes of ConvNeXt-V2; larger ones follow in the paper."""


def _convnext(size, responds):
    c, depths = SIZES[size]
    stages = [Stage("stem", (Patches(c, 4, "after"),))]
    for i, depth in enumerate(depths):
        down = (Patches(c << i, 2, "before"),) if i else ()
        stages.append(Stage(f"stage{i + 1}", (*down, *[ConvNeXt(responds)] * depth)))
    family, name = ("ConvNeXt-V2", f"convnextv2_{size}") if responds else ("ConvNeXt", f"convnext_{size}")
    return Network(name, family, 224, (*stages, Stage("head", (Mean(), Classifier(layer_norm=True)))))


NETWORKS = (*(_convnext(size, False) for size in SIZES), *(_convnext(size, True) for size in SECOND))
