"""The shapes that compiled code is made for: register tiles of products, strips of sliding windows. What the compiler knows of a tiling.

Each says what is legal for it: `check(where, ...)` raises a ValueError that names the field of the tiling, `where` being the shape's place
in it ("tile", "conv", ...).
"""

from typing import NamedTuple

from refconv.static import Static, static_record
from refconv.weights.packed import MOST_VECTORS, ceil_div

MOST_ROWS = 28
"""The most rows of any tile or strip."""


class IllegalField(ValueError):
    """The field `where` of a tiling is not what `rule` says; follows: the field from which that follows, None where it is the problem alone."""

    def __init__(self, where, value, rule, follows=None):
        super().__init__(f"tiling.{where} = {value!r}: must be {rule}")
        self.where, self.value, self.rule, self.follows = where, value, rule, follows


def require(legal, where, value, rule, follows=None):
    """An IllegalField, unless `legal`."""
    if not legal:
        raise IllegalField(where, value, rule, follows)


def most_vectors(channels, lanes):
    """The widest tile for so many output channels."""
    return min(MOST_VECTORS, ceil_div(channels, lanes))


def tail_of(channels, vectors, lanes):
    """Vectors of the last block of so many channels where each but the last has `vectors`."""
    return (ceil_div(channels, lanes) - 1) % vectors + 1


def check_rows(where, rows, pixels):
    """ValueError unless a tile or strip of a layer has at most as many rows as there are pixels; those of a block may have more (MOST_ROWS)."""
    most = min(pixels, MOST_ROWS)
    require(rows <= most, f"{where}.rows", rows, f"from 1 to {most}")


@static_record
class Tile(NamedTuple):
    """rows x vectors accumulators of a product: pixels x vectors of output channels; `tail` vectors in the last block of channels."""

    rows: Static
    vectors: Static
    tail: Static

    kind = "dense"

    @property
    def narrow(self):
        """The tile of the last block of channels."""
        return Tile(self.rows, self.tail, self.tail)

    def check(self, where, pixels, channels, lanes):
        """ValueError unless it is legal for products of `pixels` pixels or more and so many output channels (of a group)."""
        widest = most_vectors(channels, lanes)
        check_rows(where, self.rows, pixels)
        require(self.vectors <= widest, f"{where}.vectors", self.vectors, f"from 1 to {widest}")
        tail = tail_of(channels, self.vectors, lanes)
        require(self.tail == tail, f"{where}.tail", self.tail, f"{tail} for this problem", f"{where}.vectors")


def tile_of(rows, vectors, channels, lanes):
    """The Tile of rows x vectors for so many output channels (of a group)."""
    return Tile(*map(Static, (rows, vectors, tail_of(channels, vectors, lanes))))


MOST_TAPS = 7
"""Windows up to this width keep their weights in registers."""


def slide_shape(width, stride, dilation):
    """(taps, stride) of the slides of one kernel row: all taps at once where they are dense and few, else one by one."""
    if dilation == 1 and 1 < width <= MOST_TAPS and stride <= 2:
        return width, stride
    return 1, 1


def legal_slides(strip, conv):
    """[(taps, stride)] of the slides that a strip may have on the Conv2d `conv`: the rule's own, `strip`, one by one, and all of slide_shape."""
    return sorted({(1, 1), (int(strip.taps), int(strip.stride)), slide_shape(conv.s, conv.stride_w, conv.dilation_w)})


def check_strip(where, strip, chosen, conv, pixels):
    """ValueError unless a strip is legal for rows of the Conv2d `conv`, of at least `pixels` pixels; chosen: the rule's, whose groups are the only
    legal ones."""
    check_rows(where, strip.rows, pixels)
    legal, shape = legal_slides(chosen, conv), (int(strip.taps), int(strip.stride))
    require(shape in legal, f"{where}.taps, .stride", shape, f"one of {legal}")
    for name in strip._fields[3:]:
        value = getattr(chosen, name)
        require(getattr(strip, name) == value, f"{where}.{name}", getattr(strip, name), f"{value} for this problem")


@static_record
class DepthwiseStrip(NamedTuple):
    """A strip of `rows` outputs under a window of which `taps` columns, `stride` pixels apart from output to output, are met at once.

    width: the vectors of sums of an output, of every kind of strip.
    """

    rows: Static
    taps: Static
    stride: Static

    inputs = width = 1
    kind = "depthwise"


@static_record
class GroupedStrip(NamedTuple):
    """As DepthwiseStrip, with rows x inputs accumulators: a vector holds `groups` groups of `inputs` channels."""

    rows: Static
    taps: Static
    stride: Static
    inputs: Static
    groups: Static

    kind = "grouped"

    @property
    def width(self):
        """As of DepthwiseStrip."""
        return self.inputs


@static_record
class SpreadStrip(NamedTuple):
    """As DepthwiseStrip; a vector holds `groups` groups of `inputs` -> `outputs` channels."""

    rows: Static
    taps: Static
    stride: Static
    inputs: Static
    outputs: Static
    groups: Static

    kind, width = "spread", 1


@static_record
class SumTile(NamedTuple):
    """Sums whose lanes are added in runs of `width`: rows pixels x vectors outputs, or in one row the vectors of as many pixels as lanes."""

    rows: Static
    vectors: Static
    width: Static

    taps = stride = 1
    kind = "sums"

    def check(self, where, chosen):
        """ValueError unless it is legal where the rule's is `chosen`: it may have fewer rows."""
        require(self.rows <= chosen.rows, f"{where}.rows", self.rows, f"from 1 to {chosen.rows}")
        for name in ("vectors", "width"):
            value = getattr(chosen, name)
            require(getattr(self, name) == value, f"{where}.{name}", getattr(self, name), f"{value} for this problem")


def pixels_of_outputs(tile, lanes):
    """Pixels of a vector of outputs of a SumTile."""
    return lanes if tile.width < lanes else int(tile.rows)
