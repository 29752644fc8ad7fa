"""Classes of misses against fully associative LRU in the words of its definition."""

from collections import OrderedDict

import numpy as np
from cache_model import LEVELS, Model, numbered, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.miss_classes import FIRST, FULL
from sim.hierarchy.words import LOAD_MISSES


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
