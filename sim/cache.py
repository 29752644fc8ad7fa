"""The cache hierarchy: its state, and ONE loop that runs a chunk of accesses through it.

Semantics: set-associative levels, LRU, write-back, write-allocate, neither inclusive nor exclusive (NINE); one line size.
- A load or store hit makes its line the most recent; a store also makes it dirty.
- A miss loads the line from the next level, then installs it; the evicted line, if dirty, is stored to the next level.
- A line written back is whole: a level that lacks it installs it without reading it from below.
- An access that straddles lines touches each of them: one event a line.
- At the end `flush` writes every dirty line to memory; those bytes are counted apart from evictions.
There is no prefetcher, and addresses are used as they are (no paging).
"""

import numpy as np

from refconv.jit import kernel, routine
from sim.watch import NOBODY, call

TENSOR_BITS = 40
"""An address is tensor << TENSOR_BITS | place in memory: the line tells the tensor it belongs to, the place its set."""
LOADS, STORES, LOAD_MISSES, STORE_MISSES, WRITEBACKS, FLUSHED = range(6)
READ, WRITTEN, WRITTEN_BY_FLUSH = range(3)
CHUNK = 1 << 15
"""Events gathered before they are run through the caches: 256 KiB, so that they stay in the real L2."""
MOST_EVENTS = 1 << 14
"""More than one instruction notes: a tile has at most 28 rows of 4 vectors of 32 elements."""

# The state is one flat int64 array, so that a traced buffer is one pointer wide: a header, the levels' geometry, the counters,
# the first and last line touched of each tensor, the tags driven out of each level by the miss at hand, the events, the tags.
# A tag is (line + 1) << 1 | dirty, most recent first in each set; 0 is empty.
LEVELS, TENSORS, SHIFT, GATHERED, EVENTS_AT, COUNTS_AT, DRAM_AT, RANGE_AT, VICTIMS_AT, TAGS_AT, WATCHER, LEVEL_AT = range(12)
START, SETS, MASK, WAYS, SET_STEP, WAY_STEP = range(6)
GEOMETRY = 6
LARGE_TAGS = 1 << 17
"""A level of more tags (1 MiB of them) keeps the most recent of all sets side by side, then the next of all sets, and so on: a layer
that fits touches each set once, and then 8 bytes of it instead of a line or two."""
HIT = -1


class Hierarchy:
    """Caches [(sets, ways), ...], nearest first, empty; all lines of line_bytes; counters for `tensors` tensors.

    state: what the compiled loop works on. counts: lines, (levels, tensors, 6), of LOADS ... FLUSHED; dram: lines, (tensors, 3), of READ,
    WRITTEN (evicted) and WRITTEN_BY_FLUSH: views of the state.
    """

    def __init__(self, levels, line_bytes, tensors):
        n = len(levels)
        counts_at = LEVEL_AT + GEOMETRY * n
        dram_at = counts_at + n * tensors * 6
        range_at = dram_at + tensors * 3
        victims_at = range_at + tensors * 2
        events_at = victims_at + n
        tags_at = events_at + CHUNK + MOST_EVENTS
        slots = [sets * ways for sets, ways in levels]
        self.state = np.zeros(tags_at + sum(slots), np.int64)  # zero pages: a set that no line maps to costs nothing
        self.line_bytes = line_bytes
        self.state[:LEVEL_AT] = n, tensors, line_bytes.bit_length() - 1, 0, events_at, counts_at, dram_at, range_at, victims_at, tags_at, NOBODY
        for level, (sets, ways) in enumerate(levels):
            mask = sets - 1 if sets & (sets - 1) == 0 else -1
            geometry = LEVEL_AT + GEOMETRY * level
            steps = (1, sets) if slots[level] > LARGE_TAGS else (ways, 1)
            self.state[geometry : geometry + GEOMETRY] = tags_at + sum(slots[:level]), sets, mask, ways, *steps
        self.counts = self.state[counts_at:dram_at].reshape(n, tensors, 6)
        self.dram = self.state[dram_at:range_at].reshape(tensors, 3)
        self._ranges = self.state[range_at:victims_at].reshape(tensors, 2)
        self.reset()

    def reset(self):
        """Counters back to zero. The caches are not touched: new ones, and those of a finished run, are empty."""
        self.counts[...], self.dram[...], self._ranges[...] = 0, 0, (1 << 62, -1)

    def access(self, lines, writes):
        """Run accesses: line numbers (tensor bits included) and 0 or 1 for load or store."""
        events = np.asarray(lines, np.int64) << 1 | np.asarray(writes, np.int64)
        at = self.state[EVENTS_AT]
        for first in range(0, len(events), CHUNK):
            chunk = events[first : first + CHUNK]
            self.state[at : at + len(chunk)] = chunk
            self.state[GATHERED] = len(chunk)
            run(self.state)

    def gathered(self):
        """The events that the next `run` takes: a view of the state."""
        at = self.state[EVENTS_AT]
        return self.state[at : at + self.state[GATHERED]]

    def keep(self, events):
        """Of those, only that many, from the first on, are run."""
        self.state[GATHERED] = events

    def finish(self):
        """Run the events still gathered, then write every dirty line to memory; the caches are empty afterwards."""
        run(self.state)
        flush(self.state)


