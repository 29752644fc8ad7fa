"""What pieces of kernels are given besides places, pixels and weights (refconv/tile/operands.py), and how they treat what may be absent.

Where a piece is used without an operand, always, the operand is None: its type says so, and no code is made for it. One that may be missing
from one call to the next (a bias, a residual) says so at run time, since two types would compile every kernel twice: an empty bias, a Start
that is not `given`.
"""

from typing import Any, NamedTuple

from refconv.jit import routine
from refconv.static import Static
from refconv.tile.instructions import load, zero
from refconv.tile.operands import Place, View

ONE = Static(1)
L2 = Static(2)


class LayerOperands(NamedTuple):
    """What the kernel of a layer is given: the input, its packed weight, its bias, a residual that lies as the output does (of length 0: none),
    flat buffers; its Activations."""

    x: Any
    weight: Any
    bias: Any
    residual: Any
    activations: Any


class ConvFirstOperands(NamedTuple):
    """What the kernel of a block that begins with a convolution is given: the input, the packed weights, the biases (of length 0: none)."""

    x: Any
    conv: Any
    expand: Any
    project: Any
    conv_bias: Any
    expand_bias: Any
    project_bias: Any


class Start(NamedTuple):
    """What sums begin with, where it is `given`: else with zero."""

    pixels: View
    given: bool


class Source(NamedTuple):
    """Pixels in the type of sums. Where they are `fresh`, a tile of them is widened from the contiguous pixels at `raw` as it is met."""

    pixels: View
    raw: Place
    fresh: bool


class Span(NamedTuple):
    """Pixels first <= i < last, `depth` channels of each."""

    first: int
    last: int
    depth: int


class Prefetch(NamedTuple):
    """What is prefetched into the L2 during a sum: `step` more elements of the buffer with every product, from `at` on.

    They lie in runs of `run` elements; the starts of neighbouring runs are `jump` apart. A contiguous stretch is one run (WHOLE).
    """

    buffer: Any
    at: int
    step: int
    run: int
    jump: int


WHOLE = 1 << 60
"""The run of a prefetched stretch that is contiguous."""


@routine
def as_source(view):
    """The Source of pixels that are there already."""
    return Source(view, Place(view.buffer, view.at), False)


@routine
def first_sum(start, i, few, columns, tile, like):
    """The accumulators of the tile that begins with pixel i: those of `start`, of which `columns` channels exist, or zeros.

    few: whether all its rows are pixel i, as where there are fewer pixels than rows.
    """
    acc = zero(tile.rows, tile.vectors, like)
    if start is not None:  # noqa: SIM102  the compiler decides a test that stands alone, and leaves out what depends on it
        if start.given:
            pixels = start.pixels
            acc = load(tile.rows, tile.vectors, pixels.buffer, pixels.at + i * pixels.pitch, 0 if few else pixels.pitch, columns)
    return acc
