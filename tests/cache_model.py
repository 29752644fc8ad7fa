"""A model of the cache hierarchy in the words of its semantics, and strategies for hierarchies and traces."""

from collections import OrderedDict

import numpy as np
from hypothesis import strategies as st

from sim.hierarchy.miss_classes import FIRST, FULL
from sim.hierarchy.words import FLUSHED, LOAD_MISSES, LOADS, READ, STORE_MISSES, STORES, TENSOR_BITS, WRITEBACKS, WRITTEN, WRITTEN_BY_FLUSH
from sim.machine.level import Cache


class Ordered:
    """A set that keeps its lines oldest first; a use is an arrival again in LRU, nothing in FIFO."""

    def __init__(self, cache, draw):
        self.lines, self.ways, self.lru = [], cache.ways, cache.policy == "lru"

    def use(self, line):
        """A hit."""
        if self.lru:
            self.lines.append(self.lines.pop(self.lines.index(line)))

    def insert(self, line):
        """Returns the line driven out, or None."""
        self.lines.append(line)
        return self.lines.pop(0) if len(self.lines) > self.ways else None

    def remove(self, line):
        """The line is gone."""
        self.lines.remove(line)


class Placed:
    """A set whose lines have ways: the first empty one, else the one drawn, or the one the tree points at (the half less recently used)."""

    def __init__(self, cache, draw):
        self.lines, self.draw, self.used_right = [None] * cache.ways, draw, {}

    def use(self, line):
        """Each half that holds the way remembers in which half of its own it was used."""
        way, low, size = self.lines.index(line), 0, len(self.lines)
        while size > 1:
            size //= 2
            self.used_right[low, size] = way >= low + size
            low += size * (way >= low + size)

    def insert(self, line):
        """Returns the line driven out, or None."""
        low, size = 0, len(self.lines)
        if None in self.lines:
            low = self.lines.index(None)
        elif self.draw:
            low = self.draw() % size
        else:
            while size > 1:
                size //= 2
                low += size * (not self.used_right.get((low, size), True))
        victim, self.lines[low] = self.lines[low], line
        self.use(line)
        return victim

    def remove(self, line):
        """The way is empty."""
        self.lines[self.lines.index(line)] = None


