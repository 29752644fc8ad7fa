"""Residual blocks as layers of the benchmark: one fused kernel beside the block in torch and onnxruntime, of the same weights.

The cases are blocks of published networks at batch 1, named by type, channels and map: ConvNeXt-T (arXiv 2201.03545), ConvFirst (Lavin,
arXiv 2404.03617), FasterNet (arXiv 2303.03667), EfficientNet and EfficientNetV2 (arXiv 1905.11946, 2104.00298), MobileNetV1 and V2 (arXiv
1704.04861, 1801.04381), the FFN of a transformer.
"""

from typing import Any, NamedTuple

import numpy as np

from refconv import reference
from refconv.bench.entry import TOLERANCE, Entry, check
from refconv.bench.measure import Contest
from refconv.bench.peers import peer
from refconv.cli import note
from refconv.elements import element
from refconv.ops.blocks import fused_block
from refconv.ops.prepare import prepare
from refconv.problem.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    ConvNeXtV2Block,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
    SqueezeExcite,
)
from refconv.weights import packed


class Case(NamedTuple):
    """C channels on a square map of `size` rows; hidden = alpha * C; g: the width of a group; kernel: rows of the conv (FFN: 0); n images.

    k: channels out (0: C); squeezed: those of squeeze-excitation between its layers (0: there is none); project_activation: of a SeparableBlock,
    whose x is never added.
    """

    kind: Any
    c: int
    size: int
    alpha: int
    activation: str
    kernel: int = 3
    g: int = 1
    n: int = 1
    k: int = 0
    squeezed: int = 0
    project_activation: str = "identity"

    @property
    def name(self):
        """Type, channels and map; what tells blocks of the same apart."""
        channels, gates = (
            f"{self.c}-{self.k}" if self.k not in (0, self.c) else self.c,
            " SE" if self.squeezed and self.kind is SeparableBlock else "",
        )
        return f"{self.kind.__name__.removesuffix('Block')} {channels}@{self.size}{gates}"

    def __str__(self):
        conv = f" {self.kernel}x{self.kernel}" if self.kernel else ""
        width = f" g {self.g}" if self.g > 1 else " SE" if self.kind is MBConvBlock and self.squeezed else ""
        images = f" mb {self.n}" if self.n > 1 else ""
        after = f" {self.project_activation}" if self.project_activation != "identity" else ""
        return f"{self.name} alpha {self.alpha}{conv}{width} {self.activation}{after}{images}"


