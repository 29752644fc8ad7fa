"""Records of blocks for tests: by size, drawn at random; and the oracle written by others: torch's modules."""

import numpy as np
import pytest
from hypothesis import strategies as st

from refconv.problem.blocks import (
    ACTIVATIONS,
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

BLOCKS = (FFNBlock, ConvFirstBlock, ConvNeXtBlock, ConvNeXtV2Block, MBConvBlock, SeparableBlock, FusedMBConvBlock, FasterNetBlock)
STRIDED = (ConvFirstBlock, MBConvBlock, SeparableBlock, FusedMBConvBlock)
GATED = (MBConvBlock, SeparableBlock, FusedMBConvBlock)
"""Those that may have squeeze-excitation."""
MORE_SHAPES = ("convnextv2", "separable_512", "separable_linear", "separable_se")
"""Presets that are others again in other shapes, or with other endings: tests of what every preset moves do without what these would compile."""


def zeros(*shape):
    return np.zeros(shape, np.float32)


def squeeze_excite(channels=16, squeezed=4, array=zeros, maybe=zeros, **changed):
    """A SqueezeExcite, some of its fields changed."""
    reduce = {"reduce_weight": array(squeezed, channels), "reduce_bias": maybe(squeezed)}
    return SqueezeExcite(**{**reduce, "expand_weight": array(channels, squeezed), "expand_bias": maybe(channels), **changed})


def gates(kind, c=8, hidden=16, squeezed=4, **changed):
    """{"se": a SqueezeExcite} for what `build` makes of a kind that may have one, else {}."""
    return {"se": squeeze_excite(c if kind is SeparableBlock else hidden, squeezed, **changed)} if kind in GATED else {}


def build(kind, c=8, k=8, hidden=16, g=2, kernel=(3, 3), array=zeros, maybe=zeros, **changed):
    """A record, some of its fields changed. array, maybe: functions of a shape; the second may return None. g is Cp of a FasterNetBlock.

    A SeparableBlock has c hidden channels; its `hidden` counts for nothing.
    """
    stride = changed.get("stride", 1)
    k = k if kind in STRIDED else c
    columns = 2 * c if kind is ConvFirstBlock and stride == 2 else c
    conv = {
        ConvFirstBlock: (c, g, *kernel),
        ConvNeXtBlock: (c, 1, *kernel),
        ConvNeXtV2Block: (c, 1, *kernel),
        MBConvBlock: (hidden, g, *kernel),
        SeparableBlock: (c, g, *kernel),
        FusedMBConvBlock: (hidden, c, *kernel),
        FasterNetBlock: (g, g, *kernel),
    }
    fields = {"project_weight": array(k, c if kind is SeparableBlock else hidden), "project_bias": maybe(k)}
    if kind not in (FusedMBConvBlock, SeparableBlock):
        fields |= {"expand_weight": array(hidden, columns), "expand_bias": maybe(hidden)}
    if kind in conv:
        fields["conv_weight"] = array(*conv[kind])
    if kind in conv and kind is not FasterNetBlock:
        fields["conv_bias"] = maybe(conv[kind][0])
    if kind in (ConvNeXtBlock, ConvNeXtV2Block):
        fields |= {"norm_weight": array(c), "norm_bias": maybe(c)}
    if kind is ConvNeXtBlock:
        fields["scale"] = maybe(c)
    if kind is ConvNeXtV2Block:
        fields |= {"response_weight": array(hidden), "response_bias": maybe(hidden)}
    return kind(**{**fields, **changed})


@st.composite
def blocks(draw, kind, make, activations=ACTIVATIONS, strides=(1, 1, 2)):
    """(record, x NCHW), small, float64, of `make(rng, shape)`; strides: to draw from, for blocks that have one."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    array = lambda *shape: make(rng, shape)
    maybe = lambda *shape: draw(st.sampled_from([None, make(rng, shape)]))
    g, c = draw(st.sampled_from([1, 2, 3, 8])), draw(st.sampled_from([1, 2, 3]))
    c = g * c if kind in (ConvFirstBlock, SeparableBlock, FasterNetBlock) else draw(st.integers(1, 9))
    hidden = g * draw(st.integers(1, 5)) if kind is MBConvBlock else draw(st.sampled_from([c, 2 * c, 4 * c, 6 * c, 5]))
    changed = {"activation": draw(st.sampled_from(activations))}
    if kind in STRIDED:
        changed["stride"] = draw(st.sampled_from(strides))
    if kind in GATED:
        changed["residual"] = draw(st.sampled_from(["auto", False]))
        changed["stride"] = draw(st.sampled_from([*strides, (1, 2), (2, 1)]))
    if kind is FFNBlock:
        changed["residual"] = draw(st.booleans())
    if kind in (ConvNeXtBlock, ConvNeXtV2Block):
        changed["eps"] = draw(st.sampled_from([1e-6, 1e-5, 0.5]))
    if kind is SeparableBlock:
        changed["project_activation"] = draw(st.sampled_from([None, activations[0]] if g == 1 else [None]))  # compiled for depthwise alone
    if kind in GATED and draw(st.booleans()):
        styles = {"activation": draw(st.sampled_from(activations)), "gate": draw(st.sampled_from(["sigmoid", "hardsigmoid"]))}
        changed["se"] = squeeze_excite(c if kind is SeparableBlock else hidden, draw(st.integers(1, 4)), array, maybe, **styles)
    kernel, least = (draw(st.sampled_from([1, 2, 3, 4, 5, 7])), draw(st.sampled_from([1, 2, 3, 5]))), (1, 1)
    if kind in GATED and draw(st.booleans()):
        top, left, bottom, right = pads = tuple(draw(st.integers(0, size - 1)) for size in kernel * 2)
        changed["pads"], least = pads, (max(1, kernel[0] - top - bottom), max(1, kernel[1] - left - right))
    record = build(kind, c, draw(st.sampled_from([c, c, 5])), hidden, g, kernel, array, maybe, **changed)
    least = (2, 2) if kind is ConvFirstBlock and record.stride == 2 else least
    n, h, w = draw(st.integers(1, 2)), draw(st.integers(least[0], 9)), draw(st.integers(least[1], 9))
    return record, array(n, c, h, w)


def normal(rng, shape):
    return rng.standard_normal(shape)


def torch_block(b, x):
    """The block in torch modules of the record's weights, float64."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    activations = {
        "identity": nn.Identity(),
        "relu": nn.ReLU(),
        "relu6": nn.ReLU6(),
        "silu": nn.SiLU(),
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "hardswish": nn.Hardswish(),
        "sigmoid": nn.Sigmoid(),
        "hardsigmoid": nn.Hardsigmoid(),
    }

    def filled(module, weight, bias):
        module.weight = nn.Parameter(torch.tensor(weight))
        module.bias = None if bias is None else nn.Parameter(torch.tensor(bias))
        return module

    def conv(weight, bias, stride=1, groups=1, pads=None):
        weight = weight if weight.ndim == 4 else weight[:, :, None, None]
        k, width, r, s = weight.shape
        if pads is not None:
            top, left, bottom, right = pads
            module = filled(nn.Conv2d(width * groups, k, (r, s), stride, groups=groups, bias=bias is not None), weight, bias)
            return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), module)
        odd = r % 2 == s % 2 == 1
        padding = (r // 2, s // 2) if odd else "same" if stride == 1 else 0
        module = filled(nn.Conv2d(width * groups, k, (r, s), stride, padding, groups=groups, bias=bias is not None), weight, bias)
        return nn.Sequential(nn.ZeroPad2d(((s - 1) // 2, s // 2, (r - 1) // 2, r // 2)), module) if padding == 0 and not odd else module

    def blur(x):
        binomial = np.tile(np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16, (x.shape[1], 1, 1, 1))
        module = filled(nn.Conv2d(x.shape[1], x.shape[1], 3, 2, groups=x.shape[1], bias=False), binomial, None)
        return nn.Sequential(nn.ReflectionPad2d(1), module)(x)

    def norm(x):
        module = filled(nn.LayerNorm(b.c, b.eps), b.norm_weight, b.norm_bias)
        return module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def gates(x, se):
        reduce, expand = conv(se.reduce_weight, se.reduce_bias), conv(se.expand_weight, se.expand_bias)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), reduce, activations[se.activation], expand, activations[se.gate])(x)

    def expand(x):
        return activations[b.activation](conv(b.expand_weight, b.expand_bias)(x))

    def spatial(x):
        return conv(b.conv_weight, b.conv_bias, b.stride, getattr(b, "groups", 1), b.pads)(x)

    def hidden(x):
        if isinstance(b, FFNBlock):
            return expand(x)
        if isinstance(b, ConvFirstBlock):
            convolved = conv(b.conv_weight, b.conv_bias, 1, b.groups)(x)
            return expand(convolved if b.stride == 1 else blur(torch.cat([convolved, x], 1)))
        if isinstance(b, ConvNeXtBlock):
            return expand(norm(spatial(x)))
        if isinstance(b, ConvNeXtV2Block):  # as the authors' code has it: gamma * (x * n) + beta + x
            inner = expand(norm(spatial(x)))
            norms = torch.norm(inner, p=2, dim=(2, 3), keepdim=True)
            relative = norms / (norms.mean(dim=1, keepdim=True) + b.response_eps)
            column = lambda vector: torch.tensor(vector)[:, None, None]
            return column(b.response_weight) * (inner * relative) + (0 if b.response_bias is None else column(b.response_bias)) + inner
        if isinstance(b, MBConvBlock):
            inner = activations[b.activation](spatial(expand(x)))
            return inner if b.se is None else inner * gates(inner, b.se)
        if isinstance(b, SeparableBlock):
            inner = activations[b.activation](spatial(x))
            return inner if b.se is None else inner * gates(inner, b.se)
        if isinstance(b, FusedMBConvBlock):
            inner = activations[b.activation](spatial(x))
            return inner if b.se is None else inner * gates(inner, b.se)
        first, rest = x.split([b.convolved, b.c - b.convolved], 1)
        return expand(torch.cat([conv(b.conv_weight, None)(first), rest], 1))

    with torch.no_grad():
        x = torch.tensor(x)
        out = conv(b.project_weight, b.project_bias)(hidden(x))
        if isinstance(b, ConvNeXtBlock) and b.scale is not None:
            out = out * torch.tensor(b.scale)[:, None, None]
        out = activations[b.project_activation](out)
        return (x + out if b.residual else out).numpy()
