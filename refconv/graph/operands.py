"""Whether a weight and a bias fit what they meet, as far as sizes are known."""

from typing import NamedTuple

from refconv.graph.model import printable, sizes_text

CHANNELS = 1


class Sizes(NamedTuple):
    """An operand: what it is called, and its sizes, None for one that is not known; None for any number of them."""

    name: str
    sizes: tuple | None

    def __str__(self):
        return f"{printable(self.name)} [{'?' if self.sizes is None else sizes_text(self.sizes)}]"

    def size(self, axis):
        """Of an axis; None where it is not known."""
        return self.sizes[axis] if self.sizes is not None and -len(self.sizes) <= axis < len(self.sizes) else None


def conv_fault(x, weight, bias, group, kernel_shape=None):
    """Why there is no convolution of x by a weight (K, C / group, ...) with a bias, all Sizes; None where there is one, or may be."""
    if fault := _axes_fault(x, weight):
        return fault
    if kernel_shape and weight.sizes is not None and tuple(kernel_shape) != tuple(weight.sizes[2:]):
        return f"kernel_shape = {list(kernel_shape)}: must be that of {weight}, {list(weight.sizes[2:])}"
    channels, width, made = x.size(CHANNELS), weight.size(CHANNELS), weight.size(0)
    if group < 1 or (None not in (channels, width) and channels != width * group):
        return f"{weight} with group = {group}: must take {_channels_of(x)}"
    if made is not None and made % group:
        return f"{weight} with group = {group}: must make a multiple of {group} channels"
    return vector_fault(bias, made, "output channel")


def conv_transpose_fault(x, weight, bias, group):
    """The same of a transposed convolution, by a weight (C, K / group, ...)."""
    if fault := _axes_fault(x, weight):
        return fault
    channels, taken, width = x.size(CHANNELS), weight.size(0), weight.size(CHANNELS)
    if group < 1 or (None not in (channels, taken) and channels != taken) or (taken is not None and taken % group):
        return f"{weight} with group = {group}: must take {_channels_of(x)}, a multiple of group"
    return vector_fault(bias, None if width is None else width * group, "output channel")


def vector_fault(vector, length, what):
    """Why Sizes are not one number for each of so many channels, called `what`; None where they are, or may be."""
    if vector.sizes is None or (len(vector.sizes) == 1 and (length is None or vector.sizes[0] in (length, None))):
        return None
    return f"{vector}: must be [{'?' if length is None else length}], one for each {what}"


def broadcast_fault(one, sizes):
    """Why Sizes cannot be broadcast to some sizes; None where they can, or may."""
    if one.sizes is None or sizes is None:
        return None
    pairs = zip(reversed(one.sizes), reversed(sizes), strict=False)
    if len(one.sizes) <= len(sizes) and all(a in (1, None, b) or b is None for a, b in pairs):
        return None
    return f"{one}: must be [{sizes_text(sizes)}], or 1, from the last size on"


def _axes_fault(x, weight):
    if None in (x.sizes, weight.sizes) or len(x.sizes) == len(weight.sizes):
        return None
    return f"{weight}: must have {len(x.sizes)} axes, as its input has"


def _channels_of(x):
    return f"the {'channels' if x.size(CHANNELS) is None else f'{x.size(CHANNELS)} channels'} of its input"
