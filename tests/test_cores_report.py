"""What is said of several cores: the verdict uses their peaks together and the memory that they share; fewer than asked for is told."""

import csv
import io
import json

import pytest
from commands import run

import sim
from refconv import Conv2d
from sim.machine.record import load_machine

ZEN4 = load_machine("zen4")
STREAM = Conv2d.parse("g64mb1ic64ih20oc64kh3ph1")


def test_the_balance_is_that_of_the_cores_that_run():
    """Twice the peak over the same bandwidth: a layer between the two balances changes sides, one below attains half the part of the peak."""
    one, two = (sim.simulate(None, STREAM, ZEN4, cores=cores) for cores in (1, 2))
    assert one.balance_flop_per_byte == ZEN4.balance(4)
    assert two.balance_flop_per_byte == 2 * ZEN4.balance(4)
    assert two.attainable_efficiency == pytest.approx(two.intensity.simulated / two.balance_flop_per_byte)
    between = Conv2d.parse("g64mb1ic64ih20oc64kh7ph3")
    sides = [sim.simulate(None, between, ZEN4, cores=cores).limited_by for cores in (1, 2)]
    assert ZEN4.balance(4) < sim.simulate(None, between, ZEN4, cores=2).intensity.simulated < 2 * ZEN4.balance(4)
    assert sides == ["compute", "memory"]


def test_the_report_says_whose_balance_it_is():
    _, out, _ = run("--layer", str(STREAM), "--machine", "zen4", "--cores", "2")
    text = " ".join(out.split())
    assert "118.0 GFLOP/s (float32), 25.0 GB/s, of one core, the bandwidth as what 2 cores share" in text
    assert "balance of 2 cores of zen4 9.44 FLOP/B: as simulated memory-bound" in text
    assert "% of the peak of 2 cores" in text
    assert ", one core" not in text
    _, out, _ = run("--layer", str(STREAM), "--machine", "zen4")
    assert ", one core\n" in out and "balance of zen4 4.72" in " ".join(out.split())


def test_fewer_cores_than_asked_for_are_told():
    """A layer with one unit of work: in the record, in the table, and on stderr where the form has no place for it."""
    few = "mb1ic16ih2oc16oh2kh1ph0"
    account = sim.simulate("pointwise", few, ZEN4, cores=8)
    assert (account.number_of_cores, account.cores_wanted, account.cores) == (1, 8, None)
    assert account.as_json()["cores_wanted"] == 8
    assert account.balance_flop_per_byte == ZEN4.balance(4)
    assert "cores_wanted" not in sim.simulate("pointwise", few, ZEN4).as_json()
    _, out, err = run("--layer", few, "--machine", "zen4", "--cores", "8")
    assert "1 core, not the 8 asked for: as many as the kernel has units of work for this layer" in out
    assert err == ""
    for form in ("--json", "--csv"):
        status, out, err = run("--layer", few, "--machine", "zen4", "--cores", "8", form)
        assert (status, err.count("\n")) == (0, 1)
        assert f"--cores 8: {few} on 1 core, not the 8 asked for" in err
    assert next(csv.DictReader(io.StringIO(out)))["cores"] == "1"
    _, out, _ = run("--layer", few, "--machine", "zen4", "--cores", "8", "--json")
    assert json.loads(out)["layers"][0]["cores_wanted"] == 8
