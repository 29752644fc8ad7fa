"""What torchvision, timm and a release publish with their models, as data.

torchvision: the metadata of its pretrained weights IMAGENET1K_V1, read in version 0.28; its MACs ("GFLOPS" there) are those of convolutions and
matrix products alone. timm: the tables of its results, in millions as printed, for ConvNeXt below Tiny, which is timm's own, and RegNetY. And the
README of ConvNeXt-V2's release, as printed; its "FLOPs" are multiply-adds.
"""

from typing import NamedTuple


class TorchvisionRow(NamedTuple):
    """network: its name in refconv.networks; weights: whose metadata; size: of the input that MACs and accuracy hold for."""

    network: str
    weights: str
    parameters: int
    gmacs: float
    accuracy_percent: float
    size: int


class TimmRow(NamedTuple):
    """network: its name in refconv.networks; gmacs, accuracy_percent, size of the input: those of RegNetY alone."""

    network: str
    parameters_m: float
    gmacs: float | None = None
    accuracy_percent: float | None = None
    size: int | None = None


class ReleaseRow(NamedTuple):
    """network: its name in refconv.networks; accuracy_percent: on ImageNet-1k, fine-tuned there alone; at 224x224; with_norms: whether the
    multiply-adds must be those of norms, too, to be what is printed (recomputed here)."""

    network: str
    parameters_m: float
    gmacs: float
    accuracy_percent: float
    with_norms: bool = False
    size: int = 224


TORCHVISION = (
    TorchvisionRow("resnet18", "ResNet18_Weights", 11689512, 1.814, 69.758, 224),
    TorchvisionRow("resnet34", "ResNet34_Weights", 21797672, 3.664, 73.314, 224),
    TorchvisionRow("resnet50", "ResNet50_Weights", 25557032, 4.089, 76.13, 224),
    TorchvisionRow("mobilenetv2", "MobileNet_V2_Weights", 3504872, 0.301, 71.878, 224),
    TorchvisionRow("mobilenetv3_small", "MobileNet_V3_Small_Weights", 2542856, 0.057, 67.668, 224),
    TorchvisionRow("efficientnet_b0", "EfficientNet_B0_Weights", 5288548, 0.386, 77.692, 224),
    TorchvisionRow("efficientnet_b1", "EfficientNet_B1_Weights", 7794184, 0.687, 78.642, 240),
    TorchvisionRow("efficientnet_b2", "EfficientNet_B2_Weights", 9109994, 1.088, 80.608, 288),
    TorchvisionRow("efficientnet_b3", "EfficientNet_B3_Weights", 12233232, 1.827, 82.008, 300),
    TorchvisionRow("efficientnet_b4", "EfficientNet_B4_Weights", 19341616, 4.394, 83.384, 380),
    TorchvisionRow("efficientnet_b5", "EfficientNet_B5_Weights", 30389784, 10.266, 83.444, 456),
    TorchvisionRow("efficientnetv2_s", "EfficientNet_V2_S_Weights", 21458488, 8.366, 84.228, 384),
    TorchvisionRow("convnext_tiny", "ConvNeXt_Tiny_Weights", 28589128, 4.456, 82.52, 224),
    TorchvisionRow("convnext_small", "ConvNeXt_Small_Weights", 50223688, 8.684, 83.616, 224),
)
TIMM = (
    TimmRow("convnext_atto", 3.70),
    TimmRow("convnext_femto", 5.22),
    TimmRow("convnext_pico", 9.05),
    TimmRow("convnext_nano", 15.59),
    TimmRow("regnety_008", 6.26, 0.81, 76.296, 224),
)
CONVNEXT_V2 = (
    ReleaseRow("convnextv2_atto", 3.7, 0.55, 76.7),
    ReleaseRow("convnextv2_femto", 5.2, 0.78, 78.5),
    ReleaseRow("convnextv2_pico", 9.1, 1.37, 80.3),
    ReleaseRow("convnextv2_nano", 15.6, 2.45, 81.9),
    ReleaseRow("convnextv2_tiny", 28.6, 4.47, 83.0, with_norms=True),
)
