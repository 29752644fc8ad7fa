"""Classes of misses against fully associative LRU in the words of its definition."""

import numpy as np
from cache_model import LEVELS, Model, first_and_full, numbered, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.words import LOAD_MISSES


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
