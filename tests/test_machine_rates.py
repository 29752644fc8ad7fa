"""Machines with rates alone, peaks of several types of numbers, and energy, as machine files say them; what is refused where they lack it."""

import pytest
from commands import GOOD, run

from refconv.elements import element
from sim.cli import bench, capacity
from sim.machine.energy import DRAM
from sim.machine.quantities import parse_energy
from sim.machine.record import load_machine, machine_from, presets

RATES = {"peak": {"float16": "2 TFLOP/s"}, "bandwidth": "10 GB/s"}
ENERGY = {"source": "a table", "mac": {"float32": "4.6 pJ"}, "access": {"L1": "10 pJ", "DRAM": "1.3 nJ"}}
ALONE = [name for name in presets() if not load_machine(name).levels]


def test_a_machine_of_rates_alone():
    machine = machine_from(RATES, "chip.yaml")
    assert (machine.levels, machine.vector_bytes, machine.registers, machine.peak_flop_per_s) == ((), None, None, None)
    assert machine.peak_of(element("float16")) == 2e12
    with pytest.raises(ValueError, match="dtype = 'float32': machine chip says no peak for it: must be one of float16"):
        machine.peak_of(element("float32"))


def test_one_rate_is_that_of_float32_and_of_halves_which_kernels_widen():
    machine = machine_from(GOOD, "core.yaml")
    assert [machine.peak_of(element(name)) for name in ("float32", "float16", "bfloat16", "float64")] == [1e9, 1e9, 1e9, 0.5e9]


def test_the_paper_s_machine():
    a5000 = load_machine("a5000")
    assert a5000.peak_of(element("float16")) == 76.68e12
    assert a5000.peak_of(element("float16")) / a5000.bandwidth_bytes_per_s == 160


def test_energy_of_a_file_and_its_absence_below_levels_of_its_own():
    energy = machine_from({**GOOD, "energy": ENERGY}, "core.yaml").energy
    assert (energy.mac_pj, energy.access_pj, energy.source) == ({"float32": 4.6}, {"L1": 10, DRAM: 1300}, "a table")
    assert machine_from(GOOD, "core.yaml").energy is None
    assert load_machine("textbook-45nm").record()["energy"]["access_pj"][DRAM] == 5200


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({**RATES, "line": "64 B"}, "caches, registers, vector: missing; such as .* .legal without: a machine with rates alone"),
        ({"peak": "1 GFLOP/s"}, "bandwidth: missing; such as bandwidth: 25 GB/s"),
        ({**RATES, "peak": {}}, r"peak: \{\}: must be a rate such as"),
        ({**RATES, "peak": {"float12": "1 GFLOP/s"}}, "peak: .*keys out of float64, float32"),
        ({**RATES, "peak": {"float16": "fast"}}, "peak: 'fast': must be a rate"),
        ({**RATES, "energy": ENERGY}, "energy: is for a machine with caches"),
        ({**RATES, "inclusion": "nine"}, "inclusion: is for a machine with caches"),
        ({**GOOD, "peak": {"float16": "1 GFLOP/s"}}, "peak: float32: is missing"),
        ({**GOOD, "energy": 1}, "energy: must be a mapping with the keys access, mac, source"),
        ({**GOOD, "energy": {**ENERGY, "source": ""}}, "energy: source: '': must be a line"),
        ({**GOOD, "energy": {**ENERGY, "access": {"L1": "1 pJ"}}}, "energy: access: DRAM: is missing; needed: L1, DRAM"),
        ({**GOOD, "energy": {**ENERGY, "access": {"L2": "1 pJ"}}}, "energy: access: L2: unknown key; legal: L1, DRAM"),
        ({**GOOD, "energy": {**ENERGY, "access": {"L1": "1 J", "DRAM": "1 pJ"}}}, "energy: access: L1: '1 J': must be an energy"),
        ({**GOOD, "energy": {**ENERGY, "mac": {}}}, "energy: mac: must have at least one"),
        ({**GOOD, "energy": {**ENERGY, "mac": "1 pJ"}}, "energy: mac: must be a mapping"),
    ],
)
def test_files_are_refused_by_key(document, text):
    with pytest.raises(ValueError, match=f"m.yaml: {text}"):
        machine_from(document, "m.yaml")


def test_energies_have_units():
    assert (parse_energy("3.7 pJ"), parse_energy("1.3nJ")) == (3.7, 1300)
    for text in ("3.7", "0 pJ", "1 W"):
        with pytest.raises(ValueError, match="must be an energy"):
            parse_energy(text)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("command", ["traffic", "capacity", "bench"])
def test_what_runs_kernels_says_that_a_machine_of_rates_alone_has_no_caches(name, command):
    layer = () if command == "bench" else ("--layer", "dwconv3")
    main = {"traffic": {}, "capacity": {"main": capacity.main}, "bench": {"main": bench.main}}[command]
    status, out, err = run(*layer, "--machine", name, **main)
    assert (status, out) == (2, "")
    assert err.startswith(f"sim.{command}: machine {name}: levels: must be at least one cache")
    assert "python -m sim.waterline" in err
    assert err.count("\n") == 1


def test_caches_given_to_a_machine_of_rates_alone_are_not_enough():
    status, _, err = run("--layer", "dwconv3", "--machine", "a5000", "--cache", "L1=32KiB,8,64")
    assert (status, err.count("\n")) == (2, 1)
    assert "a5000 with L1 given: vector and registers and peak of float32: must be there to run a kernel on" in err