def draws(seed):
    """Knuth's MMIX linear congruential sequence, its upper 31 bits."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 33


class Model:
    """A hierarchy in the words of sim/hierarchy/hierarchy.py: sets of (tensor, line), and which lines are dirty at each level."""

    def __init__(self, levels, tensors, inclusion="nine"):
        self.caches, self.inclusion = [Cache(*level) for level in levels], inclusion
        self.levels = []
        for cache in self.caches:
            draw = draws(cache.seed).__next__ if cache.policy == "random" else None
            self.levels.append([(Ordered if cache.policy in ("lru", "fifo") else Placed)(cache, draw) for _ in range(cache.sets)])
        self.dirty, self.arrivals = [set() for _ in levels], [[] for _ in levels]
        self.counts, self.dram = np.zeros((len(levels), tensors, 6), int), np.zeros((tensors, 3), int)

    def set_of(self, level, line):
        """The set a line may be in."""
        return self.levels[level][line[1] % self.caches[level].sets]

    def holds(self, level, line):
        """Whether a level has a line."""
        return line in self.set_of(level, line).lines

    def take(self, level, line):
        """Remove a line; whether it was dirty."""
        self.set_of(level, line).remove(line)
        dirty = line in self.dirty[level]
        self.dirty[level].discard(line)
        return dirty

    def access(self, line, write):
        """The processor loads or stores."""
        if self.inclusion == "exclusive":
            self.arrive_exclusive(line, write)
        else:
            self.arrive(0, line, write, whole=False)

    def arrive(self, level, line, write, whole):
        """A load or store comes to a level (or to memory); whole: all of the line is stored."""
        if level == len(self.levels):
            self.dram[line[0], WRITTEN if write else READ] += 1
            return
        cache, hit = self.caches[level], self.holds(level, line)
        self.arrivals[level].append((line, not write or cache.allocate))
        self.counts[level, line[0], STORES if write else LOADS] += 1
        if not hit:
            self.counts[level, line[0], STORE_MISSES if write else LOAD_MISSES] += 1
            if not write or cache.allocate:
                if not whole:
                    self.arrive(level + 1, line, False, False)
                self.insert(level, line)
        else:
            self.set_of(level, line).use(line)
        if write and cache.write_back and self.holds(level, line):
            self.dirty[level].add(line)
        elif write:
            self.pass_down(level, line, whole)

    def pass_down(self, level, line, whole):
        """A level stores a line to the next."""
        self.counts[level, line[0], WRITEBACKS] += 1
        self.arrive(level + 1, line, True, whole)

    def insert(self, level, line):
        """A line comes in; another may have to go, and with it its copies above if the hierarchy is inclusive."""
        victim = self.set_of(level, line).insert(line)
        if victim is None:
            return
        changed = False
        for above in range(level if self.inclusion == "inclusive" else 0):
            if self.holds(above, victim):
                changed |= self.take(above, victim)
            if changed:
                self.counts[above, victim[0], WRITEBACKS] += 1
                self.counts[above + 1, victim[0], STORES] += 1
                self.arrivals[above + 1].append((victim, self.caches[above + 1].allocate))
        if changed or victim in self.dirty[level]:
            self.dirty[level].discard(victim)
            self.pass_down(level, victim, whole=True)

    def arrive_exclusive(self, line, write):
        """A line is in one level: it comes up to the first, and what that drives out goes down a level each."""
        changed, last = False, len(self.levels) - 1
        for level in range(last + 1):
            stores = write and level == 0
            self.counts[level, line[0], STORES if stores else LOADS] += 1
            if self.holds(level, line):
                break
            self.counts[level, line[0], STORE_MISSES if stores else LOAD_MISSES] += 1
        else:
            level = -1
            self.dram[line[0], READ] += 1
        if level == 0:
            self.set_of(0, line).use(line)
        elif level > 0:
            changed = self.take(level, line)
        if write or changed:
            self.dirty[0].add(line)
        if level == 0:
            return
        for below in range(last + 1):
            line = self.set_of(below, line).insert(line)
            if line is None:
                return
            changed = line in self.dirty[below]
            self.dirty[below].discard(line)
            if below < last or changed:
                self.counts[below, line[0], WRITEBACKS] += 1
            if below == last:
                self.dram[line[0], WRITTEN] += changed
                return
            self.counts[below + 1, line[0], [STORES, STORE_MISSES]] += 1
            if changed:
                self.dirty[below + 1].add(line)

    def flush(self):
        """Each dirty line goes to memory once, counted at the first level that holds it dirty."""
        done = set()
        for level, lines in enumerate(self.dirty):
            for line in lines - done:
                self.counts[level, line[0], FLUSHED] += 1
                self.dram[line[0], WRITTEN_BY_FLUSH] += 1
            done |= lines


@st.composite
def caches(draw, wide=20):
    """A level: of every policy and way to write, with sets of one and of several chunks of tags."""
    policy = draw(st.sampled_from(["lru", "fifo", "plru", "random"]))
    ways = draw(st.sampled_from([1, 2, 4, 8, 16]) if policy == "plru" else st.one_of(st.integers(1, 5), st.sampled_from([8, 9, wide])))
    rules = draw(st.tuples(st.booleans(), st.booleans(), st.integers(0, 1 << 62))) if draw(st.booleans()) else (True, True, 0)
    return Cache(draw(st.sampled_from([1, 2, 3, 4, 5, 8])), ways, policy, *rules)


PLAIN = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 8]), st.sampled_from([1, 2, 3, 4, 5, 8, 9, 20])), min_size=1, max_size=4)
LEVELS = st.lists(caches(), min_size=1, max_size=4)
EXCLUSIVE = LEVELS.map(lambda levels: [cache._replace(write_back=True, allocate=True) for cache in levels])
HIERARCHIES = st.one_of(
    st.tuples(PLAIN, st.just("nine")),
    st.tuples(LEVELS, st.sampled_from(["nine", "inclusive"])),
    st.tuples(EXCLUSIVE, st.just("exclusive")),
)
ACCESS = st.tuples(st.integers(0, 2), st.integers(0, 40), st.booleans())


@st.composite
def traces(draw):
    """Accesses (tensor, line, is_store): short ones as hypothesis writes and shrinks them, and random ones long enough to fill the caches."""
    if draw(st.booleans()):
        return draw(st.lists(ACCESS, max_size=300))
    rng, n = np.random.default_rng(draw(st.integers(0, 1 << 30))), draw(st.integers(1, 400))
    tensor, line = rng.integers(0, draw(st.integers(1, 3)), n), rng.integers(0, draw(st.integers(1, 60)), n)
    return list(zip(tensor.tolist(), line.tolist(), (rng.random(n) < draw(st.floats(0, 1))).tolist(), strict=True))


def numbered(tensor, line, line_bytes=64):
    """The simulator's number of a line of a tensor."""
    return (tensor << TENSOR_BITS) // line_bytes + line


def first_and_full(arrivals, lines, tensors):
    """Misses of fully associative LRU by tensor: first accesses, and all. arrivals: (line, whether it is installed)."""
    held, seen, counts = OrderedDict(), set(), np.zeros((tensors, 2), int)
    for line, installed in arrivals:
        counts[line[0], FIRST] += line not in seen
        seen.add(line)
        if line in held:
            held.move_to_end(line)
        else:
            counts[line[0], FULL] += 1
            if installed:
                held[line] = None
                if len(held) > lines:
                    held.popitem(last=False)
    return counts


def check_counts(expected, hierarchy):
    """A hierarchy has counted what a model has, before the flush and after it."""
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    np.testing.assert_array_equal(hierarchy.dram, expected.dram)
    expected.flush()
    hierarchy.finish()
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    np.testing.assert_array_equal(hierarchy.dram, expected.dram)
