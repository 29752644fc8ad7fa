"""Buffers in one piece of memory, by when they live: two that never live at once may lie in the same place.

By size, largest first, each at the lowest place that is free while it lives (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
Inference", 2020, greedy by size).
"""

from typing import NamedTuple

import numpy as np

from refconv.weights.packed import LINE_BYTES, ceil_div


class Lifetime(NamedTuple):
    """A buffer of so many bytes that lives from call `first` to call `last`."""

    nbytes: int
    first: int
    last: int


def placed(lifetimes, line_bytes=LINE_BYTES):
    """({name: offset in bytes}, bytes of the whole) of {name: Lifetime}; offsets lie on cache lines, of at least LINE_BYTES."""
    line_bytes = max(line_bytes, LINE_BYTES)
    order = sorted(lifetimes, key=lambda name: -lifetimes[name].nbytes)
    first, last, starts, ends = (np.zeros(len(order), np.int64) for _ in range(4))
    offsets, whole = {}, 0
    for count, name in enumerate(order):
        size = ceil_div(lifetimes[name].nbytes, line_bytes) * line_bytes
        beside = np.flatnonzero((first[:count] <= lifetimes[name].last) & (last[:count] >= lifetimes[name].first))
        at = 0
        for i in beside[np.argsort(starts[beside], kind="stable")]:
            if starts[i] - at >= size:
                break
            at = max(at, int(ends[i]))
        first[count], last[count], starts[count], ends[count] = lifetimes[name].first, lifetimes[name].last, at, at + size
        offsets[name], whole = at, max(whole, at + size)
    return offsets, whole