@routine
def geometry(m, level, what):
    """START, SETS, MASK or WAYS of a level."""
    return m[LEVEL_AT + GEOMETRY * level + what]


@routine
def tensor_of(m, line):
    """The tensor a line belongs to."""
    return line >> (TENSOR_BITS - m[SHIFT])


@routine
def count(m, level, tensor, kind):
    """One more line in a counter of a level."""
    m[m[COUNTS_AT] + (level * m[TENSORS] + tensor) * 6 + kind] += 1


@routine
def count_dram(m, tensor, kind):
    """One more line read from or written to memory."""
    m[m[DRAM_AT] + tensor * 3 + kind] += 1


@routine
def set_start(m, level, line):
    """The first tag of the set of a line."""
    mask = geometry(m, level, MASK)
    place_in_memory = line & ((1 << (TENSOR_BITS - m[SHIFT])) - 1)
    index = line & mask if mask >= 0 else place_in_memory % geometry(m, level, SETS)
    return geometry(m, level, START) + index * geometry(m, level, SET_STEP)


@routine
def place(m, level, line, write):
    """Make the line the most recent of its set, dirty if written; returns HIT, or the tag it drives out (0: none).

    One pass: every tag moves back one place until the line's own old place, or the end of the set, is reached.
    """
    s = at = set_start(m, level, line)
    step = geometry(m, level, WAY_STEP)
    moving = (line + 1) << 1 | write
    for _ in range(geometry(m, level, WAYS)):
        tag = m[at]
        m[at] = moving
        if tag >> 1 == line + 1:
            m[s] |= tag & 1
            return HIT
        if tag == 0:
            return 0
        moving = tag
        at += step
    return moving


@kernel
def write_back(m, level, victim):
    """A tag driven out of `level`: if dirty, store its line to the levels below, as far as that drives out further dirty lines."""
    while victim > 0 and victim & 1:
        line = (victim >> 1) - 1
        tensor = tensor_of(m, line)
        count(m, level, tensor, WRITEBACKS)
        level += 1
        if level == m[LEVELS]:
            count_dram(m, tensor, WRITTEN)
            return
        count(m, level, tensor, STORES)
        victim = place(m, level, line, 1)
        if victim != HIT:
            count(m, level, tensor, STORE_MISSES)


