"""Latencies of ISyNet and ResNet on an Ascend 310 (Letunovskiy et al., arXiv 2109.01932), as data.

Read in the README of the authors' MindSpore release: batch 16, float16. That the latency is one image's is inferred: as one of 16 images it
would exceed the chip's peak. The README's MACs are about 1.26 times those at 224x224, and it does not say why: they are no target for that size.
A + is for ResNets trained as the ISyNets were, as we infer. The accuracies of the paper are those that paperswithcode lists (100 minus the error).
"""

from typing import NamedTuple

BATCH = 16
DTYPE = "float16"
SIZE = 224


class AscendRow(NamedTuple):
    """A row. network: its name in refconv.networks; latency_ms: of one image, at batch 16; accuracy_percent: with MindSpore; readme_gmacs: see above.

    paper_accuracy_percent: None of a ResNet.
    """

    model: str
    network: str
    parameters_m: float
    latency_ms: float
    accuracy_percent: float
    readme_gmacs: float
    paper_accuracy_percent: float | None = None


ROWS = (
    AscendRow("ISyNet-N0", "isynet_n0", 9.59, 0.43, 75.03, 1.13, 75.45),
    AscendRow("ResNet-18+", "resnet18", 11.69, 0.63, 74.3, 2.28),
    AscendRow("ISyNet-N1", "isynet_n1", 7.42, 0.72, 76.41, 2.85, 76.84),
    AscendRow("ISyNet-N1-S1", "isynet_n1_s1", 7.82, 0.74, 76.78, 2.88, 77.3),
    AscendRow("ISyNet-N1-S2", "isynet_n1_s2", 8.86, 0.83, 77.45, 3.34, 77.85),
    AscendRow("ISyNet-N1-S3", "isynet_n1_s3", 10.81, 0.97, 78.25, 4.12, 78.55),
    AscendRow("ResNet-34+", "resnet34", 21.8, 1.05, 77.95, 4.63),
    AscendRow("ISyNet-N2", "isynet_n2", 19.43, 1.10, 79.07, 4.93, 79.41),
    AscendRow("ISyNet-N3", "isynet_n3", 20.47, 1.55, 80.43, 7.32, 80.16),
    AscendRow("ResNet-50+", "resnet50", 25.56, 1.64, 80.18, 5.19),
)
"""In the order of latency."""
