"""FasterNet T0 to L (Chen et al., "Run, Don't Walk", arXiv 2303.03667), as its paper and its authors' code have them."""

from refconv.networks.language import Classifier, Conv, FasterNet, Mean, Patches, Stage
from refconv.networks.network_data import Network

SIZES = {
    "fasternet_t0": (40, (1, 2, 8, 2), "gelu"),
    "fasternet_t1": (64, (1, 2, 8, 2), "gelu"),
    "fasternet_t2": (96, (1, 2, 8, 2), "relu"),
    "fasternet_s": (128, (1, 2, 13, 2), "relu"),
    "fasternet_m": (144, (3, 4, 18, 3), "relu"),
    "fasternet_l": (192, (3, 4, 18, 3), "relu"),
}
"""Channels of the first stage, which double from stage to stage, blocks, activation."""


def _fasternet(name):
    c, depths, activation = SIZES[name]
    stages = []
    for i, depth in enumerate(depths):
        patches = Patches(c << i, 2 if i else 4, "batch")
        stages += [Stage("merging" + str(i + 1) if i else "embedding", (patches,)), Stage(f"stage{i + 1}", (FasterNet(activation),) * depth)]
    head = Stage("head", (Mean(), Conv(1280, activation=activation, batch_norm=False), Classifier()))
    return Network(name, "FasterNet", 224, (*stages, head))


NETWORKS = tuple(map(_fasternet, SIZES))
