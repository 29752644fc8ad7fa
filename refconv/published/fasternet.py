"""Tables 1 and 3 of Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks" (arXiv 2303.03667, v3), as data.

Read in the paper. Its platforms: RTX 2080Ti at batch 32 (images per second), one thread of an Intel i9-9900X and one of an Arm Cortex-A72 at
batch 1 (latency); float32, plain PyTorch. What the paper calls FLOPs are multiply-adds: its GFLOPS are half of this project's GFLOP/s.
"""

from typing import NamedTuple

GPU_BATCH = 32
SIZE = 224
LAYERS = 10
"""Equal layers that Table 1 stacks."""


class OperatorRow(NamedTuple):
    """A row of Table 1: ten layers of one operator, 3x3. mmacs: the paper's MFLOPs, of all ten; *_gmacs_per_s: the paper's GFLOPS."""

    operator: str
    channels: int
    size: int
    mmacs: float
    gpu_images_per_s: float
    gpu_gmacs_per_s: float
    cpu_ms: float
    cpu_gmacs_per_s: float
    arm_ms: float
    arm_gmacs_per_s: float


OPERATORS = (
    OperatorRow("Conv", 96, 56, 2601, 3010, 7824, 35.67, 72.90, 779.57, 3.33),
    OperatorRow("Conv", 192, 28, 2601, 4893, 12717, 28.41, 91.53, 619.64, 4.19),
    OperatorRow("Conv", 384, 14, 2601, 4558, 11854, 31.85, 81.66, 595.09, 4.37),
    OperatorRow("Conv", 768, 7, 2601, 3159, 8212, 62.71, 41.47, 662.17, 3.92),
    OperatorRow("GConv", 96, 56, 162, 2888, 469, 21.90, 7.42, 166.30, 0.97),
    OperatorRow("GConv", 192, 28, 162, 10811, 1754, 7.58, 21.44, 96.22, 1.68),
    OperatorRow("GConv", 384, 14, 162, 15534, 2514, 4.40, 36.88, 63.57, 2.55),
    OperatorRow("GConv", 768, 7, 162, 16000, 2598, 4.28, 37.97, 65.20, 2.49),
    OperatorRow("DWConv", 96, 56, 27.09, 11940, 323, 3.59, 7.52, 108.70, 0.24),
    OperatorRow("DWConv", 192, 28, 13.54, 23358, 315, 1.97, 6.86, 82.01, 0.16),
    OperatorRow("DWConv", 384, 14, 6.77, 46377, 313, 1.06, 6.35, 94.89, 0.07),
    OperatorRow("DWConv", 768, 7, 3.38, 88889, 302, 0.68, 4.93, 150.89, 0.02),
    OperatorRow("PConv", 96, 56, 162, 9215, 1493, 5.46, 29.67, 85.30, 1.90),
    OperatorRow("PConv", 192, 28, 162, 14360, 2326, 3.09, 52.43, 66.46, 2.44),
    OperatorRow("PConv", 384, 14, 162, 24408, 3954, 3.58, 45.25, 49.98, 3.24),
    OperatorRow("PConv", 768, 7, 162, 32866, 5324, 5.02, 32.27, 48.30, 3.35),
)


class NetworkRow(NamedTuple):
    """A row of Table 3; network: its name in refconv.networks, None where it has none. arm_ms is None where the board's memory was too small."""

    model: str
    network: str | None
    parameters_m: float
    gmacs: float
    gpu_images_per_s: float
    cpu_ms: float
    arm_ms: float | None
    accuracy_percent: float


