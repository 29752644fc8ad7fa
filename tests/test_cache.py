"""The cache hierarchy against a brute-force simulator of some 30 lines: every counter exactly equal; and small cases by hand."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cache import FLUSHED, LOAD_MISSES, LOADS, READ, STORE_MISSES, STORES, TENSOR_BITS, WRITEBACKS, WRITTEN, WRITTEN_BY_FLUSH, Hierarchy


class BruteForce:
    """LRU, write-back, write-allocate, NINE, in the words of its definition: a level is a list of ordered dicts line -> dirty."""

    def __init__(self, levels, tensors):
        self.levels = [([OrderedDict() for _ in range(sets)], ways) for sets, ways in levels]
        self.counts, self.dram = np.zeros((len(levels), tensors, 6), int), np.zeros((tensors, 3), int)

    def access(self, level, tensor_line, write, fill=True):
        """A load or store arrives at a level; `fill` is whether a miss has to read the line from below."""
        tensor, line = tensor_line
        if level == len(self.levels):
            self.dram[tensor, WRITTEN if write else READ] += 1
            return
        sets, ways = self.levels[level]
        entries = sets[line % len(sets)]
        self.counts[level, tensor, STORES if write else LOADS] += 1
        if tensor_line in entries:
            entries[tensor_line] |= write
            entries.move_to_end(tensor_line)
            return
        self.counts[level, tensor, STORE_MISSES if write else LOAD_MISSES] += 1
        if fill:
            self.access(level + 1, tensor_line, False)
        entries[tensor_line] = write
        if len(entries) > ways:
            victim, dirty = entries.popitem(last=False)
            if dirty:
                self.counts[level, victim[0], WRITEBACKS] += 1
                self.access(level + 1, victim, True, fill=False)

    def flush(self):
        """Each dirty line goes to memory once, counted at the first level that holds it dirty."""
        done = set()
        for level, (sets, _) in enumerate(self.levels):
            for entries in sets:
                for line, dirty in entries.items():
                    if dirty and line not in done:
                        done.add(line)
                        self.counts[level, line[0], FLUSHED] += 1
                        self.dram[line[0], WRITTEN_BY_FLUSH] += 1


GEOMETRY = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 8]), st.integers(1, 5)), min_size=1, max_size=4)
ACCESS = st.tuples(st.integers(0, 2), st.integers(0, 40), st.booleans())


def numbered(tensor, line, line_bytes=64):
    """The simulator's number of a line of a tensor."""
    return (tensor << TENSOR_BITS) // line_bytes + line


@settings(max_examples=400)
@given(GEOMETRY, st.lists(ACCESS, max_size=300))
def test_every_counter_equals_brute_force(levels, accesses):
    expected, hierarchy = BruteForce(levels, 3), Hierarchy(levels, 64, 3)
    for tensor, line, write in accesses:
        expected.access(0, (tensor, line), write)
    hierarchy.access([numbered(t, line) for t, line, _ in accesses], [write for *_, write in accesses])
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    np.testing.assert_array_equal(hierarchy.dram, expected.dram)
    expected.flush()
    hierarchy.finish()
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    np.testing.assert_array_equal(hierarchy.dram, expected.dram)
    hierarchy.reset()
    assert not hierarchy.counts.any()
    assert not hierarchy.dram.any()
    hierarchy.access([numbered(0, 0)], [0])
    assert hierarchy.counts[0, 0, LOAD_MISSES] == 1, "a finished hierarchy is empty"


@settings(max_examples=20)
@given(st.integers(0, 1 << 30))
def test_long_random_traces_equal_brute_force(seed):
    """More events than a chunk, real geometries' shapes in small, sparse addresses (the flush then goes by tags)."""
    rng = np.random.default_rng(seed)
    levels = [(8, 8), (64, 4), (96, 11)]
    tensor, write = rng.integers(0, 2, 40_000), rng.integers(0, 2, 40_000)
    line = np.where(rng.random(40_000) < 0.5, rng.integers(0, 300, 40_000), rng.integers(0, 1 << rng.integers(5, 20), 40_000))
    numbers = [numbered(int(t), int(i)) for t, i in zip(tensor, line, strict=True)]
    expected, hierarchy = BruteForce(levels, 2), Hierarchy(levels, 64, 2)
    for t, i, w in zip(tensor.tolist(), line.tolist(), write.tolist(), strict=True):
        expected.access(0, (t, i), bool(w))
    expected.flush()
    hierarchy.access(numbers, write)
    hierarchy.finish()
    np.testing.assert_array_equal(hierarchy.counts, expected.counts)
    np.testing.assert_array_equal(hierarchy.dram, expected.dram)


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
