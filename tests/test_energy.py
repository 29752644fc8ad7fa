"""Energy: by hand from a layer's counts, tensors and arithmetic adding up to the whole, the same layer dense and depthwise, and its absence."""

import csv
import io
import json

import pytest
from commands import run

from sim.account.block import simulate_block
from sim.account.energy import ARITHMETIC
from sim.account.layer import simulate
from sim.machine.energy import DRAM
from sim.machine.record import load_machine, make_level

MACHINE = load_machine("textbook-45nm")
ZEN4 = load_machine("zen4")
WIDE = ZEN4._replace(levels=(make_level("L1", "32KiB", 8, 64), make_level("L2", "1MiB", 16, 64)), energy=MACHINE.energy)
"""For blocks: what they cost as it is on MACHINE, on the vectors, lines and caches of other tests of blocks, which share the compiled code."""
WIDE_FILE = """
line: 64 B
vector: 64 B
registers: 32
peak: 118 GFLOP/s
bandwidth: 25 GB/s
caches:
  - {name: L1, size: 32 KiB, ways: 8}
  - {name: L2, size: 1 MiB, ways: 16}
energy:
  source: Horowitz
  mac: {float32: 4.6 pJ}
  access: {L1: 80 pJ, L2: 400 pJ, DRAM: 5200 pJ}
"""
SMALL = "mb1ic16ih14oc16kh1"


@pytest.mark.parametrize("problem", [SMALL, "g16mb1ic16ih14oc16kh3ph1"])
def test_energy_is_counts_times_what_each_costs(problem):
    layer = simulate(None, problem, MACHINE)
    energy, (l1, l2) = layer.energy, layer.levels
    assert energy.by_level_pj == {
        ARITHMETIC: pytest.approx(4.6 * layer.macs),
        "L1": 80 * (l1.loads + l1.stores),
        "L2": 400 * (l2.loads + l2.stores),
        DRAM: 5200 * layer.moved_bytes // 32,
    }
    assert energy.total_pj == pytest.approx(energy.by_level_pj[ARITHMETIC] + sum(energy.by_tensor_pj.values()))
    assert set(energy.by_tensor_pj) == set(layer.tensors)
    assert energy.delay_s == pytest.approx(max(layer.flops / 16e9, layer.moved_bytes / 4e9))
    assert energy.delay_product_js == pytest.approx(energy.total_pj * energy.delay_s / 1e12)


def test_of_a_depthwise_layer_s_energy_less_is_arithmetic_than_of_a_dense_one_s():
    dense, depthwise = (simulate(None, problem, MACHINE).energy for problem in (SMALL, "g16mb1ic16ih14oc16kh3ph1"))
    shares = [energy.by_level_pj[ARITHMETIC] / energy.total_pj for energy in (dense, depthwise)]
    assert shares[0] > shares[1]


def test_the_report_has_energy_where_the_machine_says_what_it_costs():
    status, out, _ = run("--layer", SMALL, "--machine", "textbook-45nm")
    assert status == 0
    for text in ("Energy (Horowitz, ISSCC 2014", ARITHMETIC, "of input", "Energy-delay product", "J s"):
        assert text in out
    record = json.loads(run("--layer", SMALL, "--machine", "textbook-45nm", "--json")[1])
    energy = record["layers"][0]["energy"]
    assert energy["total_pj"] == pytest.approx(sum(energy["by_level_pj"].values()))
    assert record["machine"]["energy"]["access_pj"] == {"L1": 80, "L2": 400, "DRAM": 5200}


def test_a_block_s_energy_is_that_of_both_runs():
    block = simulate_block("mbconv", h=14, w=14, machine=WIDE)
    fused, apart = (run.energy for run in block.runs)
    assert fused.by_level_pj[ARITHMETIC] == pytest.approx(4.6 * (block.macs + block.recomputed_macs))
    assert fused.by_level_pj[DRAM] == 5200 * block.moved_bytes // 64
    assert fused.delay_s == pytest.approx(max(2 * (block.macs + block.recomputed_macs) / 118e9, block.moved_bytes / 25e9))
    layers = [layer.energy for layer in block.layer_by_layer.layers]
    assert apart.total_pj == pytest.approx(sum(energy.total_pj for energy in layers))
    assert apart.delay_s == pytest.approx(sum(energy.delay_s for energy in layers))
    assert fused.by_level_pj[DRAM] < apart.by_level_pj[DRAM]


def test_tables_and_rows_have_a_block_s_energy(tmp_path):
    machine = tmp_path / "wide.yaml"
    machine.write_text(WIDE_FILE)
    status, out, _ = run("--layer", "ffn", "--machine", str(machine))
    assert status == 0
    for text in ("energy, uJ", "energy-delay product, J s", "Energy (Horowitz"):
        assert text in out
    rows = list(csv.DictReader(io.StringIO(run("--layer", "ffn", "--machine", str(machine), "--csv")[1])))
    for row, account in zip(rows, simulate_block("ffn", machine=load_machine(machine)).runs, strict=True):
        assert float(row["energy_pj"]) == account.energy.total_pj
        assert float(row["energy_DRAM_pj"]) == account.energy.by_level_pj[DRAM]


def test_without_it_there_is_none_and_the_reason_is_told():
    assert simulate(None, SMALL, "textbook").energy is None
    assert "energy" not in simulate(None, SMALL, "textbook").as_json()
    assert simulate(None, SMALL, MACHINE, dtype="float64").energy is None
    assert simulate(None, SMALL, MACHINE, dtype="float16").energy.by_level_pj[ARITHMETIC] == pytest.approx(4.6 * simulate(None, SMALL, MACHINE).macs)
    out = run("--layer", SMALL, "--machine", "textbook-45nm", "--dtype", "float64")[1]
    assert "sums here are float64; it takes a machine file with energy: mac: {float64: ... pJ}" in " ".join(out.split())
    assert "nergy" not in run("--layer", SMALL, "--machine", "textbook")[1]
    assert "nergy" not in run("--layer", SMALL, "--machine", "textbook-45nm", "--cache", "L1=16KiB,4,32")[1].partition("given")[2]
