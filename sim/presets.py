"""Layers of real networks by name, with their origin."""

from typing import Any, NamedTuple

from refconv.problem import Conv2d, PartialConv2d, parse_named


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
        Layer(
            "pconv",
            PartialConv2d(1, 96, 56, 56, 24, 3, 3),
            "FasterNet-T2 stage 1 partial 3x3, 24 of 96 channels, 56x56",
        ),
    )
}


def find_layer(text):
    """The preset called `text`, or the layer of a benchdnn descriptor; ValueError says what is legal."""
    if text in PRESETS:
        return PRESETS[text]
    if not any(character.isdigit() for character in text):
        raise ValueError(f"layer {text!r}: must be {', '.join(PRESETS)}, or a benchdnn descriptor such as g96mb1ic96ih56oc96kh7ph3")
    name, problem = parse_named(text)
    return Layer(name or str(problem), problem, "descriptor")


def with_batch(problem, batch):
    """The problem for `batch` images."""
    return problem._replace(n=batch).checked()
