"""Accounts are typed records: attributes, derived numbers with one definition, and JSON of the promised keys in order."""

import json

import pytest

import sim
from refconv.networks.layers import PRESETS
from sim.account.capacity import against_capacity
from sim.account.records import by_operand, numbers_by_name
from sim.machine.record import load_machine

ZEN4 = load_machine("zen4")
HEAD = ["name", "descriptor", "kernel", "tiling", "dtype", "stores", "start", "macs", "flops", "dram", "flushed_bytes", "levels", "tensors"]
RATES = ["compulsory_bytes", "traffic_ratio", "workspace_bytes", "intensity", "balance_flop_per_byte", "limited_by", "attainable_efficiency"]
LAYER = [*HEAD, *RATES, "bound_bytes", "bound_ratio", "bound_source", "simulation_s"]
COUNTERS = ["loads", "stores", "load_misses", "store_misses", "writebacks", "flushed"]


def test_a_layer_by_its_attributes():
    layer = sim.simulate(None, PRESETS["dwconv3"], ZEN4)
    assert (layer.name, layer.kernel, layer.macs) == ("dwconv3", "depthwise", PRESETS["dwconv3"].problem.macs)
    assert layer.moved_bytes == layer.dram.read_bytes + layer.dram.write_bytes == sum(tensor.moved_bytes for tensor in layer.tensors.values())
    assert layer.flushed_bytes <= layer.dram.write_bytes
    assert layer.intensity.simulated == layer.flops / layer.moved_bytes
    assert (layer.traffic_ratio, layer.bound_ratio) == (layer.moved_bytes / layer.compulsory_bytes, layer.moved_bytes / layer.bound_bytes)
    assert layer.limited_by == "memory"
    assert layer.attainable_efficiency == layer.intensity.simulated / layer.balance_flop_per_byte
    assert layer.levels[0].accesses == layer.levels[0].loads + layer.levels[0].stores
    with pytest.raises(AttributeError):
        layer.macs = 0


@pytest.mark.parametrize("classify", [False, True])
def test_json_of_a_layer_has_its_keys_in_order(classify):
    account = sim.simulate(None, "mb1ic8ih8oc8kh3ph1", ZEN4, classify=classify)
    layer = account.as_json()
    assert json.loads(json.dumps(layer)) == layer
    classes = ["compulsory_misses", "capacity_misses", "conflict_misses"] if classify else []
    assert list(layer) == LAYER
    assert list(layer["dram"]) == ["read_bytes", "write_bytes"], "to be added up: the flushed bytes are among the written"
    assert list(layer["levels"][0]) == ["name", *COUNTERS, *classes, "line_bytes"]
    assert list(layer["tensors"]["input"]) == ["bytes", "read_bytes", "write_bytes", "compulsory_bytes", "levels"]
    assert list(layer["tensors"]["input"]["levels"][0]) == [*COUNTERS, *classes]
    assert sum(layer["dram"].values()) == account.moved_bytes


def test_json_of_cores_and_of_a_network():
    two = sim.simulate(None, "mb1ic16ih12oc32kh1", ZEN4, cores=2).as_json()
    assert list(two) == [*LAYER[:-1], "cores", "simulation_s"]
    assert two["dram"] == {key: sum(core[key] for core in two["cores"]) for key in ("read_bytes", "write_bytes")}
    from refconv import Conv2d
    from refconv.graph.model import Model, ModelLayer, OtherNode

    model = Model("mine", (ModelLayer("a", "conv", Conv2d.parse("mb1ic8ih8oc8kh3ph1")),), (OtherNode("b", "If", None, "no kernel"),), ("a note",))
    network = sim.simulate_model(model, ZEN4)
    assert network.totals.moved_bytes == network.layers[0].moved_bytes
    json_of = network.as_json()
    assert list(json_of) == ["model", "layers"]
    assert list(json_of["layers"][0]) == [*LAYER, "op"]
    assert json_of["model"]["not_modelled"] == [{"name": "b", "op": "If", "elements": None, "remark": "no kernel", "macs": 0, "share": None}]
    assert list(json_of["model"]["dram"]) == ["read_bytes", "write_bytes"]


def test_a_block_has_both_runs():
    block = sim.simulate_block("ffn", 1, 8, 8, ZEN4)
    assert block.runs == (block, block.layer_by_layer)
    assert block.layer_by_layer.macs == sum(layer.macs for layer in block.layer_by_layer.layers)
    modes = ["halo", "squeeze", "recomputed_macs"]
    json_of = block.as_json()
    assert list(json_of) == [*LAYER, *modes, "unfused"]
    assert list(json_of["unfused"]) == [*LAYER, *modes, "hidden_share", "layers"]
    assert all(list(layer) == LAYER for layer in json_of["unfused"]["layers"])


def test_capacity_by_its_attributes():
    problem = PRESETS["dwconv3"].problem._replace(h=14, w=14)
    account = against_capacity((sim.simulate, {"kernel": None, "problem": problem, "machine": ZEN4}), problem, ZEN4)
    assert account.runs == (account,)
    assert account.points[-1].read_bytes == account.touched_bytes
    for point in account.points:
        assert sum(dram.moved_bytes for dram in by_operand(point.tensors).values()) == point.moved_bytes
    assert list(account.as_json())[-4:] == ["touched_bytes", "simulated_bytes", "points", "curve"]


def test_buffers_of_one_name_are_one_tensor():
    buffers = [("weight", 4, 4), ("bias", 0, 4), ("weight", 2, 4), ("ring", 8, 4)]
    assert numbers_by_name(buffers) == {"weight": [0, 2], "ring": [3]}
    assert numbers_by_name(buffers, lambda number: number > 0) == {"weight": [2], "ring": [3]}
