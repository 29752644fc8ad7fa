"""RegNetY (Radosavovic et al., arXiv 2003.13678), as in timm: stem of 32 channels, bottlenecks that do not narrow, groups of one width."""

from refconv.networks.language import Bottleneck, Classifier, Conv, Mean, Stage
from refconv.networks.network_data import Network

WIDTHS = {"regnety_008": (16, (64, 128, 320, 768), (1, 3, 8, 2))}
"""Width of a group; channels and blocks of the stages.

800 MF is w_0 = 56, w_a = 38.84, w_m = 2.4, depth 14: widths 56, 136, 320, 776 as multiples of 8, then as multiples of a group's width. Half-way
between two, timm takes the even one (64, 128, 320, 768), torchvision the upper one (64, 144, 320, 784).
"""
SQUEEZE = 0.25
"""Channels between the layers of squeeze-excitation, of those that the block takes."""


def regnety(name, group_width, widths, depths):
    """The Network of that name; every stage halves the map in its first block."""
    stages, c = [Stage("stem", (Conv(32, 3, 2, "relu"),))], 32
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        blocks = []
        for j in range(depth):
            blocks.append(Bottleneck(width, width, 1 if j else 2, group_width, round(SQUEEZE * c)))
            c = width
        stages.append(Stage(f"stage{i + 1}", tuple(blocks)))
    return Network(name, "RegNet", 224, (*stages, Stage("head", (Mean(), Classifier()))))


NETWORKS = tuple(regnety(name, *numbers) for name, numbers in WIDTHS.items())
