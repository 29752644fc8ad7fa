"""Line sizes that differ from level to level, and lines as short as an element: against a model in the words of the semantics, and on real runs."""

import itertools
import json
import os
import subprocess
import sys

import accounts
import numpy as np
import pytest
from cache_model import Ordered, Placed, caches, check_counts, draws, first_and_full, numbered
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.account.layer import Cores
from sim.hierarchy.hierarchy import Hierarchy, loop_address
from sim.hierarchy.long_lines import long_lines_loop
from sim.hierarchy.words import (
    FLUSHED,
    HEADER,
    LOAD_MISSES,
    LOADS,
    READ,
    STORE_MISSES,
    STORES,
    WRITEBACKS,
    WRITTEN,
    WRITTEN_BY_FLUSH,
)
from sim.machine.level import Cache, Level
from sim.machine.record import load_machine

ZEN4 = load_machine("zen4")


class Model:
    """A hierarchy in the words of sim/hierarchy/hierarchy.py: lines are (tensor, number among those of the level's size), sizes in units."""

    def __init__(self, levels, tensors, inclusion):
        self.caches, self.inclusive, self.sets = levels, inclusion == "inclusive", []
        for cache in levels:
            draw = draws(cache.seed).__next__ if cache.policy == "random" else None
            self.sets.append([(Ordered if cache.policy in ("lru", "fifo") else Placed)(cache, draw) for _ in range(cache.sets)])
        self.dirty, self.arrivals = [set() for _ in levels], [[] for _ in levels]
        self.counts, self.dram = np.zeros((len(levels), tensors, 6), int), np.zeros((tensors, 3), int)

    def set_of(self, level, line):
        """The set that a line of a level may be in."""
        return self.sets[level][line[1] % self.caches[level].sets]

    def held(self, level, line):
        """Whether the level has it."""
        return line in self.set_of(level, line).lines

    def around(self, level, tensor, unit):
        """The line of a level that a unit is a part of."""
        return tensor, unit // self.caches[level].units

    def arrive(self, level, tensor, unit, size, write, whole=False):
        """A load or store of `size` units from `unit` on comes to a level or to memory; whole: all of those units are stored."""
        if level == len(self.caches):
            self.dram[tensor, WRITTEN if write else READ] += size
            return
        cache, line = self.caches[level], self.around(level, tensor, unit)
        hit = self.held(level, line)
        self.counts[level, tensor, STORES if write else LOADS] += 1
        self.arrivals[level].append((line, not write or cache.allocate))
        if hit:
            self.set_of(level, line).use(line)
        else:
            self.counts[level, tensor, STORE_MISSES if write else LOAD_MISSES] += 1
            if cache.allocate or not write:
                if not (whole and size == cache.units):
                    self.arrive(level + 1, tensor, line[1] * cache.units, cache.units, False)
                self.insert(level, line)
        if write and cache.write_back and self.held(level, line):
            self.dirty[level].add(line)
        elif write:
            self.counts[level, tensor, WRITEBACKS] += 1
            self.arrive(level + 1, tensor, unit, size, True, whole)

    def insert(self, level, line):
        """A line comes in; what it drives out goes down if it is dirty, and takes its parts with it if the hierarchy is inclusive."""
        victim = self.set_of(level, line).insert(line)
        if victim is None:
            return
        tensor, units = victim[0], self.caches[level].units
        first = victim[1] * units
        for above in range(level if self.inclusive else 0):
            for unit in range(first, first + units, self.caches[above].units):
                part = self.around(above, tensor, unit)
                if self.held(above, part):
                    self.set_of(above, part).remove(part)
                    if part in self.dirty[above]:
                        self.dirty[above].remove(part)
                        self.counts[above, tensor, WRITEBACKS] += 1
                        self.counts[above + 1, tensor, STORES] += 1
                        whole = self.around(above + 1, tensor, unit)
                        self.arrivals[above + 1].append((whole, self.caches[above + 1].allocate))
                        self.dirty[above + 1].add(whole)
        if victim in self.dirty[level]:
            self.dirty[level].remove(victim)
            self.counts[level, tensor, WRITEBACKS] += 1
            self.arrive(level + 1, tensor, first, units, True, whole=True)

    def access(self, tensor, unit, write):
        """The processor loads or stores."""
        self.arrive(0, tensor, unit, 1, write)

    def flush(self):
        """Each dirty line goes to memory: as a part of a longer line that a level below holds and may be dirty, else by itself."""
        for level, cache in enumerate(self.caches):
            for line in self.dirty[level]:
                tensor, unit = line[0], line[1] * cache.units
                for below in range(level + 1, len(self.caches)):
                    there = self.around(below, tensor, unit)
                    if self.held(below, there) and self.caches[below].write_back and self.caches[below].units > cache.units:
                        self.dirty[below].add(there)
                        break
                    if self.caches[below].units == cache.units:
                        self.dirty[below].discard(there)
                else:
                    self.counts[level, tensor, FLUSHED] += 1
                    self.dram[tensor, WRITTEN_BY_FLUSH] += cache.units


