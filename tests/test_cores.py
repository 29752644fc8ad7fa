"""Several cores on private levels above shared ones."""

import itertools

import accounts
import numpy as np
import pytest

from refconv import kernels
from refconv.elements import element
from refconv.problem.conv import Conv2d
from sim.account.layer import Cores, buffers_of, planned
from sim.account.records import OPERANDS
from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.observe import Watcher, watching
from sim.hierarchy.words import CHUNK, WATCHER
from sim.machine.record import load_machine, make_level
from sim.trace.run import compiled_for
from sim.trace.traced import Trace

LEVELS = (make_level("L1", "4KiB", 4, 64), make_level("L2", "16KiB", 4, 64), make_level("L3", "128KiB", 8, 64))
MACHINE = load_machine("zen4")._replace(levels=LEVELS)
PROBLEM = Conv2d(2, 160, 17, 19, 72, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1)


def lines_of(core):
    return core["read_bytes"] + core["write_bytes"]


class Model:
    """LRU, write-back, write-allocate caches as lists, private ones above shared ones: what multicore.py says, written anew."""

    def __init__(self, levels, private, cores):
        self.levels, self.private = levels, private
        shared = [[[] for _ in range(level.sets)] for level in levels[private:]]
        self.sets = [[[[] for _ in range(level.sets)] for level in levels[:private]] + shared for _ in range(cores)]
        self.read, self.written = [0] * cores, [0] * cores

    def _at(self, core, level, line):
        return self.sets[core][level][line % self.levels[level].sets]

    def access(self, core, line, write, level=0, whole=False):
        """whole: a line written back from above, which needs no read."""
        if level == len(self.levels):
            if write:
                self.written[core] += 1
            else:
                self.read[core] += 1
            return
        ways = self._at(core, level, line)
        dirty = write
        if any(held == line for held, _ in ways):
            dirty |= next(d for held, d in ways if held == line)
            ways[:] = [(held, d) for held, d in ways if held != line]
            ways.insert(0, (line, dirty))
            return
        if not whole:
            self.access(core, line, False, level + 1)
        ways.insert(0, (line, dirty))
        if len(ways) > self.levels[level].ways:
            old, was_dirty = ways.pop()
            if was_dirty:
                self.access(core, old, True, level + 1, whole=True)

    def dirty(self):
        """Lines that are dirty anywhere, a private copy counted for each core that has one."""
        private = sum(len({line for sets in own[: self.private] for ways in sets for line, d in ways if d}) for own in self.sets)
        mine = {line for own in self.sets for sets in own[: self.private] for ways in sets for line, d in ways if d}
        return private + len({line for sets in self.sets[0][self.private :] for ways in sets for line, d in ways if d} - mine)


def traces(row, problem, tiling, cores):
    """Every core's events: its share of the units with a workspace of its own, and how many each turn takes."""
    dtype, made = element("float32"), []
    buffers = buffers_of(row, problem, tiling, MACHINE, dtype, False, cores)
    units = row.units(problem, tiling)
    for core in range(cores):
        turns = []
        hierarchy = Hierarchy([(1, 1)], 64, len(buffers))
        trace = Trace(hierarchy, MACHINE.vector_bytes)
        laid = [trace.buffer(*buffer) for buffer in buffers]
        with watching(lambda *_, turns=turns: lambda events: turns.append(events.copy())):
            watcher = Watcher(hierarchy, buffers, 64)
        hierarchy.state[WATCHER] = watcher.address
        share = core * units // cores, (core + 1) * units // cores
        arguments = (*laid[: len(OPERANDS)], tuple(laid[len(OPERANDS) :]), problem, tiling, core, cores, *share)
        compiled_for(row.run, arguments)(*arguments)
        hierarchy.finish()
        watcher.check()
        made.append(turns)
    return made


@pytest.mark.parametrize(("cores", "private"), [(2, 1), (3, 2), (2, 3)])
def test_cores_take_turns_on_shared_levels(cores, private):
    """Every core's DRAM lines are those of a model of lists, fed the same turns; no level shared, some, all but the first."""
    row, tiling = planned("pointwise", PROBLEM, MACHINE, element("float32"), None, cores)
    tiling = tiling._replace(pixels=8 * int(tiling.rows))
    record = accounts.simulate("pointwise", PROBLEM, MACHINE, tiling, cores=Cores(cores, private))
    turns = traces(row, PROBLEM, row.checked(tiling, tiling, PROBLEM, 16), cores)
    assert max(map(len, turns)) > 1 and max(len(turn) for turn in itertools.chain(*turns)) >= CHUNK, "several turns"
    model, mask = Model(LEVELS, private, cores), (1 << 34) - 1
    number = {}
    for around in itertools.zip_longest(*turns, fillvalue=()):
        for core, events in enumerate(around):
            for event in np.asarray(events, np.int64).tolist():
                number[event >> 1] = event >> 1 & mask
                model.access(core, number[event >> 1], bool(event & 1))
    assert [core["read_bytes"] for core in record["cores"]] == [64 * lines for lines in model.read]
    assert record["dram"]["write_bytes"] == 64 * (sum(model.written) + model.dirty())
    assert record["dram"]["read_bytes"] == sum(core["read_bytes"] for core in record["cores"])


def test_one_core_is_a_run_without_cores_and_a_run_is_the_same_each_time():
    once, again = (accounts.simulate("pointwise", PROBLEM, MACHINE, cores=2) for _ in range(2))
    strip = lambda record: {key: value for key, value in record.items() if key != "simulation_s"}
    assert strip(once) == strip(again)
    assert strip(accounts.simulate("pointwise", PROBLEM, MACHINE, cores=1)) == strip(accounts.simulate("pointwise", PROBLEM, MACHINE))
    few = Conv2d(1, 16, 2, 2, 16, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1)
    row = kernels.KERNELS["pointwise"]
    units = row.units(few, planned("pointwise", few, MACHINE, element("float32"), None, 8)[1])
    assert len(accounts.simulate("pointwise", few, MACHINE, cores=8).get("cores", [0])) == min(8, units), "no more cores than units"


def test_a_shared_level_reads_the_weights_once_and_private_ones_once_a_core():
    """Where everything fits: shared below, compulsory traffic as on one core; nothing shared, the weights once for each core."""
    large = MACHINE._replace(levels=(make_level("L1", "64KiB", 4, 64), make_level("L2", "1MiB", 16, 64)))
    one = accounts.simulate("pointwise", PROBLEM, large)
    shared, own = (accounts.simulate("pointwise", PROBLEM, large, cores=Cores(2, private)) for private in (1, 2))
    weight = one["tensors"]["weight"]["read_bytes"]
    assert shared["tensors"]["weight"]["read_bytes"] == weight
    assert own["tensors"]["weight"]["read_bytes"] == 2 * weight
    assert all(core["read_bytes"] > 0 for core in own["cores"])
    assert one["macs"] == own["macs"]
    assert own["bound_bytes"] <= lines_of(own["dram"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cores": 0}, "cores = 0: must be an integer from 1 to 256"),
        ({"cores": Cores(2, 0)}, "private = 0: must be an integer from 1"),
        ({"cores": 2, "warm": True}, "cores = 2: must be 1 with stores, warm or classify"),
        ({"cores": 2, "machine": MACHINE._replace(inclusion="inclusive")}, "cores = 2: must be 1 where the hierarchy is inclusive"),
    ],
)
def test_what_is_illegal_is_named(options, text):
    with pytest.raises(ValueError, match=text):
        accounts.simulate("pointwise", PROBLEM, **{"machine": MACHINE, **options})