@kernel
def fetch(m, line):
    """The line misses the first level: load it from where it is into every level between, then write back what that drives out."""
    level, levels, tensor = 1, m[LEVELS], tensor_of(m, line)
    m[m[RANGE_AT] + 2 * tensor] = min(m[m[RANGE_AT] + 2 * tensor], line)
    m[m[RANGE_AT] + 2 * tensor + 1] = max(m[m[RANGE_AT] + 2 * tensor + 1], line)
    while level < levels:
        count(m, level, tensor, LOADS)
        victim = place(m, level, line, 0)
        if victim == HIT:
            break
        count(m, level, tensor, LOAD_MISSES)
        m[m[VICTIMS_AT] + level] = victim
        level += 1
    if level == levels:
        count_dram(m, tensor, READ)
    for i in range(level - 1, 0, -1):
        write_back(m, i, m[m[VICTIMS_AT] + i])


@kernel
def run(m):
    """Send the gathered events through the hierarchy; an event is line << 1 | is_store. Who watches sees them first."""
    if m[WATCHER] != NOBODY:
        call(m[WATCHER])
    set_step, mask, start = geometry(m, 0, SET_STEP), geometry(m, 0, MASK), geometry(m, 0, START)
    counts, shift = m[COUNTS_AT], TENSOR_BITS - m[SHIFT]
    for e in range(m[EVENTS_AT], m[EVENTS_AT] + m[GATHERED]):
        line, write = m[e] >> 1, m[e] & 1
        kind = counts + (line >> shift) * 6 + write
        m[kind + LOADS] += 1
        s = start + (line & mask) * set_step if mask >= 0 else set_start(m, 0, line)
        if m[s] >> 1 == line + 1:
            m[s] |= write
        else:
            victim = place(m, 0, line, write)
            if victim != HIT:
                m[kind + LOAD_MISSES] += 1
                fetch(m, line)
                write_back(m, 0, victim)
    m[GATHERED] = 0


@routine
def clean(m, line):
    """If the line is dirty anywhere, write it to memory, once: counted at the first level that holds it dirty, clean in all."""
    written = False
    for level in range(m[LEVELS]):
        at, step = set_start(m, level, line), geometry(m, level, WAY_STEP)
        for _ in range(geometry(m, level, WAYS)):
            tag = m[at]
            if tag == 0 or tag >> 1 == line + 1:
                if tag & 1:
                    m[at] = tag ^ 1
                    if not written:
                        count(m, level, tensor_of(m, line), FLUSHED)
                        count_dram(m, tensor_of(m, line), WRITTEN_BY_FLUSH)
                    written = True
                break
            at += step


@routine
def forget(m, line):
    """Empty the set of the line at every level."""
    for level in range(m[LEVELS]):
        at, step = set_start(m, level, line), geometry(m, level, WAY_STEP)
        for _ in range(geometry(m, level, WAYS)):
            if m[at] == 0:
                break
            m[at] = 0
            at += step


@kernel
def flush(m):
    """Write dirty lines to memory and empty all levels: by the range of lines each tensor has touched, or by all tags if those are fewer."""
    lines = 0
    for tensor in range(m[TENSORS]):
        lines += max(0, m[m[RANGE_AT] + 2 * tensor + 1] - m[m[RANGE_AT] + 2 * tensor] + 1)
    if lines < len(m) - m[TAGS_AT]:
        for tensor in range(m[TENSORS]):
            if m[m[COUNTS_AT] + tensor * 6 + STORES] > 0:
                for line in range(m[m[RANGE_AT] + 2 * tensor], m[m[RANGE_AT] + 2 * tensor + 1] + 1):
                    clean(m, line)
        for tensor in range(m[TENSORS]):
            for line in range(m[m[RANGE_AT] + 2 * tensor], m[m[RANGE_AT] + 2 * tensor + 1] + 1):
                forget(m, line)
    else:
        for at in range(m[TAGS_AT], len(m)):
            if m[at] & 1:
                clean(m, (m[at] >> 1) - 1)
        for at in range(m[TAGS_AT], len(m)):
            m[at] = 0
