"""Stack distances against LRU caches of every capacity: an ordered dict, the simulator with one set, and real kernels' traces, exactly."""

from collections import OrderedDict

import accounts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refconv import Conv2d, kernels
from refconv.schedule import OPERANDS
from sim.analysis.stack_distance import StackDistances
from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.observe import observing
from sim.hierarchy.words import FLUSHED, LOAD_MISSES, LOADS, STORE_MISSES, STORES, WRITEBACKS
from sim.machine.record import Level, load_machine
from sim.trace.traced import Trace

ZEN4 = load_machine("zen4")
LINE = 64
BUFFERS = [("a", 9, LINE), ("b", 1, LINE), ("empty", 0, LINE), ("c", 30, LINE)]
PLACES = [(tensor, i) for tensor, (_, elements, _) in enumerate(BUFFERS) for i in range(elements)]


def brute_force(places, writes, capacity):
    """Lines, (buffers, 6), counted by an LRU cache of `capacity` lines in the words of its definition."""
    counts, cache = np.zeros((len(BUFFERS), 6), int), OrderedDict()
    for at, write in zip(places, writes, strict=True):
        counts[at[0], STORES if write else LOADS] += 1
        if at in cache:
            cache.move_to_end(at)
        else:
            counts[at[0], STORE_MISSES if write else LOAD_MISSES] += 1
            if len(cache) == capacity:
                victim, dirty = cache.popitem(last=False)
                counts[victim[0], WRITEBACKS] += dirty
        cache[at] = cache.get(at, False) or write
    for at, dirty in cache.items():
        counts[at[0], FLUSHED] += dirty
    return counts


def lines_of(places):
    """The simulator's line numbers."""
    trace = Trace(Hierarchy([(1, 1)], LINE, len(BUFFERS)), 64)
    buffers = [trace.buffer(*buffer) for buffer in BUFFERS]
    return np.array([(buffers[tensor].address >> 6) + i for tensor, i in places], np.int64)


def distances_of(places, writes):
    """StackDistances of a trace."""
    distances = StackDistances(BUFFERS, LINE)
    distances.take(lines_of(places) << 1 | np.array(writes, np.int64))
    return distances


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.booleans()), max_size=400))
def test_every_capacity_equals_brute_force_and_the_simulator(trace):
    places, writes = [at for at, _ in trace], [write for _, write in trace]
    capacities = range(1, len(PLACES) + 5)
    found = distances_of(places, writes).counts(capacities)
    for capacity, counts in zip(capacities, found, strict=True):
        np.testing.assert_array_equal(counts, brute_force(places, writes, capacity))
        hierarchy = Hierarchy([(1, capacity)], LINE, len(BUFFERS))
        hierarchy.access(lines_of(places), writes)
        hierarchy.finish()
        np.testing.assert_array_equal(counts, hierarchy.counts[0])


@settings(max_examples=20)
@given(st.integers(0, 1 << 30))
def test_long_traces_whose_clock_starts_anew_many_times(seed):
    """40 lines, 20,000 accesses: some 200 times renumbered; working sets that grow and shrink, asked in between as well."""
    rng = np.random.default_rng(seed)
    reachable = np.repeat(rng.integers(1, len(PLACES) + 1, 100), 200)
    places = [PLACES[i] for i in rng.integers(0, reachable)]
    writes = rng.random(20_000) < rng.random()
    distances, events = StackDistances(BUFFERS, LINE), lines_of(places) << 1 | writes
    for first, last in ((0, 7_000), (7_000, 20_000)):
        distances.take(events[first:last])
        for capacity in (1, 7, 20, 39, 1000):
            np.testing.assert_array_equal(distances.counts([capacity])[0], brute_force(places[:last], writes[:last], capacity))
    assert distances.touched_bytes == LINE * len(set(places))


