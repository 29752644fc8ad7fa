"""Operands in memory with a shape: a place, pixels, packed weights. Small records instead of loose buffers, positions and strides."""

from typing import Any, NamedTuple

from numba import types
from numba.extending import overload

from refconv.jit import routine
from refconv.routine_code import INLINED


class Place(NamedTuple):
    """A position in a buffer, in elements."""

    buffer: Any
    at: int


class View(NamedTuple):
    """Pixels in a buffer: channel 0 of pixel i lies at `at` + i * `pitch`."""

    buffer: Any
    at: int
    pitch: int


class Weights(NamedTuple):
    """Packed weights: the block of vector v of the output channels, or of a slide tap v, begins at `at` + v * `stride`; None: taps side by side."""

    buffer: Any
    at: int
    stride: Any


class Ahead(NamedTuple):
    """What a sum prefetches: the line of element `at` + i * `step` with its step i, into the cache of `level` (1 or 2, Static)."""

    buffer: Any
    at: int
    step: int
    level: Any


class Below(NamedTuple):
    """How a slide goes on down the rows of a window: `rows` of them, and from one to the next so many elements of pixels and of taps (None: a row's
    taps follow those of the row before)."""

    rows: int
    pixels: int
    taps: Any


def moved(place, elements):
    """The Place so many elements further on; None stays None."""
    return place if place is None else Place(place.buffer, place.at + elements)


@overload(moved, jit_options=INLINED)
def _moved(place, elements):
    if place == types.none:
        return lambda place, elements: None
    return lambda place, elements: Place(place.buffer, place.at + elements)


@routine
def shifted(view, elements):
    """The View whose pixels begin so many elements further on: at another pixel, or at another channel."""
    return View(view.buffer, view.at + elements, view.pitch)
