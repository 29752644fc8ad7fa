"""Cache policies, inclusion and ways to write: small cases by hand."""

import numpy as np
import pytest

from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.words import FLUSHED, LOAD_MISSES, STORE_MISSES, WRITEBACKS
from sim.machine.level import Cache


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
