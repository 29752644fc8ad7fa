"""The cache hierarchy against a model in the words of its semantics: every counter exactly equal, for every policy; and small cases by hand."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.hierarchy.hierarchy import Hierarchy
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


def check_equal(levels, inclusion, tensor, line, write, tensors):
    """The hierarchy and the model count the same, before and after the flush; returns the hierarchy, empty again."""
    expected, hierarchy = Model(levels, tensors, inclusion), Hierarchy(levels, 64, tensors, inclusion)
    for access in zip(tensor, line, write, strict=True):
        expected.access((access[0], access[1]), access[2])
    hierarchy.access([numbered(t, i) for t, i in zip(tensor, line, strict=True)], write)
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    np.testing.assert_array_equal(hierarchy.dram, expected.dram)
    expected.flush()
    hierarchy.finish()
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    np.testing.assert_array_equal(hierarchy.dram, expected.dram)
    hierarchy.reset()
    return hierarchy


@settings(max_examples=1000)
@given(HIERARCHIES, traces())
def test_every_counter_equals_the_model(hierarchy, accesses):
    tensor, line, write = zip(*accesses, strict=True) if accesses else ((), (), ())
    used = check_equal(*hierarchy, tensor, line, write, 3)
    assert not used.counts.any()
    assert not used.dram.any()
    again, new = used, Hierarchy(hierarchy[0], 64, 3, hierarchy[1])
    for one in (again, new):
        one.access([numbered(0, i) for i in (*line, *line)], [False] * 2 * len(line))
    np.testing.assert_array_equal(again.counts, new.counts, err_msg="a finished hierarchy is as good as a new one")
    np.testing.assert_array_equal(again.dram, new.dram)


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


@settings(max_examples=300)
@given(LEVELS, st.sampled_from(["nine", "inclusive"]), traces().map(lambda accesses: [(t, min(i, 49), w) for t, i, w in accesses]))
def test_shadows_see_what_the_levels_see(levels, inclusion, accesses):
    """Every tensor has lines of its own, as in a trace."""
    expected, hierarchy = Model(levels, 3, inclusion), Hierarchy(levels, 64, 3, inclusion, places=150)
    for tensor, line, write in accesses:
        expected.access((tensor, 50 * tensor + line), write)
    numbers = [numbered(tensor, 50 * tensor + line) for tensor, line, _ in accesses]
    hierarchy.access(numbers, [write for *_, write in accesses])
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    for cache, arrivals, classes in zip(expected.caches, expected.arrivals, hierarchy.classes, strict=True):
        np.testing.assert_array_equal(classes, first_and_full(arrivals, cache.sets * cache.ways, 3))


def test_conflicts_are_what_sets_cost_and_may_be_negative():
    """Two lines of one set out of two: two conflicts. Three lines in turn through two: fully associative LRU never hits, one set of two does."""
    for lines, expected in (([0, 2, 0, 2], [4, 2, 2]), ([0, 1, 2] * 3, [7, 3, 9])):
        hierarchy = Hierarchy([(2, 1)], 64, 1, places=8)
        hierarchy.access(lines, [0] * len(lines))
        assert [hierarchy.counts[0, 0, LOAD_MISSES], *hierarchy.classes[0, 0]] == expected


SHAPES = [(8, 8), (64, 4), (96, 11)]
MIXED = [Cache(8, 8, "plru"), Cache(64, 4, "fifo"), Cache(96, 11, "random", seed=7)]
THROUGH = [Cache(8, 8, "lru", False, False), Cache(64, 4, "plru", True, False), Cache(96, 11)]


@settings(max_examples=5)
@pytest.mark.parametrize(("levels", "inclusion"), [(SHAPES, "nine"), (MIXED, "inclusive"), (MIXED, "exclusive"), (THROUGH, "nine")])
@given(seed=st.integers(0, 1 << 30))
def test_long_random_traces_equal_the_model(levels, inclusion, seed):
    """More events than a chunk, real geometries' shapes in small, sparse addresses."""
    rng = np.random.default_rng(seed)
    tensor, write = rng.integers(0, 2, 40_000), rng.integers(0, 2, 40_000).astype(bool)
    line = np.where(rng.random(40_000) < 0.5, rng.integers(0, 300, 40_000), rng.integers(0, 1 << rng.integers(5, 20), 40_000))
    check_equal(levels, inclusion, tensor.tolist(), line.tolist(), write.tolist(), 2)


def test_levels_of_many_tags_equal_the_model():
    """Chunks of one set far apart, as in a last-level cache; two chunks a set."""
    rng = np.random.default_rng(5)
    for policy in ("lru", "random"):
        line = rng.integers(0, 40, 30_000) * 8192 + rng.integers(0, 4, 30_000)
        levels = [Cache(4, 2), Cache(8192, 16, policy), Cache(8192, 17, policy)]
        check_equal(levels, "nine", [0] * 30_000, line.tolist(), [True, False] * 15_000, 1)


def misses(lines, *levels, writes=None, inclusion="nine"):
    """Per level, how many of the accesses miss."""
    hierarchy = Hierarchy(levels, 64, 1, inclusion)
    hierarchy.access(lines, writes or [0] * len(lines))
    return hierarchy.counts[:, 0, [LOAD_MISSES, STORE_MISSES]].sum(1).tolist()