@st.composite
def hierarchies(draw):
    """(levels of lines that grow somewhere, inclusion)."""
    units, levels, longer = 1, [], draw(st.lists(st.sampled_from([1, 1, 2, 4, 8]), min_size=1, max_size=3).filter(lambda shape: max(shape) > 1))
    for times in (1, *longer):
        cache, units = draw(caches()), units * times
        levels.append(cache._replace(units=units, **({"write_back": True, "allocate": True} if times > 1 else {})))
    return levels, draw(st.sampled_from(["nine", "inclusive"]))


@st.composite
def traces(draw):
    """Accesses (tensor, unit, is_store)."""
    if draw(st.booleans()):
        return draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 100), st.booleans()), max_size=300))
    rng, n = np.random.default_rng(draw(st.integers(0, 1 << 30))), draw(st.integers(1, 500))
    tensor, unit = rng.integers(0, draw(st.integers(1, 3)), n), rng.integers(0, draw(st.sampled_from([5, 20, 100, 400])), n)
    return list(zip(tensor.tolist(), unit.tolist(), (rng.random(n) < draw(st.floats(0, 1))).tolist(), strict=True))


def check_equal(expected, hierarchy, accesses, first_of_tensor=0):
    """The hierarchy counts what the model does, before and after the flush, and is empty after it."""
    for tensor, unit, write in accesses:
        expected.access(tensor, first_of_tensor * tensor + unit, write)
    numbers = [numbered(tensor, first_of_tensor * tensor + unit, 4) for tensor, unit, _ in accesses]
    hierarchy.access(numbers, [write for *_, write in accesses])
    check_counts(expected, hierarchy)
    tags = hierarchy.words[hierarchy.words[HEADER.tags_at] :]
    assert not tags.any(), "empty"


@settings(max_examples=600)
@given(hierarchies(), traces())
def test_every_counter_equals_the_model(hierarchy, accesses):
    levels, inclusion = hierarchy
    check_equal(Model(levels, 3, inclusion), Hierarchy(levels, 4, 3, inclusion), accesses)


@settings(max_examples=200)
@given(st.lists(caches(), min_size=1, max_size=4), st.sampled_from(["nine", "inclusive"]), traces())
def test_the_loop_for_unlike_lines_agrees_where_they_are_alike(levels, inclusion, accesses):
    """Against the model, and so against the loops for one line size, whose model in test_cache.py is another."""
    hierarchy = Hierarchy(levels, 4, 3, inclusion)
    hierarchy.words[HEADER.loop] = loop_address(long_lines_loop)
    check_equal(Model(levels, 3, inclusion), hierarchy, accesses)


@settings(max_examples=200)
@given(hierarchies(), traces())
def test_misses_are_classified_in_lines_of_the_level(hierarchy, accesses):
    levels, inclusion = hierarchy
    expected, simulated = Model(levels, 3, inclusion), Hierarchy(levels, 4, 3, inclusion, places=3 * 512)
    check_equal(expected, simulated, accesses, first_of_tensor=512)
    for cache, arrivals, classes in zip(levels, expected.arrivals, simulated.classes, strict=True):
        np.testing.assert_array_equal(classes, first_and_full(arrivals, cache.sets * cache.ways, 3))


