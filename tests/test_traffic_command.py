"""The command line of traffic: JSON, CSV, tables, and what it refuses."""

import csv
import io
import json
import subprocess
import sys

import pytest
from commands import run

from refconv.networks.layers import PRESETS
from sim.machine.record import presets


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
        (("--layer", "dwconv", "--machine", "zen4", "--cache", "L1=32KiB,8,128"), "line sizes L1: 128, L2: 64, L3: 64: .* must be the same"),
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
