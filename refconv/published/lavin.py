"""The main results table of Lavin, "On the Efficiency of Convolutional Neural Networks" (arXiv 2404.03617), as data.

NVIDIA RTX A5000, float16, batch 128; the baselines with PyTorch Inductor, ConvFirst with the paper's block-fusion kernels.

How well each column is known:
- read in the paper's table: parameters, MACs, latency, images per second, share of the peak, accuracy, to the digits printed;
- digitised from the paper's figures (to about 0.01 G) and, for the baselines, equal to what timm publishes at `size`: `gmacs`. The MACs as
  printed have one decimal, which is up to 6 % of the smallest: too coarse to give the share of the peak back;
- back-computed: PEAK_FLOP_PER_S. The paper does not print the peak; 2 * MACs * images per second / share of the peak agrees on all rows;
- ConvFirst Nano's latency of 13.5 ms as printed is too coarse, too (0.14 points off); images per second give all latencies finer: `latency_s`;
- read in timm's tables, whose MACs these are: `size`, the input of the baselines; the paper's table prints it of SIZE_PRINTED alone. That of
  ConvFirst is in nothing that was at hand: None.

EfficientNet's accuracies are those of the original paper (from memory), not timm's at these sizes: its points join accuracies of one source with
MACs and latencies of another. That is inferred here; the paper's text on it was not at hand.
"""

from typing import NamedTuple

PEAK_FLOP_PER_S = 76.68e12
"""The peak that the column "% Peak" divides by: back-computed."""
BATCH = 128
SIZE_PRINTED = ("ConvNeXt Femto", "ConvNeXt Pico", "ConvNeXt Nano", "ConvNeXt Small")
"""Models beside whose names the paper's table prints the input's size, 288."""
DTYPE = "float16"


class LavinRow(NamedTuple):
    """A row. parameters_m, printed_gmacs, latency_ms, images_per_s, peak_percent, accuracy_percent: as printed; gmacs, size: see above.

    network: its name in refconv.networks; latency_ms is that of the whole batch.
    """

    model: str
    network: str
    size: int | None
    parameters_m: float
    printed_gmacs: float
    gmacs: float
    latency_ms: float
    images_per_s: float
    peak_percent: float
    accuracy_percent: float

    @property
    def flops(self):
        """Of the batch: 2 * MACs * 128, with the MACs of higher precision."""
        return 2 * self.gmacs * 1e9 * BATCH

    @property
    def latency_s(self):
        """Of the batch: 128 / images per second, which rounds to the latency printed."""
        return BATCH / self.images_per_s


ROWS = (
    LavinRow("ConvNeXt Femto", "convnext_femto", 288, 5.2, 1.3, 1.30, 23.4, 5474.8, 18.6, 78.7),
    LavinRow("EfficientNet B1", "efficientnet_b1", 256, 7.8, 0.8, 0.77, 49.9, 2566.8, 5.2, 79.1),
    LavinRow("ConvFirst Pico", "convfirstnet_pico", None, 5.9, 0.9, 0.861, 6.1, 21059.6, 47.2, 79.9),
    LavinRow("EfficientNet B2", "efficientnet_b2", 288, 9.1, 1.1, 1.12, 66.1, 1935.9, 5.7, 80.1),
    LavinRow("ConvNeXt Pico", "convnext_pico", 288, 9.1, 2.3, 2.27, 31.7, 4033.3, 23.9, 80.4),
    LavinRow("ConvNeXt Nano", "convnext_nano", 288, 15.6, 4.1, 4.06, 46.7, 2742.5, 29.0, 81.5),
    LavinRow("EfficientNet B3", "efficientnet_b3", 320, 12.2, 2.0, 2.01, 107.5, 1190.4, 6.2, 81.6),
    LavinRow("ConvFirst Nano", "convfirstnet_nano", None, 10.2, 1.8, 1.809, 13.5, 9447.2, 44.6, 81.8),
    LavinRow("ConvNeXt Tiny", "convnext_tiny", 288, 28.6, 7.4, 7.39, 80.6, 1587.8, 30.6, 82.7),
    LavinRow("ConvFirst Tiny", "convfirstnet_tiny", None, 17.2, 3.2, 3.225, 24.1, 5311.0, 44.7, 82.8),
    LavinRow("EfficientNet B4", "efficientnet_b4", 384, 19.3, 4.5, 4.51, 203.7, 628.3, 7.4, 82.9),
    LavinRow("ConvFirst Small", "convfirstnet_small", None, 28.6, 5.5, 5.488, 33.2, 3851.0, 55.2, 83.3),
    LavinRow("EfficientNet B5", "efficientnet_b5", 448, 30.4, 9.6, 9.59, 385.1, 332.4, 8.3, 83.6),
    LavinRow("ConvNeXt Small", "convnext_small", 288, 50.2, 14.4, 14.39, 138.4, 925.1, 34.7, 83.7),
    LavinRow("EfficientNetV2 S", "efficientnetv2_s", 384, 21.5, 8.4, 8.44, 146.0, 876.8, 19.3, 83.9),
)
"""In the paper's order, by accuracy."""