def test_a_part_that_is_stored_loads_the_rest_by_hand():
    """Two units a line below. Store 0, then load 2 and 4 through one line above: 0 goes to its line below, which is there or is loaded first."""
    for ways, read, written in ((3, 6, 0), (1, 8, 2)):
        hierarchy = Hierarchy([Cache(1, 1), Cache(1, ways, units=2)], 32, 1)
        hierarchy.access([0, 2, 4], [1, 0, 0])
        assert hierarchy.dram[0].tolist() == [read, written, 0]
        assert hierarchy.counts[1, 0].tolist() == [3, 1, 3, int(ways == 1), int(ways == 1), 0]


def test_a_line_flushed_as_a_part_of_a_longer_one_is_written_once():
    """Both halves of a line below are dirty above: one line of two units. If the level below has lost it, two of one."""
    hierarchy = Hierarchy([Cache(1, 4), Cache(1, 1, units=2)], 32, 1)
    hierarchy.access([0, 1], [1, 1])
    hierarchy.finish()
    assert hierarchy.counts[:, 0, FLUSHED].tolist() == [0, 1]
    assert hierarchy.dram[0].tolist() == [2, 0, 2]
    hierarchy.reset()
    hierarchy.access([0, 1, 2], [1, 1, 0])
    hierarchy.finish()
    assert hierarchy.counts[:, 0, FLUSHED].tolist() == [2, 0]
    assert hierarchy.dram[0].tolist() == [4, 0, 2]


def machine(*levels, **changes):
    """zen4 with levels (size, ways, line)."""
    return ZEN4._replace(levels=tuple(Level(f"L{i + 1}", *level) for i, level in enumerate(levels)), **changes).checked()


LAYER = "mb1ic24ih10oc40kh1"


