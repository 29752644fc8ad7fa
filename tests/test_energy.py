"""Energy: by hand from a layer's counts, tensors and arithmetic adding up to the whole, the same layer dense and depthwise, and its absence."""

import json

import pytest
from commands import run

from sim.account.energy import ARITHMETIC
from sim.account.layer import simulate
from sim.machine.energy import DRAM
from sim.machine.record import load_machine

MACHINE = load_machine("textbook-45nm")
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


def test_without_it_there_is_none_and_the_reason_is_told():
    assert simulate(None, SMALL, "textbook").energy is None
    assert "energy" not in simulate(None, SMALL, "textbook").as_json()
    assert simulate(None, SMALL, MACHINE, dtype="float64").energy is None
    assert simulate(None, SMALL, MACHINE, dtype="float16").energy.by_level_pj[ARITHMETIC] == pytest.approx(4.6 * simulate(None, SMALL, MACHINE).macs)
    out = run("--layer", SMALL, "--machine", "textbook-45nm", "--dtype", "float64")[1]
    assert "No energy: textbook-45nm says what a multiply-add of float32, float16 costs" in " ".join(out.split())
    assert "nergy" not in run("--layer", SMALL, "--machine", "textbook")[1]
    assert "nergy" not in run("--layer", SMALL, "--machine", "textbook-45nm", "--cache", "L1=16KiB,4,32")[1].partition("given")[2]
