"""The cache hierarchy against a model in the words of its semantics: every counter exactly equal, for every policy."""

import numpy as np
import pytest
from cache_model import HIERARCHIES, Model, check_counts, numbered, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.hierarchy.hierarchy import Hierarchy
from sim.machine.level import Cache


def check_equal(levels, inclusion, tensor, line, write, tensors):
    """The hierarchy and the model count the same, before and after the flush; returns the hierarchy, empty again."""
    expected, hierarchy = Model(levels, tensors, inclusion), Hierarchy(levels, 64, tensors, inclusion)
    for access in zip(tensor, line, write, strict=True):
        expected.access((access[0], access[1]), access[2])
    hierarchy.access([numbered(t, i) for t, i in zip(tensor, line, strict=True)], write)
    check_counts(expected, hierarchy)
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