def test_a_store_that_some_caches_have_lost_by_hand():
    """store a, load b, load c, load a, load b, end: a's store is kept by caches of 3 lines; it is driven out of smaller ones once."""
    a, b, c = PLACES[:3]
    distances = distances_of([a, b, c, a, b], [1, 0, 0, 0, 0])
    assert distances.counts([1, 2, 3, 4])[:, 0, WRITEBACKS].tolist() == [1, 1, 0, 0]
    assert distances.counts([1, 2, 3, 4])[:, 0, FLUSHED].tolist() == [0, 0, 1, 1]
    assert distances.counts([1, 2, 3, 4])[:, 0, LOAD_MISSES].tolist() == [4, 4, 2, 2]


def test_no_access_and_too_many_lines():
    assert not StackDistances(BUFFERS, LINE).counts([1, 100]).any()
    assert not StackDistances([], LINE).counts([1]).any()
    with pytest.raises(ValueError, match="268435456 lines in 5 buffers: lines times buffers must be at most"):
        StackDistances([("x", 1 << 34, 1)] + [("y", 0, 1)] * 4, LINE)


def observed(simulate):
    """(record, [StackDistances of each run]) of a simulation."""
    runs = []

    def start(buffers, line_bytes):
        runs.append(StackDistances(buffers, line_bytes))
        return runs[-1].take

    with observing(start):
        record = simulate()
    return record, runs


def totals(record):
    """The first level's counts of a record, all tensors together."""
    return [record["levels"][0][key] for key in ("loads", "stores", "load_misses", "store_misses", "writebacks", "flushed")]


LAYERS = ["mb1ic64ih14oc64kh3ph1", "g96mb1ic96ih14oc96kh7ph3", "mb2ic24ih10oc40kh1", "g8mb1ic64ih16oc64kh3ph1sh2"]


def fully_associative(lines):
    """zen4 with one fully associative level of that many lines."""
    return ZEN4._replace(levels=(Level("L1", lines * LINE, lines, LINE),))


@pytest.mark.parametrize("lines", [40, 512, 1 << 14])
@pytest.mark.parametrize("descriptor", LAYERS)
def test_a_kernel_s_trace_at_three_capacities(descriptor, lines):
    """A machine of one fully associative level counts what the distances say for its capacity, tensor by tensor."""
    problem = Conv2d.parse(descriptor)
    tiling = kernels.kernel_for(problem, 16).tiling(problem, 4, ZEN4.target)
    record, (distances,) = observed(lambda: accounts.simulate(None, descriptor, fully_associative(lines), tiling))
    counts = distances.counts([lines])[0]
    assert counts.sum(0).tolist() == totals(record)
    assert [name for name in OPERANDS if name in record["tensors"]] == ["input", "weight", "output"]
    for name in ("input", "weight", "output"):
        of_tensor = counts[OPERANDS.index(name)]
        assert of_tensor.tolist() == list(record["tensors"][name]["levels"][0].values())


@pytest.mark.parametrize("lines", [512, 2048, 1 << 15])
def test_a_block_s_runs_at_three_capacities(lines):
    """Fused and layer by layer are one run each."""
    record, runs = observed(lambda: accounts.simulate_block("ffn", 1, 12, 12, fully_associative(lines)))
    assert len(runs) == 2
    for one, distances in zip((record, record["unfused"]), runs, strict=True):
        assert distances.counts([lines])[0].sum(0).tolist() == totals(one)


def test_observing_changes_no_count_and_ends():
    plain = accounts.simulate(None, LAYERS[0], ZEN4)
    record, runs = observed(lambda: accounts.simulate(None, LAYERS[0], ZEN4))
    again = accounts.simulate(None, LAYERS[0], ZEN4)
    assert len(runs) == 1
    assert {**plain, "simulation_s": 0} == {**record, "simulation_s": 0} == {**again, "simulation_s": 0}


def test_an_observer_s_error_is_raised():
    def start(buffers, line_bytes):
        def fail(events):
            raise KeyboardInterrupt("stop")

        return fail

    with observing(start), pytest.raises(KeyboardInterrupt, match="stop"):
        accounts.simulate(None, LAYERS[0], ZEN4)
    assert accounts.simulate(None, LAYERS[0], ZEN4)["macs"]
