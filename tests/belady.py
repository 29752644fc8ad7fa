"""The least misses any replacement could have: Belady's OPT for one fully associative level, over a trace that is known to its end.

When a line has to go, it is the one whose next use is farthest away (Belady, "A study of replacement algorithms for a virtual-storage
computer", IBM Systems Journal 5(2), 1966; that this is optimal: Mattson et al., IBM Systems Journal 9(2), 1970). A level cannot refuse a line:
each miss installs it. OPT has the fewest misses; it need not have the fewest write-backs, which are counted but no bound.
"""

import functools
import heapq

import numpy as np

from refconv.jit import kernel
from sim.hierarchy.words import FLUSHED, KINDS, LOAD_MISSES, LOADS, TENSOR_BITS, WRITEBACKS

ABSENT = -1
counting = functools.partial(kernel, _nrt=True)
"""A kernel that allocates, for which Numba has to count references."""


def optimal(events, ways, line_bytes, tensors):
    """Lines, int64 (tensors, 6), of sim.hierarchy.words' LOADS ... FLUSHED, of a write-back, write-allocate level of `ways` lines under OPT.

    events: int64, line << 1 | is_store, tensor bits in the line, in the order of the trace (sim/hierarchy/hierarchy.py). Memory: some 40 bytes
    an event. ValueError if ways is not positive.
    """
    if ways < 1:
        raise ValueError(f"ways = {ways}: must be a positive integer")
    events = np.ascontiguousarray(events, np.int64)
    lines, numbers = np.unique(events >> 1, return_inverse=True)
    counts = np.zeros((tensors, KINDS), np.int64)
    tensor = lines >> TENSOR_BITS - (line_bytes.bit_length() - 1)
    if len(lines) and not 0 <= tensor.min() <= tensor.max() < tensors:
        raise ValueError(f"tensors = {tensors}: must be more than {tensor.max()}, the largest number of a tensor in events")
    _belady(numbers, events & 1, next_uses(numbers, len(lines)), tensor, ways, counts)
    return counts


@counting
def next_uses(numbers, lines):
    """For each access of lines numbered from 0: when its line is used next; beyond the end, and all different, where it is not. Backwards."""
    n = len(numbers)
    uses, coming = np.empty(n, np.int64), np.arange(n, n + lines)
    for t in range(n - 1, -1, -1):
        uses[t] = coming[numbers[t]]
        coming[numbers[t]] = t
    return uses


@counting
def _belady(numbers, writes, uses, tensor, ways, counts):
    """The second pass, forwards: a heap of the next uses of the lines held, the farthest first.

    An entry of a line used since is stale, but it is the past: it never comes to the top before one that is still to come.
    """
    n, held = len(numbers), 0
    dirty = np.full(len(tensor), ABSENT, np.int64)
    heap = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for t in range(n):
        line, write = numbers[t], writes[t]
        of = counts[tensor[line]]
        of[LOADS + write] += 1
        if dirty[line] == ABSENT:
            of[LOAD_MISSES + write] += 1
            dirty[line] = 0
            if held == ways:
                victim = heapq.heappop(heap)[1]
                counts[tensor[victim], WRITEBACKS] += dirty[victim]
                dirty[victim] = ABSENT
            else:
                held += 1
        dirty[line] |= write
        heapq.heappush(heap, (-uses[t], line))
    for line in range(len(tensor)):
        if dirty[line] == 1:
            counts[tensor[line], FLUSHED] += 1
