"""Several cores on private levels above shared ones."""

import itertools

import accounts
import pytest
from cores_model import LEVELS, MACHINE, PROBLEM, Model, feed, simulated

from refconv.elements import element
from refconv.problem.conv import Conv2d
from sim.account.layer import Cores, scheduled
from sim.hierarchy.words import CHUNK
from sim.machine.record import make_level


def lines_of(core):
    return core["read_bytes"] + core["write_bytes"]


@pytest.mark.parametrize(("cores", "private"), [(2, 1), (3, 2), (2, 3)])
def test_cores_take_turns_on_shared_levels(cores, private):
    """Every core's DRAM lines are those of a model of lists, fed the same turns; no level shared, some, all but the first."""
    record, turns = simulated(cores, private)
    assert max(map(len, turns)) > 1 and max(len(turn) for turn in itertools.chain(*turns)) >= CHUNK, "several turns"
    model = Model(LEVELS, private, cores)
    feed(model, turns)
    assert [core["read_bytes"] for core in record["cores"]] == [64 * lines for lines in model.read]
    assert record["dram"]["write_bytes"] == 64 * (sum(model.written) + model.dirty())
    assert record["dram"]["read_bytes"] == sum(core["read_bytes"] for core in record["cores"])


def test_one_core_is_a_run_without_cores_and_a_run_is_the_same_each_time():
    once, again = (accounts.simulate("pointwise", PROBLEM, MACHINE, cores=2) for _ in range(2))
    strip = lambda record: {key: value for key, value in record.items() if key != "simulation_s"}
    assert strip(once) == strip(again)
    assert strip(accounts.simulate("pointwise", PROBLEM, MACHINE, cores=1)) == strip(accounts.simulate("pointwise", PROBLEM, MACHINE))
    few = Conv2d(1, 16, 2, 2, 16, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1)
    units = scheduled("pointwise", few, MACHINE, element("float32"), cores=8).calls[0].units
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
        ({"cores": 2, "machine": MACHINE._replace(inclusion="inclusive")}, "cores = 2: must be 1 where the hierarchy is inclusive"),
    ],
)
def test_what_is_illegal_is_named(options, text):
    with pytest.raises(ValueError, match=text):
        accounts.simulate("pointwise", PROBLEM, **{"machine": MACHINE, **options})