CASES = [
    *(Case(ConvNeXtBlock, c, size, 4, "gelu", 7) for c, size in ((96, 56), (192, 28), (384, 14), (768, 7))),
    Case(ConvFirstBlock, 64, 64, 6, "relu", g=8),
    *(Case(ConvFirstBlock, c, size, 4, "relu", g=8) for c, size in ((64, 56), (128, 28))),
    *(Case(FasterNetBlock, c, size, 2, "relu") for c, size in ((96, 56), (192, 28), (384, 14))),
    *(Case(MBConvBlock, c, size, 6, "silu", kernel, squeezed=c // 4) for c, size, kernel in ((24, 56, 3), (80, 14, 3), (112, 14, 5))),
    Case(FusedMBConvBlock, 48, 56, 4, "silu"),
    *(Case(SeparableBlock, c, size, 1, "relu", k=k, project_activation="relu") for c, k, size in ((32, 64, 112), (512, 512, 14))),
    Case(SeparableBlock, 32, 112, 1, "relu6", k=16),
    Case(SeparableBlock, 32, 112, 1, "silu", k=16, squeezed=8),
    *(Case(FFNBlock, c, size, 4, "gelu", 0) for c, size in ((96, 56), (384, 14))),
]
"""The set "blocks". EfficientNet squeezes to C / 4 channels, C being those of the block's input; FasterNet convolves C / 4."""


def weights(case, dtype=np.float32):
    """The record of a case, the same each time: normal weights of variance 1 / (terms of a sum), so that activations stay of order 1."""
    rng = np.random.default_rng(0)
    kind, c, hidden, kernel = case.kind, case.c, case.alpha * case.c, (case.kernel, case.kernel)

    def matrix(*shape):
        return (rng.standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(dtype)

    def vector(size, mean=0.0):
        return (mean + rng.standard_normal(size) / 10).astype(dtype)

    k = case.k or c
    fields = {"activation": case.activation, "project_weight": matrix(k, hidden), "project_bias": vector(k)}
    if kind is SeparableBlock:
        fields |= {"project_activation": case.project_activation, "residual": False}
    elif kind is not FusedMBConvBlock:
        fields |= {"expand_weight": matrix(hidden, c), "expand_bias": vector(hidden)}
    if kind is FasterNetBlock:
        return kind(**fields, conv_weight=matrix(c // 4, c // 4, *kernel))
    if kind is not FFNBlock:
        rows, width = (c, case.g) if kind in (ConvFirstBlock, ConvNeXtBlock, ConvNeXtV2Block) else (hidden, c if kind is FusedMBConvBlock else case.g)
        fields |= {"conv_weight": matrix(rows, width, *kernel), "conv_bias": vector(rows)}
    if kind in (ConvNeXtBlock, ConvNeXtV2Block):
        fields |= {"norm_weight": vector(c, 1), "norm_bias": vector(c)}
    if kind is ConvNeXtBlock:
        fields["scale"] = vector(c, 1)
    if kind is ConvNeXtV2Block:
        fields |= {"response_weight": vector(hidden, 1), "response_bias": vector(hidden)}
    if case.squeezed:
        narrow = case.squeezed
        pair = {"reduce_weight": matrix(narrow, hidden), "reduce_bias": vector(narrow)}
        fields["se"] = SqueezeExcite(**pair, expand_weight=matrix(hidden, narrow), expand_bias=vector(hidden))
    return kind(**fields)


def block_contests(cases, peers, dtype, threads, layout_name):
    """Yield the Contest of each case, after every form of every contender has been checked against the definition.

    Where this project has no kernel for a case, only the peers take part. WrongResult names a contender that disagrees.
    """
    for case in cases:
        record = weights(case, dtype)
        x = np.random.default_rng(1).standard_normal((case.n, case.c, case.size, case.size)).astype(dtype)
        entries = {}
        try:
            for name in dict.fromkeys((layout_name, "NHWC")):
                entries[f"refconv {name}"] = ours(record, x, threads, name)
            if element(dtype).half:
                entries["refconv float32"] = ours(weights(case), x.astype(np.float32), threads, layout_name)
        except (TypeError, ValueError) as error:
            entries = {}
            note(f"{case}: not measured: {error}")
        for name in peers:
            entries |= {f"{name} {form}": entry for form, entry in peer(name).block_entries(record, x, threads).items()}
        check(case, entries, reference.block(x, record), TOLERANCE[element(dtype).name])
        flops = 2 * record.macs(case.n, case.size, case.size)
        yield Contest(case.name, str(case), flops, entries)


def ours(record, x, threads, layout_name):
    """The Entry of this project: a prepared call of the fused kernel, NHWC arrays in and out; or NCHW arrays, which pay the conversion."""
    n, _, h, w = x.shape
    n, p, q, k = record.out_shape(n, h, w)
    last = layout_name == "NHWC"
    image, out = in_layout(x, layout_name), packed.empty((n, p, q, k) if last else (n, k, p, q), x.dtype)
    call = prepare(fused_block, image, record, layout=layout_name, out=out, threads=threads)
    return Entry(lambda: call(image), lambda: call(image).transpose(0, 3, 1, 2) if last else call(image), measured=call.measured)


def in_layout(x, layout_name):
    """A copy of an NCHW array as a caller has it in a layout, on a cache line, as torch's tensors are."""
    wanted = x.transpose(0, 2, 3, 1) if layout_name == "NHWC" else x
    image = packed.empty(wanted.shape, x.dtype)
    image[...] = wanted
    return image
