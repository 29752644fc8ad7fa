"""The hierarchy against pycachesim, an outside simulator, on traces of millions of accesses: exact, on the ground both share.

pycachesim 0.3.1 (AGPL; an optional test extra, no part of the package) does not refresh recency when a store hits. So: traces of loads; and
traces in which each store follows a load of its line, where the write-backs that reach a lower level do not change what it drives out:
a single level, or lower levels that hold everything.
"""

import numpy as np
import pytest

from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.words import LOAD_MISSES, LOADS, READ, STORE_MISSES, STORES, WRITEBACKS, WRITTEN

cachesim = pytest.importorskip("cachesim")

ZEN4 = [(64, 8), (2048, 8), (32768, 16)]
SMALL = [(16, 4), (64, 4), (128, 8)]


def outside(levels, lines, stored):
    """(pycachesim's stats, nearest level first, then memory; what memory has stored after a flush): lines loaded, then stored where `stored`."""
    memory, caches = cachesim.MainMemory(), []
    for i, (sets, ways) in reversed(list(enumerate(levels))):
        below = {"store_to": caches[0], "load_from": caches[0]} if caches else {}
        caches.insert(0, cachesim.Cache(f"L{i + 1}", sets, ways, 64, "LRU", **below))
    memory.load_to(caches[-1])
    memory.store_from(caches[-1])
    simulator = cachesim.CacheSimulator(caches[0], memory)
    if stored is None:
        simulator.load((lines * 64).tolist(), length=1)
    else:
        for line, write in zip(lines.tolist(), stored.tolist(), strict=True):
            simulator.load(line * 64)
            if write:
                simulator.store(line * 64)
    before = list(simulator.stats())
    simulator.force_write_back()
    return before, list(simulator.stats())[-1]["STORE_count"]


def check_equal(levels, lines, stored=None):
    """Loads, misses, stores and write-backs of every level, and memory's reads and writes."""
    hierarchy = Hierarchy(levels, 64, 1)
    if stored is None:
        hierarchy.access(lines, np.zeros(len(lines), int))
    else:
        hierarchy.access(np.repeat(lines, 1 + stored), np.concatenate([np.arange(1 + write) for write in stored]))
    (*caches, memory), stored_in_the_end = outside(levels, lines, stored)
    for ours, theirs in zip(hierarchy.counts[:, 0], caches, strict=True):
        assert [ours[LOADS], ours[LOAD_MISSES], ours[STORES]] == [theirs["LOAD_count"], theirs["MISS_count"], theirs["STORE_count"]]
        assert ours[WRITEBACKS] == theirs["EVICT_count"]
    assert hierarchy.dram[0, READ] == memory["LOAD_count"]
    assert hierarchy.dram[0, WRITTEN] == memory["STORE_count"]
    hierarchy.finish()
    assert hierarchy.dram[0, WRITTEN:].sum() == stored_in_the_end
    return hierarchy


def conv3x3(c, k, h, w):
    """The lines that a plain nest over k, p, q, c, r, s loads, float32 NHWC beside KRSC: input and weight in turn."""
    out_k, p, q, channel, r, s = (axis.ravel() for axis in np.indices((k, h - 2, w - 2, c, 3, 3)))
    x = ((p + r) * w + q + s) * c + channel
    weight = h * w * c + ((out_k * 3 + r) * 3 + s) * c + channel
    return np.stack([x, weight], 1).ravel() * 4 // 64


@pytest.mark.parametrize("levels", [ZEN4, SMALL])
def test_loads_of_a_convolution(levels):
    lines = conv3x3(16, 8, 40, 40)
    assert len(lines) > 3_000_000
    check_equal(levels, lines)


@pytest.mark.parametrize("levels", [ZEN4, SMALL])
def test_loads_at_random(levels):
    rng = np.random.default_rng(1)
    lines = np.where(rng.random(1_000_000) < 0.6, rng.integers(0, 1500, 1_000_000), rng.integers(0, 1 << 21, 1_000_000))
    hierarchy = check_equal(levels, lines)
    assert hierarchy.counts[1, 0, LOAD_MISSES] < hierarchy.counts[1, 0, LOADS]


@pytest.mark.parametrize(
    ("levels", "lines"),
    [
        ([(64, 8)], np.random.default_rng(2).integers(0, 1000, 400_000)),
        (ZEN4, np.random.default_rng(3).integers(0, 8000, 400_000)),
    ],
    ids=["one level", "all held below"],
)
def test_stores_after_loads(levels, lines):
    stored = np.random.default_rng(4).integers(0, 2, len(lines))
    hierarchy = check_equal(levels, lines, stored)
    assert hierarchy.counts[0, 0, STORE_MISSES] == 0
    assert hierarchy.counts[0, 0, WRITEBACKS] > 1000