NETWORKS = (
    NetworkRow("ShuffleNetV2 x1.5", None, 3.5, 0.30, 4878, 12.1, 266, 72.6),
    NetworkRow("MobileNetV2", "mobilenetv2", 3.5, 0.31, 4198, 12.2, 442, 72.0),
    NetworkRow("MobileViT-XXS", None, 1.3, 0.42, 2393, 30.8, 348, 69.0),
    NetworkRow("EdgeNeXt-XXS", None, 1.3, 0.26, 2765, 15.7, 239, 71.2),
    NetworkRow("FasterNet-T0", "fasternet_t0", 3.9, 0.34, 6807, 9.2, 143, 71.9),
    NetworkRow("GhostNet x1.3", None, 7.4, 0.24, 2988, 17.9, 481, 75.7),
    NetworkRow("ShuffleNetV2 x2", None, 7.4, 0.59, 3339, 17.8, 403, 74.9),
    NetworkRow("MobileNetV2 x1.4", None, 6.1, 0.60, 2711, 22.6, 650, 74.7),
    NetworkRow("MobileViT-XS", None, 2.3, 1.05, 1392, 40.8, 648, 74.8),
    NetworkRow("EdgeNeXt-XS", None, 2.3, 0.54, 1738, 24.4, 434, 75.0),
    NetworkRow("PVT-Tiny", None, 13.2, 1.94, 1266, 55.6, 708, 75.1),
    NetworkRow("FasterNet-T1", "fasternet_t1", 7.6, 0.85, 3782, 17.7, 285, 76.2),
    NetworkRow("CycleMLP-B1", None, 15.2, 2.10, 865, 116.1, 892, 79.1),
    NetworkRow("PoolFormer-S12", None, 11.9, 1.82, 1439, 49.0, 665, 77.2),
    NetworkRow("MobileViT-S", None, 5.6, 2.03, 1039, 56.7, 941, 78.4),
    NetworkRow("EdgeNeXt-S", None, 5.6, 1.26, 1128, 39.2, 743, 79.4),
    NetworkRow("ResNet50", "resnet50", 25.6, 4.11, 959, 73.0, 1131, 78.8),
    NetworkRow("FasterNet-T2", "fasternet_t2", 15.0, 1.91, 1991, 33.5, 497, 78.9),
    NetworkRow("CycleMLP-B2", None, 26.8, 3.90, 528, 186.3, 1502, 81.6),
    NetworkRow("PoolFormer-S24", None, 21.4, 3.41, 748, 92.8, 1261, 80.3),
    NetworkRow("PoolFormer-S36", None, 30.9, 5.00, 507, 138.0, 1860, 81.4),
    NetworkRow("ConvNeXt-T", "convnext_tiny", 28.6, 4.47, 657, 86.3, 1889, 82.1),
    NetworkRow("Swin-T", None, 28.3, 4.51, 609, 122.2, 1424, 81.3),
    NetworkRow("PVT-Small", None, 24.5, 3.83, 689, 89.6, 1345, 79.8),
    NetworkRow("PVT-Medium", None, 44.2, 6.69, 438, 143.6, 2142, 81.2),
    NetworkRow("FasterNet-S", "fasternet_s", 31.1, 4.56, 1029, 71.2, 1103, 81.3),
    NetworkRow("PoolFormer-M36", None, 56.2, 8.80, 320, 215.0, 2979, 82.1),
    NetworkRow("ConvNeXt-S", "convnext_small", 50.2, 8.71, 377, 153.2, 3484, 83.1),
    NetworkRow("Swin-S", None, 49.6, 8.77, 348, 224.2, 2613, 83.0),
    NetworkRow("PVT-Large", None, 61.4, 9.85, 306, 203.4, 3101, 81.7),
    NetworkRow("FasterNet-M", "fasternet_m", 53.5, 8.74, 500, 129.5, 2092, 83.0),
    NetworkRow("PoolFormer-M48", None, 73.5, 11.59, 242, 281.8, None, 82.5),
    NetworkRow("ConvNeXt-B", None, 88.6, 15.38, 253, 257.1, None, 83.8),
    NetworkRow("Swin-B", None, 87.8, 15.47, 237, 349.2, None, 83.5),
    NetworkRow("FasterNet-L", "fasternet_l", 93.5, 15.52, 323, 219.5, None, 83.5),
)
"""In the paper's order; all of them at SIZE."""
