"""Policies, warm starts and classes of misses on traces of layers."""

import accounts
import pytest
from commands import GOOD, run

from sim.cli.cache_option import parse_cache
from sim.machine.record import load_machine, machine_from, make_level, with_levels

ZEN4 = load_machine("zen4")


def test_a_report_says_the_policies_it_has_simulated():
    assert ZEN4.policy() == "LRU, write-back, write-allocate, non-inclusive non-exclusive, no prefetch, cold start, flushed at the end"
    machine = machine_from({**GOOD, "inclusion": "inclusive", "caches": [{**GOOD["caches"][0], "policy": "plru"}]}, "my.yaml")
    assert machine.record(warm=True)["policy"] == "tree-PLRU, write-back, write-allocate, inclusive, no prefetch, warm start, flushed at the end"
    mixed = with_levels(ZEN4, [parse_cache("L1=32KiB,8,64,random,seed=3,write-through,no-allocate")], build=False)
    assert mixed.policy().startswith("L1 random (seed 3), write-through, no-write-allocate; L2 LRU, write-back, write-allocate; L3 LRU, write-back")
    status, out, _ = run("--layer", "dwconv3", "--machine", "zen4", "--inclusion", "exclusive", "--warm")
    assert status == 0
    assert "exclusive, no prefetch, warm start" in " ".join(out.split())


def test_policies_change_the_counts_and_keep_what_must_be():
    """Of a layer whose working set is larger than the caches; loads and stores of the kernel stay the same."""
    layers = []
    for policy in ("lru", "fifo", "plru", "random"):
        for inclusion in ("nine", "inclusive", "exclusive"):
            levels = make_level("L1", 4096, 4, 64, policy), make_level("L2", 16384, 4, 64, policy)
            layers.append(accounts.simulate(None, "mb1ic32ih20oc32kh3ph1", ZEN4._replace(levels=levels, inclusion=inclusion)))
    assert len({layer["levels"][0]["loads"] for layer in layers}) == 1
    assert len({layer["dram"]["read_bytes"] for layer in layers}) > 8
    for layer in layers:
        for tensor in layer["tensors"].values():
            assert tensor["read_bytes"] + tensor["write_bytes"] >= tensor["compulsory_bytes"]


def test_a_warm_start_reads_only_what_did_not_stay():
    """Everything fits: the second run reads nothing, and its output is flushed. A stream through too small a cache is cold every time."""
    layer = "g32mb1ic32ih14oc32kh3ph1"
    cold, warm = (accounts.simulate(None, layer, "zen4", warm=warm) for warm in (False, True))
    assert [cold["start"], warm["start"]] == ["cold", "warm"]
    assert [warm["dram"][key] for key in ("read_bytes", "write_bytes")] == [0, cold["dram"]["write_bytes"]]
    assert warm["levels"][0]["loads"] == cold["levels"][0]["loads"]
    tiny = ZEN4._replace(levels=(make_level("L1", 1024, 2, 64),))
    cold, warm = (accounts.simulate(None, layer, tiny, warm=warm) for warm in (False, True))
    assert warm["tensors"]["input"]["read_bytes"] == cold["tensors"]["input"]["read_bytes"]


def test_classes_of_misses_add_up():
    levels = make_level("L1", 4096, 1, 64), make_level("L2", 16384, 256, 64)
    layer = accounts.simulate(None, "mb1ic32ih20oc32kh3ph1", ZEN4._replace(levels=levels), classify=True)
    kinds = "compulsory_misses", "capacity_misses", "conflict_misses"
    for i, level in enumerate(layer["levels"]):
        for counts in (level, *(tensor["levels"][i] for tensor in layer["tensors"].values())):
            assert sum(counts[kind] for kind in kinds) == counts["load_misses"] + counts["store_misses"]
        for kind in kinds:
            assert level[kind] == sum(tensor["levels"][i][kind] for tensor in layer["tensors"].values())
    direct, full = layer["levels"]
    assert direct["conflict_misses"] > 0
    assert full["conflict_misses"] == 0, "one set of 256 ways is fully associative LRU"
    assert direct["compulsory_misses"] == full["compulsory_misses"] == sum(-(-t["bytes"] // 64) for t in layer["tensors"].values())
    plain = accounts.simulate(None, "mb1ic32ih20oc32kh3ph1", ZEN4._replace(levels=levels))
    assert plain["dram"] == layer["dram"]
    status, out, _ = run("--layer", "dwconv3", "--machine", "zen4", "--classify")
    assert status == 0
    assert "compulsory   capacity   conflict" in out
    with pytest.raises(ValueError, match="classify = True: must be False where the hierarchy is exclusive"):
        accounts.simulate(None, "dwconv3", ZEN4._replace(inclusion="exclusive"), classify=True)
