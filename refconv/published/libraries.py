"""Numbers of parameters that torchvision and timm publish with their models, as data: to the last digit, or in millions as printed.

torchvision: its documentation of pretrained weights ("num_params"). timm: its tables of results, for ConvNeXt below Tiny, which is timm's own.
"""

from typing import NamedTuple

TORCHVISION, TIMM = "torchvision, documentation of its weights", "timm, tables of its results"


class LibraryRow(NamedTuple):
    """network: its name in refconv.networks; parameters: in `unit`, which is "" or "M"."""

    network: str
    parameters: float
    unit: str
    source: str


ROWS = (
    LibraryRow("resnet18", 11689512, "", TORCHVISION),
    LibraryRow("resnet34", 21797672, "", TORCHVISION),
    LibraryRow("resnet50", 25557032, "", TORCHVISION),
    LibraryRow("mobilenetv2", 3504872, "", TORCHVISION),
    LibraryRow("mobilenetv3_small", 2542856, "", TORCHVISION),
    LibraryRow("efficientnet_b0", 5288548, "", TORCHVISION),
    LibraryRow("efficientnet_b1", 7794184, "", TORCHVISION),
    LibraryRow("efficientnet_b2", 9109994, "", TORCHVISION),
    LibraryRow("efficientnet_b3", 12233232, "", TORCHVISION),
    LibraryRow("efficientnet_b4", 19341616, "", TORCHVISION),
    LibraryRow("efficientnet_b5", 30389784, "", TORCHVISION),
    LibraryRow("efficientnetv2_s", 21458488, "", TORCHVISION),
    LibraryRow("convnext_tiny", 28589128, "", TORCHVISION),
    LibraryRow("convnext_small", 50223688, "", TORCHVISION),
    LibraryRow("convnext_atto", 3.70, "M", TIMM),
    LibraryRow("convnext_femto", 5.22, "M", TIMM),
    LibraryRow("convnext_pico", 9.05, "M", TIMM),
    LibraryRow("convnext_nano", 15.59, "M", TIMM),
)
