"""The cache hierarchy: its state, and ONE loop that runs a chunk of accesses through it.

Semantics: set-associative levels, LRU, write-back, write-allocate, neither inclusive nor exclusive (NINE); one line size.
- A load or store hit makes its line the most recent; a store also makes it dirty.
- A miss loads the line from the next level, then installs it; the evicted line, if dirty, is stored to the next level.
- A line written back is whole: a level that lacks it installs it without reading it from below.
- An access that straddles lines touches each of them: one event a line.
- At the end `flush` writes every dirty line to memory; those bytes are counted apart from evictions.
There is no prefetcher, and addresses are used as they are (no paging).
"""

from typing import NamedTuple

import numpy as np

from refconv.jit import kernel, routine

TENSOR_BITS = 40
"""An address is tensor << TENSOR_BITS | offset: the line tells the tensor it belongs to."""
LOADS, STORES, LOAD_MISSES, STORE_MISSES, WRITEBACKS, FLUSHED = range(6)
READ, WRITTEN, WRITTEN_BY_FLUSH = range(3)


class Hierarchy(NamedTuple):
    """State and counters of all levels, nearest first.

    tags: per way (line + 1) << 1 | dirty, most recent first, sets and levels end to end; 0 is empty. start: first tag of each level.
    mask: sets - 1 where sets is a power of two, else -1. counts: (levels, tensors, 6) lines. dram: (tensors, 3) lines.
    shift: log2 of the line size.
    """

    tags: np.ndarray
    start: np.ndarray
    sets: np.ndarray
    mask: np.ndarray
    ways: np.ndarray
    counts: np.ndarray
    dram: np.ndarray
    shift: int


def make_hierarchy(levels, line_bytes, tensors):
    """An empty hierarchy of [(sets, ways), ...] for `tensors` tensors."""
    sets, ways = (np.array(values, np.int64) for values in zip(*levels, strict=True))
    slots = sets * ways
    mask = np.where(sets & (sets - 1) == 0, sets - 1, -1)
    counts, dram = np.zeros((len(levels), tensors, 6), np.int64), np.zeros((tensors, 3), np.int64)
    tags = np.zeros(slots.sum(), np.int64)  # zero pages: a set that no line maps to costs nothing
    return Hierarchy(tags, np.cumsum(slots) - slots, sets, mask, ways, counts, dram, int(line_bytes).bit_length() - 1)


@routine
def tensor_of(h, line):
    """The tensor a line belongs to."""
    return line >> (TENSOR_BITS - h.shift)


@routine
def set_start(h, level, line):
    """The first tag of the set of a line."""
    mask = h.mask[level]
    index = line & mask if mask >= 0 else line % h.sets[level]
    return h.start[level] + index * h.ways[level]


@routine
def touch(h, level, line, write):
    """Whether the level holds the line; if so it becomes the most recent, and dirty if written."""
    s = set_start(h, level, line)
    for w in range(h.ways[level]):
        tag = h.tags[s + w]
        if tag >> 1 == line + 1:
            for i in range(s + w, s, -1):
                h.tags[i] = h.tags[i - 1]
            h.tags[s] = tag | write
            return True
    return False


@routine
def install(h, level, line, write):
    """Make the line the most recent of its set; returns the tag it drives out (0: none)."""
    s = set_start(h, level, line)
    last = s + h.ways[level] - 1
    victim = h.tags[last]
    for i in range(last, s, -1):
        h.tags[i] = h.tags[i - 1]
    h.tags[s] = (line + 1) << 1 | write
    return victim


@kernel
def write_back(h, level, victim):
    """A tag driven out of `level`: if dirty, store its line to the levels below, as far as that drives out further dirty lines."""
    while victim & 1:
        line = (victim >> 1) - 1
        tensor = tensor_of(h, line)
        h.counts[level, tensor, WRITEBACKS] += 1
        level += 1
        if level == len(h.ways):
            h.dram[tensor, WRITTEN] += 1
            return
        h.counts[level, tensor, STORES] += 1
        if touch(h, level, line, 1):
            return
        h.counts[level, tensor, STORE_MISSES] += 1
        victim = install(h, level, line, 1)


@kernel
def fetch(h, line, tensor):
    """The line misses the first level: load it from where it is into every level between, then write back what that drives out."""
    level, levels = 1, len(h.ways)
    while level < levels:
        h.counts[level, tensor, LOADS] += 1
        if touch(h, level, line, 0):
            break
        h.counts[level, tensor, LOAD_MISSES] += 1
        level += 1
    if level == levels:
        h.dram[tensor, READ] += 1
    for i in range(level - 1, 0, -1):
        write_back(h, i, install(h, i, line, 0))


@kernel
def run(h, events, count):
    """Send events[:count] through the hierarchy; an event is line << 1 | is_store."""
    ways, mask, start, tags = h.ways[0], h.mask[0], h.start[0], h.tags
    for e in range(count):
        event = events[e]
        line, write = event >> 1, event & 1
        tensor = tensor_of(h, line)
        h.counts[0, tensor, write] += 1
        s = start + (line & mask) * ways if mask >= 0 else set_start(h, 0, line)
        if tags[s] >> 1 == line + 1:
            tags[s] |= write
        elif not touch(h, 0, line, write):
            h.counts[0, tensor, LOAD_MISSES + write] += 1
            fetch(h, line, tensor)
            write_back(h, 0, install(h, 0, line, write))


@kernel
def flush(h):
    """Write every dirty line to memory, each once: from the first level that holds it through those below, which it cleans."""
    for level in range(len(h.ways)):
        for slot in range(h.start[level], h.start[level] + h.sets[level] * h.ways[level]):
            tag = h.tags[slot]
            if tag & 1:
                line = (tag >> 1) - 1
                tensor = tensor_of(h, line)
                h.tags[slot] = tag ^ 1
                h.counts[level, tensor, FLUSHED] += 1
                for below in range(level + 1, len(h.ways)):
                    s = set_start(h, below, line)
                    for i in range(s, s + h.ways[below]):
                        if h.tags[i] >> 1 == line + 1:
                            h.tags[i] &= -2
                h.dram[tensor, WRITTEN_BY_FLUSH] += 1