def test_where_a_layer_fits_memory_moves_whole_lines_of_the_last_level():
    """The lines of 256 bytes of input and output are read once, and those of the output written once, at the end; nothing in between is lost."""
    record = accounts.simulate(None, LAYER, machine((32 << 10, 8, 16), (256 << 10, 8, 64), (4 << 20, 16, 256)))
    for name in ("input", "output"):
        assert record["tensors"][name]["read_bytes"] == -(-record["tensors"][name]["bytes"] // 256) * 256
    assert record["tensors"]["output"]["write_bytes"] == -(-record["tensors"]["output"]["bytes"] // 256) * 256
    assert [level["line_bytes"] for level in record["levels"]] == [16, 64, 256]
    assert sum(level["flushed"] * level["line_bytes"] for level in record["levels"]) == record["flushed_bytes"]


@pytest.mark.parametrize("sizes", [((1 << 10, 2, 16), (8 << 10, 4, 64)), ((2 << 10, 8, 4), (2 << 10, 2, 64), (16 << 10, 4, 64)), ((1 << 10, 4, 4),)])
def test_bytes_are_conserved_from_level_to_level(sizes):
    """What a level loads is a line of its own; what memory moves, lines of the last level, but for parts that are flushed by themselves."""
    record = accounts.simulate(None, LAYER, machine(*sizes))
    levels, dram = record["levels"], record["dram"]
    for above, below in itertools.pairwise(levels):
        assert below["loads"] == above["load_misses"] + above["store_misses"]
        assert below["stores"] == above["writebacks"]
    last = levels[-1]
    partial = last["loads"] and sum(level["writebacks"] for level in levels[:-1])
    assert last["load_misses"] * last["line_bytes"] <= dram["read_bytes"] <= (last["load_misses"] + last["store_misses"]) * last["line_bytes"]
    assert partial or dram["read_bytes"] == (last["load_misses"] + last["store_misses"]) * last["line_bytes"]
    written = dram["write_bytes"] - record["flushed_bytes"]
    assert written == last["writebacks"] * last["line_bytes"]
    assert sum(level["flushed"] * level["line_bytes"] for level in levels) == record["flushed_bytes"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lines_of_4_bytes_move_single_elements(dtype):
    """Each element of 8 bytes is two lines: twice the accesses of lines of 8 bytes, the same bytes; where all fits, each element moves once."""
    fine, coarse = (accounts.simulate(None, LAYER, machine((4 << 20, 16, line)), dtype=dtype) for line in (4, 8))
    if dtype == "float64":
        assert [fine["levels"][0][key] for key in ("loads", "stores")] == [2 * coarse["levels"][0][key] for key in ("loads", "stores")]
        assert (fine["dram"], fine["flushed_bytes"]) == (coarse["dram"], coarse["flushed_bytes"])
    assert all(tensor["read_bytes"] <= tensor["bytes"] for tensor in fine["tensors"].values())
    assert fine["tensors"]["output"]["write_bytes"] == fine["tensors"]["output"]["compulsory_bytes"]
    assert fine["tensors"]["input"]["read_bytes"] == fine["tensors"]["input"]["compulsory_bytes"]


def test_longer_lines_below_change_nothing_of_what_the_first_level_sees():
    same, longer = (accounts.simulate(None, LAYER, machine((2 << 10, 2, 64), (32 << 10, 8, line))) for line in (64, 256))
    keys = ("loads", "stores", "load_misses", "store_misses", "writebacks")
    assert [same["levels"][0][key] for key in keys] == [longer["levels"][0][key] for key in keys]
    warm = accounts.simulate(None, LAYER, machine((2 << 10, 2, 64), (1 << 20, 8, 256)), warm=True, classify=True)
    assert warm["dram"]["read_bytes"] == 0
    past = accounts.simulate(None, LAYER, machine((2 << 10, 2, 64), (1 << 20, 8, 256)), stores="nontemporal")
    assert past["tensors"]["output"]["read_bytes"] == 0
    cores = accounts.simulate(None, LAYER, machine((2 << 10, 2, 64), (1 << 20, 8, 256)), cores=Cores(2, 1))
    assert cores["dram"]["write_bytes"] == sum(core["write_bytes"] for core in cores["cores"])
    assert cores["dram"]["read_bytes"] == sum(core["read_bytes"] for core in cores["cores"])


def test_command_lines():
    caches = "--cache", "L1=4KiB,4,16", "--cache", "L2=64KiB,8,128"
    status, out, err = run("--layer", LAYER, "--machine", "zen4", "--cache", "L1=4KiB,4,16", "--cache", "L2=64KiB,8,64", "--json")
    assert (status, err) == (0, "")
    assert [level["line_bytes"] for level in json.loads(out)["layers"][0]["levels"]] == [16, 64, 64]
    status, out, err = run("--layer", LAYER, "--machine", "zen4", *caches)
    assert status == 2
    assert "line sizes L1: 16, L2: 128, L3: 64: a level's must be the same as that of the level above it, or larger" in err


def test_a_capacity_curve_is_of_the_first_level_s_lines():
    from sim.account.capacity import against_capacity
    from sim.account.layer import simulate

    unlike, alike = machine((2 << 10, 2, 64), (32 << 10, 8, 1024)), machine((2 << 10, 2, 64), (32 << 10, 8, 64))
    calls = [(simulate, {"kernel": None, "problem": LAYER, "machine": one}) for one in (unlike, alike)]
    curves = [against_capacity(call, None, call[1]["machine"]).as_json()["points"] for call in calls]
    assert [[point[key] for key in ("capacity_bytes", "read_bytes", "write_bytes")] for point in curves[0]] == [
        [point[key] for key in ("capacity_bytes", "read_bytes", "write_bytes")] for point in curves[1]
    ]


def test_the_loop_is_read_from_disk_by_the_next_process(tmp_path):
    """It calls itself: compiled for arguments of more than one type, it could not be."""
    code = (
        "from sim.hierarchy.hierarchy import Hierarchy; from sim.hierarchy.long_lines import long_lines_loop; "
        "h = Hierarchy([(1, 1), (1, 1, 'lru', True, True, 0, 2)], 4, 1); h.access([0, 1, 2], [1, 0, 0]); "
        "print(h.dram[0].tolist(), sum(long_lines_loop.stats.cache_hits.values()))"
    )
    for hits in (0, 1):
        environment = {**os.environ, "REFCONV_CACHE_DIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stdout) == (0, f"[4, 2, 0] {hits}\n"), done.stderr
