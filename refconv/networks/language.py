"""The language that networks are written in: a network is stages, a stage is blocks, a block is one of the records below.

A block is numbers alone (channels out, hidden channels, kernel, stride, ...); channels in are those of the block before. It draws itself as steps of
refconv/problem/steps.py. Where refconv/problem/blocks.py has a record of a block's weights, the steps are that record's: there is one definition of
what comes after what, and `refconv.fused_block` runs the block.

Convolutions are padded so that ceil(h / stride) rows come out, unless said otherwise, and have a batch norm and no bias. Activations are names of
refconv.problem.activations.
"""

from typing import Any, NamedTuple

from refconv.networks.draft import zeros
from refconv.problem.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    ConvNeXtV2Block,
    FasterNetBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
    SqueezeExcite,
)

LAYER_NORM_EPS = 1e-6
"""Of ConvNeXt."""


class Stage(NamedTuple):
    """Blocks, in order, under one name."""

    name: str
    blocks: tuple


class Conv(NamedTuple):
    """A convolution, with a batch norm or a bias or neither, and an activation or none."""

    channels: int
    kernel: int = 1
    stride: int = 1
    activation: Any = None
    batch_norm: bool = True
    bias: bool = False

    def draw(self, draft):
        """conv, its activation."""
        draft.conv("conv", self.channels, (self.kernel,) * 2, self.stride, batch_norm=self.batch_norm, bias=self.bias)
        draft.activation(self.activation)


class Patches(NamedTuple):
    """A convolution of size x size at that stride without padding: patches that do not overlap.

    norm: "batch": a batch norm, no bias; "before" and "after": a LayerNorm there, and a bias.
    """

    channels: int
    size: int
    norm: str

    def draw(self, draft):
        """conv, a LayerNorm before or after it."""
        if self.norm == "before":
            draft.norm("norm", LAYER_NORM_EPS)
        batch = self.norm == "batch"
        draft.conv("conv", self.channels, (self.size,) * 2, self.size, batch_norm=batch, bias=not batch, padded=False)
        if self.norm == "after":
            draft.norm("norm", LAYER_NORM_EPS)


class MaxPool(NamedTuple):
    """A max pool of size x size windows."""

    size: int
    stride: int

    def draw(self, draft):
        """pool."""
        draft.max_pool("pool", self.size, self.stride)


class Mean(NamedTuple):
    """The mean over the map, one pixel."""

    def draw(self, draft):
        """mean."""
        draft.mean("mean")


class Classifier(NamedTuple):
    """A matrix product, with a bias, of the one pixel that the mean has left: to `classes`, after a LayerNorm where layer_norm is True."""

    classes: int = 1000
    layer_norm: bool = False

    def draw(self, draft):
        """norm, classifier."""
        if self.layer_norm:
            draft.norm("norm", LAYER_NORM_EPS)
        draft.conv("classifier", self.classes, batch_norm=False, bias=True)


class Basic(NamedTuple):
    """ResNet's block of two 3x3 convolutions: relu(shortcut(x) + conv2(relu(conv1(x)))); the shortcut a 1x1 convolution where shapes differ."""

    channels: int
    stride: int = 1

    def draw(self, draft):
        """shortcut where there is one, conv1, conv2, the sum and its activation."""
        _residual(draft, self, lambda: _chain(draft, (self.channels, 3, self.stride), (self.channels, 3, 1)))


