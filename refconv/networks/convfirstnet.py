"""ConvFirstNet Pico to Small: a reconstruction, designed here. Lavin's paper (arXiv 2404.03617) names the networks, but what was at hand of it has
no stages, widths, stem, head or input size.

From the paper: the blocks, Fig. 6 (b) and, at stride 2, (c), group width 8, 3x3, ReLU as drawn. A block of stride 1 has six times as many hidden
channels as it takes; one of stride 2 has four times and makes twice as many, as the boxes of the figure are drawn (it does not say that they are
to scale). Parameters and MACs are those of its table and figures within 1 %: what SIZES was chosen for.

Our choice: an input of 256x256 (the author's benchmark runs a ConvFirst block on 64x64, a quarter of that), patches of 4x4 as ConvNeXt's for a stem,
with a batch norm, four stages, mean and classifier for a head, no squeeze-excitation. Accuracy and latency published are the paper's networks',
not this one's.
"""

from refconv.networks.language import Classifier, ConvFirst, Mean, Patches, Stage
from refconv.networks.network_data import Network

SIZES = {
    "convfirstnet_pico": (48, (1, 1, 2, 2)),
    "convfirstnet_nano": (48, (2, 2, 7, 3)),
    "convfirstnet_tiny": (48, (3, 4, 14, 5)),
    "convfirstnet_small": (56, (3, 6, 18, 6)),
}
"""Channels of the first stage, which double from stage to stage, and blocks of stride 1."""
REMARK = (
    "a reconstruction: blocks and group width as Lavin's Fig. 6 draws them; stem, widths, depths, head and input size are this project's, "
    "chosen to meet the paper's parameters and MACs within 1 %; accuracy and latency are those of the paper's own networks"
)


def _convfirstnet(name):
    c, depths = SIZES[name]
    stages = [Stage("stem", (Patches(c, 4, "batch"),))]
    for i, depth in enumerate(depths):
        width = c << i
        down = (ConvFirst(width, 2 * width, 2),) if i else ()  # hidden: four times the channels in, which are half of `width`
        stages.append(Stage(f"stage{i + 1}", (*down, *[ConvFirst(width, 6 * width)] * depth)))
    return Network(name, "ConvFirstNet", 256, (*stages, Stage("head", (Mean(), Classifier()))), remark=REMARK)


NETWORKS = tuple(map(_convfirstnet, SIZES))
