"""Layers of real networks: by name, and in the sets that the benchmark runs."""

from typing import Any, NamedTuple

from refconv.problem.conv import Conv2d, PartialConv2d, parse_named


class Layer(NamedTuple):
    """A named problem, and where it comes from."""

    name: str
    problem: Any
    origin: str


PRESETS = {
    layer.name: layer
    for layer in (
        Layer("conv2d", Conv2d.parse("mb1ic64ih56oc64kh3ph1"), "ResNet-50 res2 3x3, 64->64 channels, 56x56"),
        Layer("pointwise", Conv2d.parse("mb1ic96ih56oc384kh1"), "ConvNeXt-T stage 1 expansion, 96->384 channels, 56x56"),
        Layer("dwconv", Conv2d.parse("g96mb1ic96ih56oc96kh7ph3"), "ConvNeXt-T stage 1 depthwise 7x7, 96 channels, 56x56"),
        Layer("dwconv3", Conv2d.parse("g144mb1ic144ih56oc144kh3ph1"), "MobileNetV2 depthwise 3x3, 144 channels, 56x56"),
        Layer("gconv", Conv2d.parse("g8mb1ic64ih64oc64kh3ph1"), "ConvFirst grouped 3x3, 64 channels of group width 8, 64x64"),
        Layer("pconv", PartialConv2d(1, 96, 56, 56, 24, 3, 3), "FasterNet-T2 stage 1 partial 3x3, 24 of 96 channels, 56x56"),
    )
}


def _dense(c, k, size, kernel, stride=1):
    return Conv2d.parse(f"mb1ic{c}ih{size}oc{k}kh{kernel}sh{stride}ph{kernel // 2}")


def _grouped(c, size, kernel, groups, stride=1):
    return Conv2d.parse(f"g{groups}mb1ic{c}ih{size}oc{c}kh{kernel}sh{stride}ph{kernel // 2}")


def _partial(c, size, ratio=4):
    return PartialConv2d(1, c, size, size, c // ratio, 3, 3)


SETS = {
    "dense": [
        _dense(64, 64, 56, 3),
        _dense(128, 128, 28, 3),
        _dense(256, 256, 14, 3),
        _dense(512, 512, 7, 3),
        _dense(3, 64, 224, 7, 2),
        _dense(128, 128, 56, 3, 2),
        _dense(24, 24, 56, 3),
        _dense(48, 48, 28, 3),
    ],
    "pointwise": [
        _dense(96, 384, 56, 1),
        _dense(384, 96, 56, 1),
        _dense(64, 256, 56, 1),
        _dense(24, 144, 56, 1),
        _dense(144, 24, 56, 1),
        _dense(192, 768, 28, 1),
        _dense(384, 1536, 14, 1),
        _dense(1024, 256, 14, 1),
    ],
    "depthwise": [
        _grouped(96, 56, 7, 96),
        _grouped(384, 14, 7, 384),
        _grouped(768, 7, 7, 768),
        _grouped(144, 56, 3, 144),
        _grouped(144, 56, 3, 144, 2),
        _grouped(384, 14, 3, 384),
        _grouped(32, 112, 3, 32),
        _grouped(672, 14, 5, 672),
    ],
    "grouped": [_grouped(64, 64, 3, 8), _grouped(128, 32, 3, 16), _grouped(256, 16, 3, 32), _grouped(256, 14, 3, 32)],
    "partial": [_partial(40, 56), _partial(96, 56), _partial(192, 28), _partial(384, 14), _partial(768, 7)],
}
"""The sets a benchmark quotes: ResNet-50, ConvNeXt, MobileNetV2, EfficientNet, ConvFirst and FasterNet layers, batch 1."""

STAGES = ((96, 56), (192, 28), (384, 14), (768, 7))
OPERATORS = {
    "Conv": [_dense(c, c, size, 3) for c, size in STAGES],
    "GConv": [_grouped(c, size, 3, 16) for c, size in STAGES],
    "DWConv": [_grouped(c, size, 3, c) for c, size in STAGES],
    "PConv": [_partial(c, size) for c, size in STAGES],
}
"""FasterNet's Table 1: ten layers of one operator stacked, 3x3, at the widths and maps of four stages; GConv has 16 groups."""


def find_layer(text, others=()):
    """The preset called `text`, or the layer of a benchdnn descriptor; ValueError says what is legal, names of `others` included."""
    names = ", ".join((*PRESETS, *others))
    if text in PRESETS:
        return PRESETS[text]
    if not any(character.isdigit() for character in text):
        raise ValueError(f"layer {text!r}: must be {names}, or a benchdnn descriptor such as g96mb1ic96ih56oc96kh7ph3")
    try:
        name, problem = parse_named(text)
    except ValueError as error:
        raise ValueError(f"{error}; or a layer by name: {names}") from None
    return Layer(name or str(problem), problem, "descriptor")


def with_batch(problem, batch):
    """The problem for `batch` images."""
    return problem._replace(n=batch).checked()