class Bottleneck(NamedTuple):
    """ResNet's block of 1x1, 3x3 (with the stride) and 1x1 convolutions, the first two to `hidden` channels.

    RegNet's, too: `group_width` channels in each group of the 3x3 (0: it is dense), squeeze-excitation after it unless `squeezed` is 0.
    """

    channels: int
    hidden: int
    stride: int = 1
    group_width: int = 0
    squeezed: int = 0

    def draw(self, draft):
        """shortcut where there is one, conv1, conv2, those of squeeze-excitation, conv3, the sum and its activation."""

        def main():
            _chain(draft, (self.hidden, 1, 1), (self.hidden, 3, self.stride, self.hidden // self.group_width if self.group_width else 1))
            draft.activation("relu")
            if self.squeezed:
                draft.squeeze_excite(_squeeze_excite(self.hidden, self.squeezed, "relu", "sigmoid"))
            draft.conv("conv3", self.channels)

        _residual(draft, self, main)


def _chain(draft, *convolutions):
    """Convolutions (channels, kernel, stride[, groups]) with a ReLU between them."""
    for i, (channels, kernel, stride, *groups) in enumerate(convolutions):
        if i:
            draft.activation("relu")
        draft.conv(f"conv{i + 1}", channels, (kernel,) * 2, stride, groups=groups[0] if groups else 1)


def _squeeze_excite(channels, squeezed, activation, gate):
    """The SqueezeExcite of so many channels, `squeezed` between its two layers."""
    reduce = {"reduce_weight": zeros(squeezed, channels), "reduce_bias": zeros(squeezed)}
    expand = {"expand_weight": zeros(channels, squeezed), "expand_bias": zeros(channels)}
    return SqueezeExcite(**reduce, **expand, activation=activation, gate=gate)


def _residual(draft, kind, main):
    """relu(shortcut + main), `main` drawing the latter."""
    start = draft.branch()
    shortcut = draft.source
    if (draft.channels, 1) != (kind.channels, kind.stride):
        draft.conv("shortcut", kind.channels, stride=kind.stride)
        shortcut = draft.source
        draft.resume(start)
    main()
    draft.add("added", shortcut)
    draft.activation("relu")


class MBConv(NamedTuple):
    """Inverted bottleneck: 1x1 to `hidden` channels, depthwise, squeeze-excitation unless `squeezed` is 0, 1x1 to `channels`, x added where it fits.

    Where there are as many hidden channels as channels in, there is no first 1x1: a depthwise separable convolution. squeezed: channels between
    the two layers of squeeze-excitation, which have a bias and no batch norm.
    """

    channels: int
    hidden: int
    kernel: int
    stride: int = 1
    squeezed: int = 0
    activation: str = "silu"
    squeezed_activation: str = "silu"
    gate: str = "sigmoid"

    def draw(self, draft):
        """expand, conv, those of squeeze-excitation, project, each with its activation; the sum."""
        expanded = self.hidden != draft.channels
        draft.residual_block(self._record(draft.channels, expanded), ("expand", "conv", "project") if expanded else ("conv", "project"))

    def _record(self, c, expanded):
        own = {"expand_weight": zeros(self.hidden, c), "expand_bias": zeros(self.hidden)} if expanded else {}
        gates = _squeeze_excite(self.hidden, self.squeezed, self.squeezed_activation, self.gate) if self.squeezed else None
        return (MBConvBlock if expanded else SeparableBlock)(
            **own,
            conv_weight=zeros(self.hidden, 1, self.kernel, self.kernel),
            conv_bias=zeros(self.hidden),
            project_weight=zeros(self.channels, self.hidden),
            project_bias=zeros(self.channels),
            se=gates,
            stride=self.stride,
            activation=self.activation,
        )


class FusedMBConv(NamedTuple):
    """A dense 3x3 convolution to `hidden` channels, 1x1 to `channels`, x added where it fits; hidden None: the 3x3 makes `channels` and is all."""

    channels: int
    hidden: Any
    stride: int = 1
    activation: str = "silu"

    def draw(self, draft):
        """conv, project; the sum."""
        if self.hidden is None:
            x = draft.branch()
            draft.conv("conv", self.channels, (3, 3), self.stride)
            draft.activation(self.activation)
            if (self.stride, x[1]) == (1, self.channels):
                draft.add("added", x[0])
            return
        record = FusedMBConvBlock(
            conv_weight=zeros(self.hidden, draft.channels, 3, 3),
            conv_bias=zeros(self.hidden),
            project_weight=zeros(self.channels, self.hidden),
            project_bias=zeros(self.channels),
            stride=self.stride,
            activation=self.activation,
        )
        draft.residual_block(record, ("conv", "project"))


class ConvNeXt(NamedTuple):
    """ConvNeXt's block: depthwise 7x7, LayerNorm, 1x1 to four times the channels, GELU, 1x1, layer scale, x added; all convolutions with a bias.

    responds: ConvNeXt-V2's, with global response normalisation before the last 1x1 and without layer scale.
    """

    responds: bool = False

    def draw(self, draft):
        """conv, norm, expand, the response and what it gates, project, layer scale, the sum."""
        c = draft.channels
        if self.responds:
            own = {"response_weight": zeros(4 * c), "response_bias": zeros(4 * c)}
        else:
            own = {"scale": zeros(c)}
        record = (ConvNeXtV2Block if self.responds else ConvNeXtBlock)(
            conv_weight=zeros(c, 1, 7, 7),
            conv_bias=zeros(c),
            norm_weight=zeros(c),
            norm_bias=zeros(c),
            expand_weight=zeros(4 * c, c),
            expand_bias=zeros(4 * c),
            project_weight=zeros(c, 4 * c),
            project_bias=zeros(c),
            eps=LAYER_NORM_EPS,
            **own,
        )
        draft.residual_block(record)


class FasterNet(NamedTuple):
    """FasterNet's block: a partial 3x3 convolution of a quarter of the channels, 1x1 to twice the channels, batch norm, activation, 1x1, x added."""

    activation: str

    def draw(self, draft):
        """conv (partial), expand, project, the sum."""
        c = draft.channels
        record = FasterNetBlock(
            conv_weight=zeros(c // 4, c // 4, 3, 3),
            expand_weight=zeros(2 * c, c),
            expand_bias=zeros(2 * c),
            project_weight=zeros(c, 2 * c),
            activation=self.activation,
        )
        draft.residual_block(record, ("expand",))


class ConvFirst(NamedTuple):
    """Lavin's ConvFirst block, Fig. 6 (b), and at stride 2 (c): a grouped 3x3 of group width 8, 1x1 to `hidden` channels, ReLU, 1x1 to `channels`."""

    channels: int
    hidden: int
    stride: int = 1

    def draw(self, draft):
        """conv, at stride 2 the blur pool of its output and x, expand, project, the sum."""
        c = draft.channels
        record = ConvFirstBlock(
            conv_weight=zeros(c, 8, 3, 3),
            conv_bias=zeros(c),
            expand_weight=zeros(self.hidden, c * self.stride),
            expand_bias=zeros(self.hidden),
            project_weight=zeros(self.channels, self.hidden),
            project_bias=zeros(self.channels),
            stride=self.stride,
        )
        draft.residual_block(record, ("conv", "expand", "project"))


class Cell(NamedTuple):
    """ISyNet's block: dense convolutions one after another, each with a batch norm and a ReLU, x added where `residual`; nothing after the sum.

    edges: 1, 3, 5 or 7 for k x k, (k, "separable") for k x 1 and then 1 x k with one batch norm and ReLU after the pair. All make `hidden` channels
    but the last, which makes `channels`; the first has the stride. linear: no ReLU after the last.
    """

    channels: int
    hidden: int
    edges: tuple
    stride: int = 1
    linear: bool = False
    residual: bool = False

    def draw(self, draft):
        """conv1, conv2, ...; the sum."""
        x = draft.source
        for i, edge in enumerate(self.edges):
            last = i == len(self.edges) - 1
            self._edge(draft, f"conv{i + 1}", edge, self.channels if last else self.hidden, 1 if i else self.stride)
            if not (last and self.linear):
                draft.activation("relu")
        if self.residual:
            draft.add("added", x)

    @staticmethod
    def _edge(draft, role, edge, channels, stride):
        if isinstance(edge, int):
            draft.conv(role, channels, (edge, edge), stride)
            return
        size = edge[0]
        draft.conv(f"{role}_vertical", channels, (size, 1), (stride, 1), batch_norm=False)
        draft.conv(f"{role}_horizontal", channels, (1, size), (1, stride))
