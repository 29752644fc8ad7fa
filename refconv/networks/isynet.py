"""ISyNet N0 to N3 and the scaled N1 (Letunovskiy et al., arXiv 2109.01932), as the JSON files and the code of its MindSpore release have them.

The paper's own text was not at hand. Every stage halves the map in its first block, which has no residual; `edges` as in the language's Cell.
The code has a batch norm over the logits, too. At inference it is folded into the classifier, so that the graph has nothing of it; its 2000
parameters are not counted, since the counts published leave them out.
"""

from typing import NamedTuple

from refconv.networks.language import Cell, Classifier, Conv, Mean, Stage
from refconv.networks.network_data import Network

S3, S5 = (3, "separable"), (5, "separable")


class Repeated(NamedTuple):
    """A stage: `depth` blocks of the same edges to `channels`, `hidden` of them inside where that differs.

    linear: without the last ReLU. The code ties that to the fourth edge of the JSON file, and leaves the ReLU where that edge is an identity;
    here it is said of what is left when identities are gone. residual: whether blocks after the first add their input.
    """

    edges: tuple
    channels: int
    depth: int
    hidden: int = 0
    linear: bool = False
    residual: bool = True


N1_STEM, N1_SECOND = Repeated((7,), 16, 1), Repeated((S5, 1, 3, 5), 32, 1)


def _n1(*depths):
    middle = Repeated((3, 3, 3), 128, depths[0]), Repeated((3, 1, 3), 128, depths[1], hidden=256)
    return (N1_STEM, N1_SECOND, *middle, Repeated((1, 1, 1), 256, depths[2]))


STAGES = {
    "isynet_n0": (
        Repeated((5,), 16, 1, residual=False),
        Repeated((3, 3), 32, 2),
        Repeated((3, 3, 3, 1), 64, 4),
        Repeated((1, 3), 128, 2, linear=True),
        Repeated((3, 3, 1), 256, 6),
    ),
    "isynet_n1": _n1(4, 6, 1),
    "isynet_n1_s1": _n1(4, 6, 3),
    "isynet_n1_s2": _n1(5, 6, 6),
    "isynet_n1_s3": _n1(6, 8, 7),
    "isynet_n2": (
        Repeated((3, 7, 7), 16, 1),
        Repeated((5, 3, 3), 32, 3, hidden=64, linear=True, residual=False),
        Repeated((3, 3), 64, 4),
        Repeated((3, 1), 256, 17),
        Repeated((1, 1, 1), 1024, 2),
    ),
    "isynet_n3": (
        Repeated((5, 7), 32, 1, residual=False),
        Repeated((3, 3), 64, 5),
        Repeated((3, S3, 3, 3), 128, 3),
        Repeated((S3, 1, 3), 256, 13, linear=True),
        Repeated((1, 1, 1), 1024, 1, residual=False),
    ),
}


def _stage(i, repeated):
    def cell(j):
        hidden = repeated.hidden or repeated.channels
        residual = repeated.residual and j > 0
        return Cell(repeated.channels, hidden, repeated.edges, 1 if j else 2, repeated.linear, residual)

    return Stage(f"stage{i}", tuple(map(cell, range(repeated.depth))))


def _isynet(name):
    stages = tuple(_stage(i, repeated) for i, repeated in enumerate(STAGES[name]))
    head = Stage("head", (Conv(1280, activation="relu"), Mean(), Classifier()))
    return Network(name, "ISyNet", 224, (*stages, head))


NETWORKS = tuple(map(_isynet, STAGES))
