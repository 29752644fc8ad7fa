"""Residual blocks as records of their weights: what is computed, and the sizes and costs that follow. refconv/reference.py defines them.

C channels in, K out, `hidden` = alpha * C between expansion and projection (any positive number). A record is built by keyword and refers
to its arrays as given: all of one element type, grouped weights (C, g, R, S) with g the WIDTH of a group (C // g groups, Lavin's notation).
Where an array changes, whoever reads the record sees the new values (`reference`, `unfused_block`), but `fused_block` does not: it packs
copies of all arrays when it first meets a record. For changed arrays make a new record: dataclasses.replace(record) is enough.
Batch norms are folded into weight and bias beforehand (`fold_batch_norm`); any bias may be None. Records are compared by identity.

Spatial convolutions of stride 1 keep the map: (k - 1) // 2 zeros before, k // 2 after (problem.same_pads). Stride 2 pads the same way, so
that ceil(H / 2) rows come out: for odd kernels this is torch's padding=k // 2. Records with a field `pads` take others, (top, left, bottom, right):
TensorFlow's SAME at stride 2 on an even map is (0, 0, 1, 1) for a 3x3 kernel, (1, 1, 2, 2) for 5x5 (problem.conv.auto_pads). `stride` is a number
there, or a pair (vertical, horizontal).

Sources: Lavin, "On the Efficiency of Convolutional Neural Networks" (arXiv 2404.03617), its Fig. 6 and the code of its author (andravin/spio);
FasterNet (arXiv 2303.03667). "Derived here" and "our choice" mark what is in neither.
"""

import numpy as np

from refconv.problem.activations import DEFINITIONS
from refconv.problem.block_base import (
    Block,
    Weights,
    check_arrays,
    check_eps,
    check_groups,
    check_stride,
    keeps_shape,
    one_of,
    record,
    settle_residual,
    settle_window,
)
from refconv.problem.steps import INPUT, Step, activation, conv, norm, partial_conv

ACTIVATIONS = tuple(DEFINITIONS)
"""As torch.nn.functional names them; gelu is the exact one (erf), gelu_tanh its approximate="tanh"."""
GATES = ("sigmoid", "hardsigmoid")


@record
class SqueezeExcite(Weights):
    """Weights of squeeze-excitation: every channel times gate(expand(activation(reduce(its mean over the map)))).

    reduce_weight (squeezed, C), reduce_bias (squeezed,), expand_weight (C, squeezed), expand_bias (C,), C being the block's hidden channels.
    activation: of ACTIVATIONS; gate: "sigmoid" or "hardsigmoid".
    """

    reduce_weight: np.ndarray
    reduce_bias: np.ndarray | None
    expand_weight: np.ndarray
    expand_bias: np.ndarray | None
    activation: str = "silu"
    gate: str = "sigmoid"

    c = property(lambda self: self.expand_weight.shape[0], doc="Channels gated.")
    squeezed = property(lambda self: self.expand_weight.shape[1], doc="Channels between the two layers.")
    dtype = property(lambda self: self.expand_weight.dtype, doc="Of every array.")

    def __post_init__(self):
        check_arrays(self, reduce_weight="squeezed C", reduce_bias="squeezed", expand_weight="C squeezed", expand_bias="C")
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("gate", self.gate, GATES)

    def steps(self, source):
        """The Steps that gate what step `source` makes, the last of which, "gated", is the product; its arrays are those of a field `se`."""
        pool = Step("se_pool", "mean", (source,))
        reduce = conv("se_reduce", "se_pool"), activation("se_reduce", self.activation)
        expand = conv("se_expand", "se_reduce_activation"), activation("se_expand", self.gate)
        return [pool, *reduce, *expand, Step("gated", "multiply", (source, "se_expand_activation"))]


def _check_gates(block):
    """TypeError or ValueError unless the field `se` of a block is None or gates its hidden channels."""
    if not isinstance(block.se, SqueezeExcite | None):
        raise TypeError(f"se of type {type(block.se).__name__}: must be a SqueezeExcite or None")
    if block.se and block.se.dtype != block.dtype:
        raise TypeError(f"se of dtype {block.se.dtype}: must be {block.dtype} as the block's other arrays")
    if block.se and block.se.c != block.hidden:
        raise ValueError(f"se of {block.se.c} channels: must have {block.hidden}, the hidden channels of the block")


