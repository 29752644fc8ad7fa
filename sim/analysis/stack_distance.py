"""LRU stack distances: what every fully associative LRU cache, write-back and write-allocate, moves of one trace, in one pass over it.

The stack distance of an access is the place of its line among all lines in the order of their last accesses, 1 for the line accessed
just before. An LRU cache of c lines holds the c most recent, so the access hits if its distance is at most c (Mattson, Gecsei, Slutz and
Traiger, "Evaluation techniques for storage hierarchies", IBM Systems Journal 9(2), 1970): a histogram of distances has the misses of all c.

Write-backs, derived here: let `reach` be the largest distance of the accesses to a line since its last store, 0 if there is none.
A cache of c lines has kept the line since that store, hence holds it dirty, where reach <= c. If the next access comes at distance d,
the line was driven out in between where c < d; so there is one write-back at each c with reach <= c < d. At the end d is the line's place
in the stack, and caches with c >= max(reach, d) flush it.

The place is counted in O(log n): accesses are numbered by a clock, a Fenwick tree (Fenwick, "A new data structure for cumulative
frequency tables", Software: Practice and Experience 24(3), 1994) counts the numbers that are some line's last. When the clock reaches
the end of the tree, the lines are renumbered in their order.
"""

import numpy as np

from refconv.jit import kernel, routine
from sim.hierarchy.words import FLUSHED, KINDS, LOAD_MISSES, LOADS, STORE_MISSES, STORES, TENSOR_BITS, WRITEBACKS, units_of

MOST_COUNTERS = 1 << 30
"""The most distances times buffers: the histograms keep three numbers of 8 bytes for each."""
NOW, LIVE = range(2)
NEVER, CLEAN, NO_LINE = 0, -1, -1


class StackDistances:
    """Histograms of the stack distances of a trace over buffers [(name, elements, itemsize)], laid out as by sim.trace.traced.Trace.

    line_bytes: of the first level, whose lines are those here; longest_line_bytes: of the last level (None: the same). take(events)
    adds accesses, as an observer (sim/hierarchy/observe.py); counts(capacities) may be asked at any time. ValueError if there are too many lines.
    """

    def __init__(self, buffers, line_bytes, longest_line_bytes=None):
        self.line_bytes, tensors = line_bytes, len(buffers)
        self.lines = max(1, units_of(buffers, line_bytes, longest_line_bytes or line_bytes))
        if self.lines * tensors > MOST_COUNTERS:
            raise ValueError(f"{self.lines} lines in {tensors} buffers: lines times buffers must be at most {MOST_COUNTERS} for stack distances")
        self._bits = TENSOR_BITS - (line_bytes.bit_length() - 1)
        slots = 1 << (2 * self.lines).bit_length()
        self._clock = np.zeros(2, np.int64)
        self._last = np.zeros(self.lines, np.int32)
        self._reach = np.full(self.lines, CLEAN, np.int32)
        self._owner = np.full(slots, NO_LINE, np.int64)
        self._tree = np.zeros(slots, np.int32)
        self._seen = np.zeros((2, tensors, self.lines + 2), np.int64)  # loads and stores; a first access counts at distance lines + 1
        self._written = np.zeros((tensors, self.lines + 2), np.int64)  # differences: the sum up to c is that of capacity c

    def take(self, events):
        """Add accesses in their order: line << 1 | is_store, int64."""
        highest = int((events >> 1 & (1 << self._bits) - 1).max(initial=0))
        if highest >= self.lines:
            raise ValueError(f"an access to line {highest} of {self.lines}: buffers must lie as declared, each from a line of the last level on")
        measure(events, self._bits, self._clock, self._last, self._reach, self._owner, self._tree, self._seen, self._written)

    @property
    def touched_bytes(self):
        """Bytes of the lines touched so far: a cache of this size misses each line once."""
        return int(self._clock[LIVE]) * self.line_bytes

    def counts(self, capacities):
        """Lines, (capacities, buffers, 6), of LOADS ... FLUSHED: what Hierarchy([(1, c)], ...) counts, flush included, for each c >= 1."""
        at = np.minimum(capacities, self.lines)  # a larger cache does no better than one that holds all
        result = np.zeros((len(at), len(self._written), KINDS), np.int64)
        line = self._owner[self._owner != NO_LINE][::-1]
        place, reach = np.arange(1, len(line) + 1), self._reach[line & ((1 << self._bits) - 1)]
        for tensor in range(len(self._written)):
            for seen, accesses, misses in zip(self._seen[:, tensor], (LOADS, STORES), (LOAD_MISSES, STORE_MISSES), strict=True):
                result[:, tensor, accesses] = seen.sum()
                result[:, tensor, misses] = seen.sum() - seen.cumsum()[at]
            stored = (line >> self._bits == tensor) & (reach != CLEAN)
            low, high = reach[stored], np.maximum(reach, place)[stored]
            kept = np.bincount(high, minlength=self.lines + 2)
            result[:, tensor, FLUSHED] = kept.cumsum()[at]
            gone = self._written[tensor] + np.bincount(low, minlength=self.lines + 2) - kept
            result[:, tensor, WRITEBACKS] = gone.cumsum()[at]
        return result


@routine
def add(tree, slot, change):
    """Count a slot in (1) or out (-1)."""
    while slot < len(tree):
        tree[slot] += change
        slot += slot & -slot


@routine
def counted(tree, slot):
    """How many slots up to this one are counted in."""
    total = 0
    while slot > 0:
        total += tree[slot]
        slot &= slot - 1
    return total


@kernel
def renumber(clock, last, owner, tree, places):
    """Give the lines the slots 1, 2, ... in the order of their last accesses."""
    n = 0
    for slot in range(1, clock[NOW] + 1):
        line = owner[slot]
        if line != NO_LINE:
            owner[slot] = NO_LINE
            n += 1
            owner[n] = line
            last[line & places] = n
    for slot in range(1, len(tree)):
        tree[slot] = min(slot, n) - min(slot & (slot - 1), n)
    clock[NOW] = n


@kernel
def measure(events, bits, clock, last, reach, owner, tree, seen, written):
    """Add events to the histograms: seen[is_store, tensor, distance], and written by capacity."""
    places, never = (1 << bits) - 1, len(last) + 1
    for event in events:
        line, write = event >> 1, event & 1
        tensor, place = line >> bits, line & places
        slot, distance = last[place], 1
        if slot == NEVER or slot != clock[NOW]:
            if clock[NOW] == len(tree) - 1:
                renumber(clock, last, owner, tree, places)
                slot = last[place]
            if slot == NEVER:
                distance = never
                clock[LIVE] += 1
            else:
                distance = clock[LIVE] - counted(tree, slot) + 1
                add(tree, slot, -1)
                owner[slot] = NO_LINE
            clock[NOW] += 1
            last[place] = clock[NOW]
            owner[clock[NOW]] = line
            add(tree, clock[NOW], 1)
        seen[write, tensor, distance] += 1
        if reach[place] != CLEAN and distance > reach[place]:
            written[tensor, reach[place]] += 1
            written[tensor, distance] -= 1
            reach[place] = distance
        if write:
            reach[place] = 0
