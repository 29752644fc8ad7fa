"""Traffic of real layers: closed forms where a layer fits, conservation between levels, the command line, machine files."""

import csv
import io
import json
import subprocess
import sys

import accounts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import conv_problems

from refconv import Conv2d, PartialConv2d
from refconv.networks.layers import PRESETS
from sim.cli import traffic
from sim.machine.quantities import parse_bytes, parse_rate
from sim.machine.record import Level, load_machine, machine_from, make_level, parse_cache, presets, read_machine, with_levels

ZEN4 = load_machine("zen4")


def aligned(elements, itemsize=4, line=64):
    """Bytes of the lines of a buffer that starts on a line."""
    return -(-elements * itemsize // line) * line


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_layer_that_fits_moves_each_byte_once(name, dtype):
    """Last level larger than everything: input and weight read once, output filled by write-allocate and written once, exactly."""
    problem = PRESETS[name].problem
    layer = accounts.simulate(None, problem, "skylake-sp", dtype=dtype)
    itemsize = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}[dtype]
    sizes = {key: aligned(count, itemsize) for key, count in problem.tensors.items()}
    assert layer["tensors"]["input"]["read_bytes"] == sizes["input"]
    assert layer["tensors"]["input"]["write_bytes"] == 0
    lanes, k = 64 // max(4, itemsize), problem.weight_shape[0]
    assert layer["tensors"]["weight"]["read_bytes"] == aligned(problem.tensors["weight"] // k * (-(-k // lanes) * lanes), itemsize)  # whole vectors
    assert layer["tensors"]["weight"]["write_bytes"] == 0
    assert layer["tensors"]["output"]["read_bytes"] == layer["tensors"]["output"]["write_bytes"] == sizes["output"]
    assert layer["compulsory_bytes"] == sum(problem.tensors.values()) * itemsize


@settings(max_examples=60)
@given(conv_problems(), st.booleans(), st.sampled_from([(2, 2), (4, 2), (3, 5)]))
def test_counts_are_conserved(problem, bias, geometry):
    """What one level asks for is what the next receives; tensors add up to levels; traffic is at least what has to move."""
    machine = ZEN4._replace(levels=(make_level("L1", geometry[0] * geometry[1] * 64, geometry[1], 64), make_level("L2", 16 * 64 * 4, 4, 64)))
    layer = accounts.simulate(None, problem, machine, bias=bias)
    upper, lower = layer["levels"]
    assert lower["loads"] == upper["load_misses"] + upper["store_misses"]
    assert lower["stores"] == upper["writebacks"]
    assert layer["dram"]["read_bytes"] == 64 * lower["load_misses"]
    assert layer["dram"]["write_bytes"] - layer["flushed_bytes"] == 64 * lower["writebacks"]
    assert layer["flushed_bytes"] == 64 * (upper["flushed"] + lower["flushed"])
    for side in ("read_bytes", "write_bytes"):
        assert sum(tensor[side] for tensor in layer["tensors"].values()) == layer["dram"][side]
    for i, level in enumerate(layer["levels"]):
        for key in ("loads", "stores", "load_misses", "store_misses", "writebacks", "flushed"):
            assert sum(tensor["levels"][i][key] for tensor in layer["tensors"].values()) == level[key]
    output = layer["tensors"]["output"]
    assert output["write_bytes"] >= output["compulsory_bytes"]
    for name in ("input", "weight", "bias") if bias else ("input", "weight"):
        tensor = layer["tensors"][name]
        assert tensor["read_bytes"] >= tensor["compulsory_bytes"]
        assert tensor["write_bytes"] == 0
    assert layer["intensity"]["simulated"] <= layer["intensity"]["compulsory"]


@pytest.mark.parametrize("name", ["conv2d", "dwconv"])
def test_fully_associative_lru_traffic_never_grows_with_capacity(name):
    """The stack property, on a small map of the preset's channels."""
    problem = PRESETS[name].problem._replace(h=12, w=12)
    moved = []
    for ways in (16, 64, 256, 1024, 4096):
        layer = accounts.simulate(None, problem, ZEN4._replace(levels=(Level("L1", ways * 64, ways, 64),)), tiling=tiling_for(problem))
        moved.append(layer["levels"][0]["load_misses"] + layer["levels"][0]["store_misses"])
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > moved[-1]


def tiling_for(problem):
    """One tiling for all capacities, so that only the cache changes."""
    layer = accounts.simulate(None, problem, ZEN4)
    from refconv import kernels

    row = kernels.KERNELS[layer["kernel"]]
    return row.tiling(problem, 4, ZEN4.target)


BORDER = ["g64mb1ic64ih1oc64kh7ph3", "g512mb1ic512ih2oc512kh7ph3", "mb1ic16ih1oc16kh3ph1", "g8mb2ic64ih2oc64kh5ph2sh2"]


@pytest.mark.parametrize("descriptor", BORDER)
def test_traffic_is_at_least_compulsory_where_most_of_the_kernel_is_border(descriptor):
    layer = accounts.simulate(None, descriptor, "zen4")
    for tensor in layer["tensors"].values():
        assert tensor["read_bytes"] + tensor["write_bytes"] >= tensor["compulsory_bytes"]


def test_machines_built_by_hand_are_checked():
    for levels, text in (
        ((), "must be at least one cache"),
        ((Level("L1", 100, 3, 64),), "must be a multiple of ways"),
        ((Level("L1", 1 << 15, 8, 64), Level("L2", 1 << 20, 8, 32)), "must be the same at every level"),
    ):
        with pytest.raises(ValueError, match=text):
            accounts.simulate(None, "dwconv3", ZEN4._replace(levels=levels))


def test_levels_keep_their_order_and_names_number_it():
    near = ZEN4._replace(levels=(Level("near", 1 << 15, 8, 64), Level("far", 1 << 20, 8, 64)))
    assert [level.name for level in with_levels(near, [parse_cache("far=2MiB,8,64")], build=False).levels] == ["near", "far"]
    assert [level.name for level in with_levels(ZEN4, [parse_cache("L10=64MiB,16,64")], build=False).levels] == ["L1", "L2", "L3", "L10"]


def test_tensors_too_large_for_an_address_are_refused():
    with pytest.raises(ValueError, match="all tensors together have"):
        accounts.simulate(None, "mb1ic1ih1000000iw1000000oc1kh1sh500000", "zen4")


def test_without_sysfs_a_preset_stands_in_with_a_warning(monkeypatch):
    monkeypatch.setattr("sim.machine.real.caches", lambda: ())
    with pytest.warns(UserWarning, match="those of zen4 stand in"):
        assert load_machine("host").levels == ZEN4.levels


def test_simulate_takes_kernels_tilings_and_text():
    by_rule = accounts.simulate("conv2d", "mb1ic64ih14oc64kh3ph1", "zen4")
    assert by_rule["kernel"] == "conv2d"
    assert by_rule["tiling"]["rows"] == 14
    chosen = tiling_for(Conv2d.parse("mb1ic64ih14oc64kh3ph1"))._replace(rows=7)
    slower = accounts.simulate("conv2d", "mb1ic64ih14oc64kh3ph1", "zen4", chosen)
    assert slower["tiling"]["rows"] == 7
    assert slower["levels"][0]["loads"] > by_rule["levels"][0]["loads"]
    dense = accounts.simulate("conv2d", "g32mb1ic32ih14oc32kh3ph1", "zen4")
    assert dense["levels"][0]["loads"] > 5 * accounts.simulate("depthwise", "g32mb1ic32ih14oc32kh3ph1", "zen4")["levels"][0]["loads"]
    narrow = accounts.simulate(None, "g32mb1ic32ih14oc32kh3ph1", "cortex-a72")
    assert narrow["levels"][0]["loads"] > accounts.simulate(None, "g32mb1ic32ih14oc32kh3ph1", "zen4")["levels"][0]["loads"]
    for arguments, text in (
        (("winograd", "mb1ic64ih14oc64kh3ph1", "zen4"), "kernel 'winograd': must be"),
        (("depthwise", "mb1ic64ih14oc64kh3ph1", "zen4"), "needs as many groups"),
        (("partial", "mb1ic64ih14oc64kh3ph1", "zen4"), "needs a PartialConv2d"),
        (("conv2d", "mb1ic64ih14oc64kh3ph1", "vax"), "machine 'vax': must be host, cortex-a72"),
        ((None, PartialConv2d(1, 4, 5, 5, 6, 3, 3), "zen4"), "input channels = 4: must be from 6"),
        ((None, Conv2d(1, 4.0, 5, 5, 6, 3, 3), "zen4"), "input channels = 4.0: must be an integer"),
        ((None, 5, "zen4"), "problem = 5: must be a Conv2d"),
        ((None, "dwconv", 5), "machine 5: must be host"),
    ):
        with pytest.raises(ValueError, match=text):
            accounts.simulate(*arguments)
    with pytest.raises(ValueError, match="dtype = 'int8': must be float32, float64, float16 or bfloat16"):
        accounts.simulate(None, "mb1ic64ih14oc64kh3ph1", "zen4", dtype="int8")


def run(*arguments, main=traffic.main):
    """(status, stdout, stderr) of a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.stdout, sys.stderr = before
    return status, out.getvalue(), err.getvalue()


def test_json_has_the_promised_schema():
    status, out, err = run("--layer", "gconv", "--layer", "g8mb2ic64ih9oc64kh3ph1", "--machine", "zen4", "--json", "--dtype", "float64")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["schema"] == 1
    assert report["machine"]["name"] == "zen4"
    first, second = report["layers"]
    assert first["name"] == "gconv"
    assert first["descriptor"] == "g8mb1ic64ih64oc64oh64kh3ph1"
    assert second["macs"] == 2 * 81 * 64 * 8 * 9
    for layer in report["layers"]:
        assert set(layer) >= {"name", "descriptor", "kernel", "tiling", "macs", "flops", "dram", "levels", "tensors"}
        assert set(layer) >= {"compulsory_bytes", "workspace_bytes", "intensity"}
        assert set(layer["dram"]) >= {"read_bytes", "write_bytes"}
        for level in layer["levels"]:
            assert set(level) >= {"name", "loads", "stores", "load_misses", "store_misses", "writebacks", "line_bytes"}
        assert {"input", "weight", "output"} <= set(layer["tensors"])
        assert set(layer["intensity"]) == {"compulsory", "simulated"}


def test_csv_batch_bias_and_caches():
    levels = ("--cache", "L1=32KiB,8,64", "--cache", "L2=1MiB,16,64")
    status, out, _ = run("--layer", "dwconv", "--layer", "pconv", "--csv", "--batch", "2", "--bias", *levels)
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["kernel"] for row in rows] == ["depthwise", "partial"]
    assert int(rows[0]["macs"]) == 2 * PRESETS["dwconv"].problem.macs
    assert int(rows[0]["bias_read_bytes"]) == 96 * 4
    assert "L2_loads" in rows[0]
    assert "L3_loads" not in rows[0]
    status, out, _ = run("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=16KiB,4,64", "--json")
    assert [level["size_bytes"] for level in json.loads(out)["machine"]["levels"]] == [16 << 10, 1 << 20, 32 << 20]


def test_table_says_it_in_one_look():
    status, out, err = run("--layer", "dwconv3", "--machine", "zen4")
    assert (status, err) == (0, "")
    for text in ("4.064 MMAC = 8.129 MFLOP", "workspace 0 B", "L3", "hit rate", "compulsory", "FLOP/B", "memory-bound", "balance of zen4 4.72"):
        assert text in out


def test_list_names_layers_and_machines():
    status, out, _ = run("--list")
    assert status == 0
    for name in (*PRESETS, *presets(), "host"):
        assert name in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "--layer is missing"),
        (("--layer", "resnet"), "layer 'resnet': must be conv2d, pointwise"),
        (("--layer", "ic4ih5"), "oc is missing"),
        (("--layer", "dwconv", "--machine", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("--layer", "dwconv", "--machine", "pdp11"), "machine 'pdp11': must be host"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,8"), "--cache 'L1=32KiB,8': must be NAME=SIZE,WAYS,LINE"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,8,64,mru"), "'mru': must be one each of lru, fifo"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,8,64,fifo,lru"), "'lru': must be one each of"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,8,64,seed=-1"), "seed = '-1': must be an integer from 0"),
        (
            ("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=24KiB,6,64,plru"),
            "ways = 6: must be a power of two of at most 64",
        ),
        (("--layer", "dwconv", "--machine", "zen4", "--inclusion", "both"), "inclusion = 'both': must be nine, inclusive, exclusive"),
        (
            ("--layer", "dwconv", "--machine", "zen4", "--inclusion", "exclusive", "--cache", "L1=32KiB,8,64,write-through"),
            "L1: LRU, write-through, write-allocate: must be write-back and write-allocate where the hierarchy is exclusive",
        ),
        (("--layer", "ffn", "--machine", "zen4", "--warm"), "--warm: ffn is a block"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,0,64"), "ways = 0: must be a positive integer"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=33KB,8,64"), "must be a multiple of ways"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,8,48"), "line = '48': must be a power of two"),
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,8,32"), "line sizes .* must be the same"),
        (("--layer", "dwconv", "--machine", "zen4", *["--cache", "L1=32KiB,8,64"] * 2), "given twice"),
        (("--layer", "dwconv", "--machine", "zen4", "--dtype", "int8"), "dtype = 'int8': must be float32, float64, float16 or bfloat16"),
        (("--layer", "dwconv", "--machine", "zen4", "--batch", "0"), "argument --batch: '0': must be a positive integer"),
        (("--layer", "dwconv", "--machine", "zen4", "--batch", "x"), "argument --batch: 'x': must be a positive integer"),
        (("--layer", "dwconv", "--machine", "zen4", "--kernel", "conv"), "kernel 'conv': must be"),
        (("--layer", "dwconv", "--json", "--csv"), "not allowed with"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text):
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    import re

    assert re.search(text, err)


def test_the_module_runs_as_a_command():
    command = [sys.executable, "-m", "sim.traffic", "--layer", "mb1ic8ih8oc8kh3ph1", "--machine", "textbook", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["layers"][0]["macs"] == 64 * 9 * 64
    assert done.stderr == ""


GOOD = {
    "line": "64 B",
    "vector": "64 B",
    "registers": 32,
    "peak": "1 GFLOP/s",
    "bandwidth": "1 GB/s",
    "caches": [{"name": "L1", "size": "32 KiB", "ways": 8}],
}


@pytest.mark.parametrize("name", presets())
def test_presets_are_read(name):
    machine = load_machine(name)
    assert machine.name == name
    assert machine.record()["levels"][0]["sets"] * machine.levels[0].ways * machine.line_bytes == machine.levels[0].size_bytes


def test_skylake_sets_are_no_power_of_two():
    assert load_machine("skylake-sp").levels[2].sets == 40960


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"speed": 1}, "speed: unknown key; legal: bandwidth"),
        ({"line": "63 B"}, r"caches\[0\]: line = 63: must be a power of two"),
        ({"line": "a line"}, "line: 'a line': must be a size such as 32 KiB"),
        ({"vector": 24}, "vector: 24 bytes: must be 8, 16"),
        ({"registers": "many"}, "registers: 'many': must be an integer"),
        ({"peak": "1 GB/s"}, "peak: '1 GB/s': must be a rate such as 25 GFLOP/s"),
        ({"bandwidth": "fast"}, "bandwidth: 'fast'"),
        ({"bandwidth": "0 GB/s"}, "bandwidth: '0 GB/s'"),
        ({"caches": []}, "caches: must be a list of at least one"),
        ({"caches": [{"name": "L1", "size": "32 KiB"}]}, r"caches\[0\]: must have the keys name, size, ways"),
        ({"caches": [{"name": "L1", "size": "32 KiB", "ways": 0}]}, r"caches\[0\]: ways = 0"),
        ({"caches": [{"name": "L1", "size": "10 B", "ways": 1}]}, r"caches\[0\]: size = '10 B': must be a multiple"),
        ({"caches": [{"name": "L1", "size": "0.3 B", "ways": 1}]}, r"caches\[0\]: '0.3 B': must be a whole number"),
        ({"caches": [{**GOOD["caches"][0], "policy": "mru"}]}, r"caches\[0\]: policy = 'mru': must be lru, fifo, plru, random"),
        ({"caches": [{**GOOD["caches"][0], "policy": []}]}, r"caches\[0\]: policy = \[\]: must be lru"),
        ({"caches": [{**GOOD["caches"][0], "policy": "plru", "ways": 128}]}, r"caches\[0\]: ways = 128: must be a power of two"),
        ({"caches": [{**GOOD["caches"][0], "write": "around"}]}, r"caches\[0\]: write = 'around': must be back or through"),
        ({"caches": [{**GOOD["caches"][0], "allocate": "maybe"}]}, r"caches\[0\]: allocate = 'maybe': must be yes or no"),
        ({"caches": [{**GOOD["caches"][0], "seed": 1.5}]}, r"caches\[0\]: seed = 1.5: must be an integer from 0"),
        ({"caches": [{**GOOD["caches"][0], "mode": 1}]}, r"caches\[0\]: must have the keys name, size, ways, and may have allocate"),
        ({"inclusion": "some"}, "caches: inclusion = 'some': must be nine, inclusive, exclusive"),
        ({"inclusion": ["nine"]}, r"caches: inclusion = \['nine'\]: must be nine"),
        ({"caches": GOOD["caches"] * 2}, "caches: levels: names must differ"),
        ({"caches": [{"name": "[red]", "size": "32 KiB", "ways": 8}]}, r"caches\[0\]: name = '\[red\]': must be up to 32 letters"),
        ({"caches": [{"name": "L1", "size": "64 GiB", "ways": 1}]}, "caches: levels hold 8589934592 lines together .*: must be at most"),
        ({"peak": f"1{'0' * 400} GFLOP/s"}, "peak: '10+ GFLOP/s': must be a rate"),
        ({"name": None}, "name: None: must be a line of text"),
    ],
)
def test_machine_files_are_refused_by_key(change, text):
    with pytest.raises(ValueError, match=f"my.yaml: {text}"):
        machine_from({**GOOD, **change}, "my.yaml")


def test_machine_files_that_are_none(tmp_path):
    assert machine_from(GOOD, "my.yaml").name == "my"
    for key in GOOD:
        with pytest.raises(ValueError, match=f"{key}: is missing"):
            machine_from({name: value for name, value in GOOD.items() if name != key}, "my.yaml")
    for content in (b"", b"- a\n- b", b"\xff\xfe\x00", b"a: [1", b"&a [*a]", b"a: !!python/object:os.system {}", b"line: 8 B\nline: 16 B"):
        path = tmp_path / "bad.yaml"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.yaml") as caught:
            read_machine(path)
        assert "\n" not in str(caught.value)


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


def test_units():
    assert [parse_bytes(text) for text in ("32 KiB", "1MiB", 64, "1.5 KiB", "2 GB")] == [32768, 1 << 20, 64, 1536, 2 * 10**9]
    assert parse_rate("118 GFLOP/s", "FLOP") == 118e9
    assert parse_cache("L2=1.25MiB,20,64").sets == 1024
    for wrong in ("32 kib", "-1", "", "1 KiB KiB", True, None):
        with pytest.raises(ValueError, match="must be"):
            parse_bytes(wrong)