def _gated_projection(block, source):
    """The last Steps of a block: squeeze-excitation of what step `source` makes, where it has any, and the projection."""
    gating = block.se.steps(source) if block.se else []
    return [*gating, *block._projected("gated" if block.se else source)]


@record
class FFNBlock(Block):
    """Feed-forward network: x + project(activation(expand(x))), for each pixel. Lavin's eq. (30), Sec. 5.2, has no residual.

    expand_weight (hidden, C), expand_bias (hidden,), project_weight (C, hidden), project_bias (C,); residual: whether x is added.
    """

    expand_weight: np.ndarray
    expand_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None
    activation: str = "gelu"
    residual: bool = True

    def __post_init__(self):
        check_arrays(self, expand_weight="hidden C", expand_bias="hidden", project_weight="C hidden", project_bias="C")
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("residual", self.residual, (True, False))

    def steps(self):
        """expand, project."""
        return self._expanded(INPUT)


@record
class ConvFirstBlock(Block):
    """ConvFirst: x + project(activation(expand(conv(x)))), Lavin's Fig. 6 (b); no activation after the grouped conv, none after the sum.

    conv_weight (C, g, R, S), conv_bias (C,), expand_weight (hidden, C), expand_bias (hidden,), project_weight (K, hidden), project_bias (K,).
    x is added where stride = 1 and K = C, as in spio.

    Stride 2, Fig. 6 (c): project(activation(expand(blur_pool([conv(x), x])))), no residual, conv at stride 1. The order of the
    concatenation is our choice: conv's C channels first, so that expand_weight is (hidden, 2C) with its first C columns for those of conv.
    So is the filter of the blur pool, which the figure does not give: [1, 2, 1] x [1, 2, 1] / 16 at stride 2, the map (at least 2x2)
    reflected by 1 at the border, as Zhang's code (adobe/antialiased-cnns) with filt_size=3 and its default padding. ceil(H / 2) rows come out.
    """

    conv_weight: np.ndarray
    conv_bias: np.ndarray | None
    expand_weight: np.ndarray
    expand_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None
    activation: str = "relu"
    stride: int = 1

    c = property(lambda self: self.conv_weight.shape[0], doc="Channels in.")
    groups = property(lambda self: self.c // self.conv_weight.shape[1], doc="Of the conv.")
    residual = property(lambda self: keeps_shape(self), doc="Whether x is added.")

    def __post_init__(self):
        check_stride(self)
        columns = "C" if self.stride == 1 else "2C"
        convolved = {"conv_weight": "C g R S", "conv_bias": "C", "expand_weight": f"hidden {columns}", "expand_bias": "hidden"}
        check_arrays(self, **convolved, project_weight="K hidden", project_bias="K")
        check_groups(self)
        one_of("activation", self.activation, ACTIVATIONS)

    def steps(self):
        """conv, at stride 2 the blur pool of its output and x, expand, project."""
        first = conv("conv", INPUT, self.conv_weight.shape[2:], 1, self.groups)
        if self.stride == 1:
            return [first, *self._expanded("conv")]
        both = Step("both", "concatenate", ("conv", INPUT)), Step("padded", "pad", ("both",), attributes={"border": 1})
        return [first, *both, Step("blur", "blur_pool", ("padded",)), *self._expanded("blur")]


@record
class ConvNeXtBlock(Block):
    """ConvNeXt: x + scale * project(activation(expand(norm(conv(x))))), conv depthwise, norm a LayerNorm over the channels of a pixel.

    conv_weight (C, 1, R, S), 7x7 in ConvNeXt, conv_bias (C,), norm_weight (C,), norm_bias (C,), expand_weight (hidden, C),
    expand_bias (hidden,), project_weight (C, hidden), project_bias (C,), scale (C,): layer scale, or None. eps is added to the variance.
    Source: Liu et al., "A ConvNet for the 2020s" (arXiv 2201.03545); spio's block of that name.
    """

    conv_weight: np.ndarray
    conv_bias: np.ndarray | None
    norm_weight: np.ndarray
    norm_bias: np.ndarray | None
    expand_weight: np.ndarray
    expand_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None
    scale: np.ndarray | None = None
    eps: float = 1e-6
    activation: str = "gelu"

    groups = property(lambda self: self.c, doc="Of the conv.")

    def __post_init__(self):
        normed = {"conv_weight": "C 1 R S", "conv_bias": "C", "norm_weight": "C", "norm_bias": "C"}
        expanded = {"expand_weight": "hidden C", "expand_bias": "hidden", "project_weight": "C hidden", "project_bias": "C", "scale": "C"}
        check_arrays(self, **normed, **expanded)
        check_eps(self.eps)
        one_of("activation", self.activation, ACTIVATIONS)

    def steps(self):
        """conv, norm, expand, project."""
        first = conv("conv", INPUT, self.conv_weight.shape[2:], 1, self.c)
        return [first, norm("norm", "conv", self.eps), *self._expanded("norm")]


@record
class ConvNeXtV2Block(Block):
    """ConvNeXt-V2: x + project(respond(activation(expand(norm(conv(x)))))), respond being global response normalisation instead of layer scale:

    respond(h) = h * (1 + response_weight * g / (mean of g over channels + response_eps)) + response_bias, g the norm of each channel over the map.

    response_weight (hidden,), response_bias (hidden,) or None; the other fields as of a ConvNeXtBlock. Source: Woo et al., "ConvNeXt V2" (arXiv
    2301.00808), whose gamma and beta these are.
    """

    conv_weight: np.ndarray
    conv_bias: np.ndarray | None
    norm_weight: np.ndarray
    norm_bias: np.ndarray | None
    expand_weight: np.ndarray
    expand_bias: np.ndarray | None
    response_weight: np.ndarray
    response_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None
    eps: float = 1e-6
    response_eps: float = 1e-6
    activation: str = "gelu"

    groups = property(lambda self: self.c, doc="Of the conv.")

    def __post_init__(self):
        normed = {"conv_weight": "C 1 R S", "conv_bias": "C", "norm_weight": "C", "norm_bias": "C"}
        expanded = {"expand_weight": "hidden C", "expand_bias": "hidden", "response_weight": "hidden", "response_bias": "hidden"}
        check_arrays(self, **normed, **expanded, project_weight="C hidden", project_bias="C")
        check_eps(self.eps)
        check_eps(self.response_eps, "response_eps")
        one_of("activation", self.activation, ACTIVATIONS)

    def steps(self):
        """conv, norm, expand, the response and what it gates, project."""
        made = [conv("conv", INPUT, self.conv_weight.shape[2:], 1, self.c), norm("norm", "conv", self.eps), conv("expand", "norm")]
        made += [activation("expand", self.activation)]
        made += [Step("response", "response", ("expand_activation",), {"weight": "response_weight"}, {"eps": self.response_eps})]
        made += [Step("gated", "multiply", ("expand_activation", "response"))]
        if self.response_bias is not None:
            made += [Step("shifted", "shift", ("gated",), {"bias": "response_bias"})]
        return [*made, *self._projected(made[-1].name)]


@record
class MBConvBlock(Block):
    """MBConv: x + project(se(activation(conv(activation(expand(x)))))), conv grouped (g = 1: depthwise), of `stride`.

    expand_weight (hidden, C), expand_bias (hidden,), conv_weight (hidden, g, R, S), conv_bias (hidden,), project_weight (K, hidden),
    project_bias (K,); se: a SqueezeExcite of hidden channels, or None. residual "auto" adds x where stride = 1 and K = C; after
    construction it is a bool. Source: Lavin's figure of blocks, (d), and spio, both without squeeze-excitation; that is EfficientNet's.
    """

    expand_weight: np.ndarray
    expand_bias: np.ndarray | None
    conv_weight: np.ndarray
    conv_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None
    se: SqueezeExcite | None = None
    stride: int | tuple = 1
    pads: tuple | None = None
    activation: str = "silu"
    residual: bool | str = "auto"

    groups = property(lambda self: self.hidden // self.conv_weight.shape[1], doc="Of the conv.")

    def __post_init__(self):
        expanded = {"expand_weight": "hidden C", "expand_bias": "hidden", "conv_weight": "hidden g R S", "conv_bias": "hidden"}
        check_arrays(self, **expanded, project_weight="K hidden", project_bias="K")
        check_groups(self)
        _check_gates(self)
        settle_window(self)
        one_of("activation", self.activation, ACTIVATIONS)
        settle_residual(self)

    def steps(self):
        """expand, conv, those of squeeze-excitation, project."""
        expand = conv("expand", INPUT), activation("expand", self.activation)
        middle = conv("conv", "expand_activation", self.conv_weight.shape[2:], self.stride, self.groups, pads=self.pads)
        return [*expand, middle, activation("conv", self.activation), *_gated_projection(self, "conv_activation")]


@record
class SeparableBlock(Block):
    """Depthwise separable convolution: [x +] project_activation(project(se(activation(conv(x))))), conv grouped (g = 1: depthwise), of `stride`.

    conv_weight (C, g, R, S), conv_bias (C,), project_weight (K, C), project_bias (K,); se: a SqueezeExcite of C channels, or None. activation,
    project_activation: of ACTIVATIONS; None, which becomes "identity", is none. residual "auto" adds x where stride = 1, K = C and
    project_activation is none; after construction it is a bool. x is added to the projection's sums, so not where those have an activation.

    MobileNetV1 has project_activation="relu" (Howard et al., arXiv 1704.04861). Without it this is MBConv without its expansion, the first stage
    of MobileNetV2, MobileNetV3 and EfficientNet.
    """

    conv_weight: np.ndarray
    conv_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None
    se: SqueezeExcite | None = None
    stride: int | tuple = 1
    pads: tuple | None = None
    activation: str | None = "relu"
    project_activation: str | None = None
    residual: bool | str = "auto"

    c = property(lambda self: self.conv_weight.shape[0], doc="Channels in.")
    groups = property(lambda self: self.c // self.conv_weight.shape[1], doc="Of the conv.")

    def __post_init__(self):
        check_arrays(self, conv_weight="C g R S", conv_bias="C", project_weight="K C", project_bias="K")
        check_groups(self)
        _check_gates(self)
        settle_window(self)
        for name in ("activation", "project_activation"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, "identity")
            one_of(name, getattr(self, name), ACTIVATIONS)
        settle_residual(self)

    def steps(self):
        """conv, those of squeeze-excitation, project; an activation that is none is no step."""
        first = [conv("conv", INPUT, self.conv_weight.shape[2:], self.stride, self.groups, pads=self.pads)]
        if self.activation != "identity":
            first.append(activation("conv", self.activation))
        return [*first, *_gated_projection(self, first[-1].name)]


@record
class FusedMBConvBlock(Block):
    """FusedMBConv: x + project(se(activation(conv(x)))), conv dense, of `stride`. Lavin's Fig. 6 (a), without squeeze-excitation.

    conv_weight (hidden, C, R, S), conv_bias (hidden,), project_weight (K, hidden), project_bias (K,). se, residual as in MBConvBlock.
    """

    conv_weight: np.ndarray
    conv_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None
    se: SqueezeExcite | None = None
    stride: int | tuple = 1
    pads: tuple | None = None
    activation: str = "silu"
    residual: bool | str = "auto"

    c = property(lambda self: self.conv_weight.shape[1], doc="Channels in.")

    def __post_init__(self):
        check_arrays(self, conv_weight="hidden C R S", conv_bias="hidden", project_weight="K hidden", project_bias="K")
        _check_gates(self)
        settle_window(self)
        one_of("activation", self.activation, ACTIVATIONS)
        settle_residual(self)

    def steps(self):
        """conv, those of squeeze-excitation, project."""
        first = conv("conv", INPUT, self.conv_weight.shape[2:], self.stride, pads=self.pads), activation("conv", self.activation)
        return [*first, *_gated_projection(self, "conv_activation")]


@record
class FasterNetBlock(Block):
    """FasterNet: x + project(activation(expand(partial_conv(x)))), the conv on the first Cp channels, without bias.

    conv_weight (Cp, Cp, R, S), 3x3 and Cp = C / 4 in FasterNet, expand_weight (hidden, C), expand_bias (hidden,), that of the folded
    batch norm, project_weight (C, hidden), project_bias (C,), None in FasterNet. Source: its paper, its code.
    """

    conv_weight: np.ndarray
    expand_weight: np.ndarray
    expand_bias: np.ndarray | None
    project_weight: np.ndarray
    project_bias: np.ndarray | None = None
    activation: str = "relu"

    convolved = property(lambda self: self.conv_weight.shape[0], doc="Cp, the channels convolved.")

    def __post_init__(self):
        expanded = {"expand_weight": "hidden C", "expand_bias": "hidden", "project_weight": "C hidden", "project_bias": "C"}
        check_arrays(self, conv_weight="Cp Cp R S", **expanded)
        if self.convolved > self.c:
            raise ValueError(f"conv_weight of shape {self.conv_weight.shape}: must convolve at most the {self.c} channels of expand_weight")
        one_of("activation", self.activation, ACTIVATIONS)

    def steps(self):
        """conv (partial, its output a new tensor of all channels), expand, project."""
        return [partial_conv("conv", INPUT), *self._expanded("conv")]
