"""A residual block on an input, in numbers that compiled kernels understand: what its fused kernels are given as their problem."""

from typing import NamedTuple

from refconv.jit import routine
from refconv.problem.conv import Conv2d, same_pads
from refconv.static import Static

PROJECTED, POOLED, SPILLED = 0, 1, 2
"""What a call of a kernel of blocks with gates makes: the block's output; the sums for the gates alone; those sums and the hidden layer."""


class BlockProblem(NamedTuple):
    """A block on n images of h x w pixels and c channels: `source` channels are expanded to `hidden`, projected to k.

    residual, norm, gated: whether the input is added, the convolved pixels are normalised, and the hidden channels have gates (0 or 1);
    result: what a call makes, PROJECTED, POOLED or SPILLED; eps: of the norm; convolved, r, s, stride, groups: the convolution's channels in,
    kernel, stride and groups (FFN: none, zeros and stride 1); conv_size: elements of its packed weight; activation, project_activation: codes, of
    the hidden channels' and of the output's.
    """

    n: int
    h: int
    w: int
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
    stride: int
    groups: int
    conv_size: int
    eps: float
    activation: Static
    project_activation: Static

    p = property(lambda self: -(-self.h // self.stride), doc="Output rows.")
    q = property(lambda self: -(-self.w // self.stride), doc="Output columns.")


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


@routine
def _padded(block, c, k, stride, groups):
    """The block's convolution of c to k channels, padded so that ceil(h / stride) rows come out."""
    (top, bottom), (left, right) = same_pads(block.r, 1), same_pads(block.s, 1)
    return Conv2d(block.n, c, block.h, block.w, k, block.r, block.s, stride, stride, top, left, bottom, right, 1, 1, groups)


@routine
def first_conv(block):
    """The convolution of the first `convolved` channels, stride 1, same padding."""
    return _padded(block, block.convolved, block.convolved, 1, block.groups)


@routine
def hidden_conv(block):
    """The convolution that expands: c to `hidden` channels, padded so that ceil(h / stride) rows come out."""
    return _padded(block, block.c, block.hidden, block.stride, 1)


@routine
def middle_conv(block):
    """The convolution of the hidden channels, padded so that ceil(h / stride) rows come out."""
    return _padded(block, block.hidden, block.hidden, block.stride, block.groups)