def test_a_hit_keeps_a_line_in_lru_and_does_nothing_in_fifo():
    """2 ways, A B A C A: A is the newest in LRU, the oldest in FIFO."""
    assert misses([0, 1, 0, 2, 0], (1, 2, "lru")) == [3]
    assert misses([0, 1, 0, 2, 0], (1, 2, "fifo")) == [4]


def test_belady_anomaly_of_fifo():
    """More ways, more misses (Belady, Nelson and Shedler 1969): 9 with three, 10 with four; LRU has 10 and 8."""
    lines = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]
    assert [misses(lines, (1, ways, "fifo")) for ways in (3, 4)] == [[9], [10]]
    assert [misses(lines, (1, ways, "lru")) for ways in (3, 4)] == [[10], [8]]


def test_tree_plru_is_no_lru():
    """4 ways, by hand: A B C D, then A. The tree points away from A, at the half of C and D, and there at C; LRU would take B."""
    assert misses([0, 1, 2, 3, 0, 4, 1], (1, 4, "plru")) == [5]
    assert misses([0, 1, 2, 3, 0, 4, 2], (1, 4, "plru")) == [6]
    assert misses([0, 1, 2, 3, 0, 4, 1], (1, 4, "lru")) == [6]


def test_random_is_the_same_again_and_another_with_another_seed():
    lines = np.random.default_rng(0).integers(0, 40, 2000).tolist()
    first, second, other = (misses(lines, Cache(1, 16, "random", seed=seed)) for seed in (1, 1, 2))
    assert first == second != other


def test_inclusive_caches_lose_what_the_level_below_drives_out():
    """A stays in the first level by being used, which the second does not see: C drives it out of both."""
    lines, levels = [0, 1, 0, 2, 0], ((1, 2), (1, 2))
    assert misses(lines, *levels) == [3, 3]
    assert misses(lines, *levels, inclusion="inclusive") == [4, 4]
    hierarchy = Hierarchy(levels, 64, 1, "inclusive")
    hierarchy.access(lines[:4], [1, 0, 0, 0])
    assert hierarchy.dram[0].tolist() == [3, 1, 0], "A's dirty data reach memory"
    assert hierarchy.counts[:, 0, WRITEBACKS].tolist() == [1, 1]


def test_exclusive_levels_add_up():
    """Two lines above, two below: four lines fit, and none is read twice; else both levels hold the same two."""
    lines, levels = [0, 1, 2, 3] * 10, ((1, 2), (1, 2))
    for inclusion, read in (("exclusive", 4), ("nine", 40)):
        hierarchy = Hierarchy(levels, 64, 1, inclusion)
        hierarchy.access(lines, [0] * 40)
        assert hierarchy.dram[0].tolist() == [read, 0, 0]


def test_write_through_stores_each_time_and_leaves_nothing_to_flush():
    hierarchy = Hierarchy([Cache(1, 2, write_back=False)], 64, 1)
    hierarchy.access([0, 0, 0], [1, 1, 1])
    hierarchy.finish()
    assert hierarchy.dram[0].tolist() == [1, 3, 0]
    assert hierarchy.counts[0, 0].tolist() == [0, 3, 0, 1, 3, 0]


def test_without_write_allocate_a_stored_line_is_not_read():
    hierarchy = Hierarchy([Cache(1, 2, allocate=False)], 64, 1)
    hierarchy.access([0, 0, 1, 1], [1, 1, 0, 1])
    hierarchy.finish()
    assert hierarchy.dram[0].tolist() == [1, 2, 1]


def test_a_store_hit_refreshes_recency():
    """2 ways: load A, load B, store A, load C drives out B, so A still hits."""
    hierarchy = Hierarchy([(1, 2)], 64, 1)
    hierarchy.access([0, 1, 0, 2, 0], [0, 0, 1, 0, 0])
    assert hierarchy.counts[0, 0].tolist() == [4, 1, 3, 0, 0, 0]


def test_write_allocate_reads_what_is_stored_and_dirty_lines_reach_memory_once():
    """By hand: L1 drives out 0, 1, 2, 3; L2 (most recent first) goes 3 5 2 4, having driven out 0 and 1 dirty, 2 and 3 clean."""
    hierarchy = Hierarchy([(1, 2), (1, 4)], 64, 1)
    hierarchy.access(range(6), [1] * 6)
    hierarchy.finish()
    assert hierarchy.dram[0].tolist() == [6, 2, 4]
    assert hierarchy.counts[:, 0, WRITEBACKS].tolist() == [4, 2]
    assert hierarchy.counts[:, 0, FLUSHED].tolist() == [2, 2]


@pytest.mark.parametrize("lines", [100, 5000])
def test_a_stream_larger_than_the_cache_misses_every_time(lines):
    hierarchy = Hierarchy([(16, 4)], 64, 1)
    hierarchy.access(np.tile(np.arange(lines), 2), np.zeros(2 * lines))
    assert hierarchy.counts[0, 0, LOAD_MISSES] == 2 * lines
