"""A residual block on an input, in numbers that compiled kernels understand: what its fused kernels are given as their problem."""

from typing import NamedTuple

from refconv.jit import routine
from refconv.problem.conv import Conv2d
from refconv.static import Static

PROJECTED, POOLED, SPILLED = 0, 1, 2
"""What a call of a kernel of blocks with gates makes: the block's output; the sums for the gates alone; those sums and the hidden layer."""


class BlockProblem(NamedTuple):
    """A block on n images of h x w pixels and c channels: `source` channels are expanded to `hidden`, projected to k.

    residual, norm, gated: whether the input is added, the convolved pixels are normalised, and the hidden channels have gates (0 or 1);
    result: what a call makes, PROJECTED, POOLED or SPILLED; eps: of the norm; p, q: output rows and columns; convolved, r, s, stride_h, stride_w,
    pads, groups: the convolution's channels in, kernel, strides, padding and groups (FFN: none, zeros and strides 1); conv_size: elements of its
    packed weight; activation, project_activation: codes, of the hidden channels' and of the output's.
    """

    n: int
    h: int
    w: int
    p: int
    q: int
    c: int
    source: int
    hidden: int
    k: int
    residual: int
    norm: int
    gated: int
    result: int
    convolved: int
    r: int
    s: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    pad_bottom: int
    pad_right: int
    groups: int
    conv_size: int
    eps: float
    activation: Static
    project_activation: Static


class GateProblem(NamedTuple):
    """n images of `hidden` channels, squeezed to `squeezed`; sums in `parts` parts over `pixels` pixels in all; the two activations."""

    n: int
    hidden: int
    squeezed: int
    parts: int
    pixels: int
    activation: Static
    gate: Static

    p = property(lambda self: 1, doc="Gates are the same for all rows.")
    q = property(lambda self: 1, doc="And columns.")
    k = property(lambda self: self.hidden, doc="Gates of an image.")


class ResponseProblem(NamedTuple):
    """n images of `hidden` channels whose norms, from sums in `parts` parts, are taken relative to their mean + eps."""

    n: int
    hidden: int
    parts: int
    eps: float

    p = property(lambda self: 1, doc="Gates are the same for all rows.")
    q = property(lambda self: 1, doc="And columns.")
    k = property(lambda self: self.hidden, doc="Gates of an image.")


@routine
def _spatial(block, c, k, groups):
    """The block's convolution, of c to k channels."""
    n, h, w, stride_h, stride_w = block.n, block.h, block.w, block.stride_h, block.stride_w
    top, left, bottom, right = block.pad_top, block.pad_left, block.pad_bottom, block.pad_right
    return Conv2d(n, c, h, w, k, block.r, block.s, stride_h, stride_w, top, left, bottom, right, 1, 1, groups)


@routine
def first_conv(block):
    """The convolution of the first `convolved` channels."""
    return _spatial(block, block.convolved, block.convolved, block.groups)


@routine
def hidden_conv(block):
    """The convolution that expands: c to `hidden` channels."""
    return _spatial(block, block.c, block.hidden, 1)


@routine
def middle_conv(block):
    """The convolution of the hidden channels."""
    return _spatial(block, block.hidden, block.hidden, block.groups)
