"""A run's life: whose bytes are whose on several cores, what works with them, and what is refused."""

import accounts
import numpy as np
import pytest
from cores_model import LEVELS, MACHINE, PROBLEM, Model, feed, simulated
from hypothesis import given, settings
from hypothesis import strategies as st

from refconv.jit import Part, kernel
from sim.account.layer import Cores
from sim.analysis.stack_distance import StackDistances
from sim.hierarchy.observe import observing
from sim.hierarchy.words import LOADS, READ, STORES, WRITTEN, WRITTEN_BY_FLUSH
from sim.machine.record import load_machine, make_level
from sim.trace.run import Run
from sim.trace.traced import read, write

EQUAL_HALVES = "g4mb1ic16ih12oc24kh5ph2"
SMALL = load_machine("zen4")._replace(levels=(make_level("L1", "2KiB", 4, 64), make_level("L2", "16KiB", 4, 64), make_level("L3", "256KiB", 16, 64)))


class Owned(Model):
    """Bytes written to memory from a shared level are those of the core that last stored the line there."""

    def __init__(self, levels, private, cores):
        super().__init__(levels, private, cores)
        self.owner = {}

    def access(self, core, line, write, level=0, whole=False):
        if write and level == min(self.private, len(self.levels)):
            self.owner[line] = core
        super().access(self.owner[line] if write and level == len(self.levels) else core, line, write, level, whole)

    def flushed(self):
        """Lines of each core that are dirty at the end."""
        own = [{line for sets in of_core[: self.private] for ways in sets for line, d in ways if d} for of_core in self.sets]
        shared = {line for sets in self.sets[0][self.private :] for ways in sets for line, d in ways if d} - set().union(*own)
        return [len(lines) + sum(self.owner[line] == core for line in shared) for core, lines in enumerate(own)]


@pytest.mark.parametrize(("cores", "private"), [(2, 1), (3, 2), (2, 3)])
def test_a_core_s_bytes_are_those_it_stores(cores, private):
    record, turns = simulated(cores, private)
    model = Owned(LEVELS, private, cores)
    feed(model, turns)
    assert [core["read_bytes"] for core in record["cores"]] == [64 * lines for lines in model.read]
    assert [core["write_bytes"] for core in record["cores"]] == [64 * sum(lines) for lines in zip(model.written, model.flushed(), strict=True)]


@pytest.mark.parametrize("private", [1, 2, 3])
def test_equal_halves_write_equally(private):
    """Two halves of the groups, the same work: 53632 and 1152 bytes where whoever drives a line out is charged for it."""
    record = accounts.simulate(None, EQUAL_HALVES, SMALL, cores=Cores(2, private))
    first, second = (core["write_bytes"] for core in record["cores"])
    assert first == second
    assert first + second == record["dram"]["write_bytes"]


@kernel
def copy(x, out, part):
    """Load and store the elements of a Part."""
    for i in range(part.first, part.last):
        write(out, i, read(x, i))


def halves(run, elements):
    """Copy on all cores of a run, contiguous parts."""
    run.call_split(copy, lambda own: own, elements)


@settings(max_examples=60, deadline=None)
@given(
    elements=st.integers(1, 200).map(lambda lines: 32 * lines),
    sizes=st.tuples(*(st.sampled_from([1, 2, 4, 16]) for _ in range(3))),
    private=st.integers(1, 3),
    rules=st.sampled_from([(), ("fifo",), ("lru", "through"), ("plru", "back", False)]),
    line=st.sampled_from([64, 128]),
)
def test_a_copy_in_halves_moves_equal_bytes(elements, sizes, private, rules, line):
    """By symmetry, whatever the caches: both read one half and write one, whole lines that no other core touches."""
    levels = [make_level(f"L{i + 1}", 64 * 2 * sets, 2, 64, *rules) for i, sets in enumerate(sizes)]
    levels.append(make_level("L4", line * 4 * 8, 4, line))
    run = Run(MACHINE._replace(levels=tuple(levels)).checked(), [("x", elements, 4), ("out", elements, 4)], cores=2, private=private)
    halves(run, elements)
    counts, dram = run.moved(last=True)
    assert counts[0, :, [LOADS, STORES]].tolist() == [[elements, 0], [0, elements]]
    (_, one), (_, other) = run.per_core
    np.testing.assert_array_equal(one + other, dram)
    if elements * 4 // 2 % line == 0 and not (rules and line > 64):
        assert one[1, [WRITTEN, WRITTEN_BY_FLUSH]].sum() == other[1, [WRITTEN, WRITTEN_BY_FLUSH]].sum()
        assert one[0, READ] == other[0, READ]


