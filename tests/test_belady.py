"""Belady's OPT against the best of all choices, tried one by one; and as a lower bound of every policy."""

import functools

import numpy as np
import pytest
from belady import optimal
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.words import FLUSHED, LOAD_MISSES, LOADS, STORE_MISSES, STORES, TENSOR_BITS, WRITEBACKS
from sim.machine.level import Cache


def fewest_misses(lines, ways):
    """Of a trace, by trying every victim at every miss."""

    @functools.cache
    def from_here(t, held):
        if t == len(lines):
            return 0
        if lines[t] in held:
            return from_here(t + 1, held)
        left = [held] if len(held) < ways else [held - {victim} for victim in held]
        return 1 + min(from_here(t + 1, rest | {lines[t]}) for rest in left)

    return from_here(0, frozenset())


@settings(max_examples=300)
@given(st.lists(st.integers(0, 6), max_size=24), st.integers(1, 4))
def test_no_choice_of_victims_misses_less(lines, ways):
    counts = optimal(np.array(lines, np.int64) << 1, ways, 64, 1)
    assert counts[0, [LOADS, LOAD_MISSES]].tolist() == [len(lines), fewest_misses(tuple(lines), ways)]
    assert not counts[0, [STORES, STORE_MISSES, WRITEBACKS, FLUSHED]].any()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60), st.booleans()), max_size=400), st.integers(1, 40))
def test_opt_misses_no_more_than_any_policy_and_moves_what_it_must(accesses, ways):
    tensor, line, write = (np.array([access[i] for access in accesses], np.int64) for i in range(3))
    lines = (tensor << TENSOR_BITS - 6) + line
    counts = optimal(lines << 1 | write, ways, 64, 2)
    assert counts[:, [LOADS, STORES]].sum() == len(accesses)
    missed, written = counts[:, [LOAD_MISSES, STORE_MISSES]].sum(1), counts[:, [WRITEBACKS, FLUSHED]].sum(1)
    for t in range(2):
        assert missed[t] >= len(set(line[tensor == t].tolist()))
        assert written[t] >= len(set(line[(tensor == t) & (write == 1)].tolist()))
    for policy in ("lru", "fifo", "random"):
        hierarchy = Hierarchy([Cache(1, ways, policy)], 64, 2)
        hierarchy.access(lines, write)
        assert missed.sum() <= hierarchy.counts[0][:, [LOAD_MISSES, STORE_MISSES]].sum()


def test_by_hand():
    """A B C A B with two ways: C drives out B, which is needed later than A; B's data, stored, go to memory, and B's again at the end."""
    counts = optimal(np.array([0, 1, 2, 0, 1]) << 1 | np.array([0, 1, 0, 0, 1]), 2, 64, 1)
    assert counts[0].tolist() == [3, 2, 2, 2, 1, 1]


def test_what_is_refused():
    with pytest.raises(ValueError, match="ways = 0: must be a positive integer"):
        optimal([0], 0, 64, 1)
    with pytest.raises(ValueError, match="tensors = 1: must be more than 3"):
        optimal([3 << TENSOR_BITS - 6 << 1], 1, 64, 1)