def test_an_observer_sees_the_events_of_all_cores():
    """Whose sums are the first level's accesses; a core's come in its turns, one core after the other."""
    seen = []
    with observing(lambda buffers, line_bytes: lambda events: seen.append(events.copy())):
        record = accounts.simulate("pointwise", PROBLEM, MACHINE, cores=2)
    events = np.concatenate(seen)
    assert len(events) == record["levels"][0]["loads"] + record["levels"][0]["stores"]
    assert (events & 1).sum() == record["levels"][0]["stores"]
    runs = []
    with observing(lambda buffers, line_bytes: runs.append(StackDistances(buffers, line_bytes)) or runs[-1].take):
        accounts.simulate("pointwise", PROBLEM, MACHINE, cores=2)
    assert len(runs) == 1
    assert runs[0].counts([1 << 20])[0].sum() > 0


def test_an_observer_s_error_on_several_cores_is_raised():
    def start(buffers, line_bytes):
        def fail(events):
            raise KeyboardInterrupt("stop")

        return fail

    with observing(start), pytest.raises(KeyboardInterrupt, match="stop"):
        accounts.simulate("pointwise", PROBLEM, MACHINE, cores=2)


def test_warm_classified_and_stored_past_the_caches_on_several_cores():
    large = MACHINE._replace(levels=(make_level("L1", "16KiB", 4, 64), make_level("L2", "2MiB", 16, 64)))
    cold, warm, classified, past = (
        accounts.simulate("pointwise", PROBLEM, large, cores=Cores(2, 1), **options)
        for options in ({}, {"warm": True}, {"classify": True}, {"stores": "nontemporal"})
    )
    assert warm["dram"]["read_bytes"] == 0 < cold["dram"]["read_bytes"]
    assert classified["dram"] == cold["dram"]
    assert [core["write_bytes"] for core in classified["cores"]] == [core["write_bytes"] for core in cold["cores"]]
    shared = classified["levels"][1]
    assert shared["compulsory_misses"] == shared["load_misses"] == cold["dram"]["read_bytes"] // 64, (
        "what one core has loaded is no first access of another"
    )
    assert past["tensors"]["output"]["read_bytes"] == 0
    assert past["tensors"]["output"]["write_bytes"] >= past["tensors"]["output"]["compulsory_bytes"]
    assert past["tensors"]["input"] == cold["tensors"]["input"]


def test_a_run_that_is_over_is_refused():
    """Its hierarchy is another run's by then: what is written to it would be counted there."""
    buffers = [("x", 64, 4), ("out", 64, 4)]
    over = Run(MACHINE, buffers)
    halves(over, 64)
    over.moved(last=True)
    new = Run(MACHINE, buffers)
    for use in (lambda: over.call(copy, *over.buffers, Part(0, 1, 0, 64)), lambda: halves(over, 64), over.moved, lambda: over.moved(last=True)):
        with pytest.raises(ValueError, match="this run is over"):
            use()
    assert not new.moved()[0].any()
    many = Run(MACHINE, buffers, cores=2)
    with pytest.raises(ValueError, match="a run on 2 cores: must be called by call_split"):
        many.call(copy, *many.buffers, Part(0, 1, 0, 64))


def test_buffers_of_another_run_are_refused():
    one, other = (Run(MACHINE, [("x", 64, 4), ("out", 64, 4)]) for _ in range(2))
    with pytest.raises(ValueError, match="a traced buffer of another run"):
        one.call(copy, one.buffers[0], other.buffers[1], Part(0, 1, 0, 64))
    two = Run(MACHINE, [("x", 64, 4), ("out", 64, 4)], cores=2)
    with pytest.raises(ValueError, match="a traced buffer of another run"):
        two.call_split(copy, lambda own: two.buffers, 64)
