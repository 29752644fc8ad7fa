"""`python -m sim.network`: JSON, tables, and what it refuses."""

import csv
import io
import json

import pytest
from commands import run
from networks import network, onnx, whole
from problems import few_shapes

from sim.cli import network as command

MODEL = network("float[N,16,8,8] image", "float[a,b,c,d] y", "c = Conv (image, w)  y = GlobalAveragePool (c)", {"w": whole((16, 16, 1, 1))})


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "small.onnx"
    onnx.save(MODEL, file)
    return str(file)


def network_command(*arguments):
    with few_shapes("float32"):
        return run(*arguments, main=command.main)


def test_json_has_totals_kinds_and_a_record_a_call(path):
    status, out, err = network_command(path, "--machine", "zen4", "--batch", "2", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert (report["schema"], report["machine"]["name"]) == (1, "zen4")
    account = report["network"]
    assert account["inputs"] == {"image": [2, 16, 8, 8]}
    assert (account["macs"], account["start"], account["not_modelled"]) == (2 * 64 * 16 * 16, "cold", [])
    assert list(account["kinds"]) == ["input", "activation", "weight", "workspace", "output"]
    assert account["kinds"]["input"]["read_bytes"] == account["kinds"]["input"]["bound_bytes"] == 2 * 64 * 16 * 4
    assert [step["name"] for step in account["steps"]] == ["c", "y"]
    assert account["dram"]["read_bytes"] == sum(step["dram"]["read_bytes"] for step in account["steps"])
    for step in account["steps"]:
        assert {"kernel", "tiling", "op", "output", "kinds", "levels", "tensors", "intensity", "bound_bytes"} <= set(step)


def test_csv_is_a_row_a_call(path):
    """Of one set of columns, whatever a call's buffers are; what JSON says of it."""
    arguments = path, "--machine", "textbook-45nm", "--batch", "2"
    status, out, err = network_command(*arguments, "--csv")
    assert (status, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    _, made, _ = network_command(*arguments, "--json")
    steps = json.loads(made)["network"]["steps"]
    assert [(row["name"], row["op"], row["output"]) for row in rows] == [("c", "conv", "2x16x8x8"), ("y", "GlobalAveragePool", "2x16x1x1")]
    for row, step in zip(rows, steps, strict=True):
        assert None not in row and None not in row.values()
        assert (int(row["macs"]), int(row["dram_read_bytes"])) == (step["macs"], step["dram"]["read_bytes"])
        for kind in ("input", "activation", "weight", "workspace", "output"):
            assert int(row[f"{kind}_read_bytes"]) == step["kinds"].get(kind, {"read_bytes": 0})["read_bytes"]
        assert float(row["energy_pj"]) == pytest.approx(step["energy"]["total_pj"])


def test_the_table_says_it(path):
    status, out, err = network_command(path, "--machine", "textbook-45nm", "--input-shape", "1x16x8x8", "--warm")
    assert (status, err) == (0, "")
    for text in ("image 1x16x8x8", "2 calls: 16.38 kMAC", "at the peak", "warm start", "weights", "outputs", "Lower bound", "Energy ("):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME is missing: must be a network by name or an ONNX graph"),
        (["resnet"], "network 'resnet': must be one of refconv.networks.names(), such as resnet"),
        (["PATH", "--size", "64"], "--size 64: must be None but for a network by name"),
        (["resnet18", "--size", "0"], "--size"),
        (["nothing.onnx"], "nothing.onnx: no such file"),
        (["PATH", "--machine", "nobody"], "nobody"),
        (["PATH", "--batch", "0"], "--batch"),
        (["PATH", "--batch", "2", "--input-shape", "1x16x8x8", "--machine", "zen4"], "--batch 2: no input has a first size that is left open"),
        (["PATH", "--input-shape", "other:1x2", "--machine", "zen4"], "--input-shape other: no such input; legal: image"),
        (["PATH", "--input-shape", "1x2xN", "--machine", "zen4"], "must be NAME:1x3x224x224"),
        (["PATH", "--input-shape", "1x16x8x9", "--machine", "zen4"], "image of shape (1, 16, 8, 9): must be [N, 16, 8, 8]"),
        (["PATH", "--limit", "10", "--machine", "zen4"], "legal: a larger --limit"),
        (["PATH", "--cores", "2"], "--cores"),
        (["PATH", "--csv", "--json"], "not allowed with"),
    ],
)
def test_bad_input_is_one_line(path, arguments, words):
    status, out, err = network_command(*[path if text == "PATH" else text for text in arguments])
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1 and err.startswith("sim.network: ")


def test_without_strict_the_rest_is_counted(tmp_path):
    file = tmp_path / "odd.onnx"
    body = "c = Conv (image, w)  y = GlobalLpPool (c)"
    onnx.save(network("float[1,16,8,8] image", "float[a,b,c,d] y", body, {"w": whole((16, 16, 1, 1))}), file)
    status, out, _ = network_command(str(file), "--machine", "zen4")
    assert status == 0
    assert "Not counted: 1 nodes that cannot be run" in out and "GlobalLpPool y (tensor y)" in out and "there is no such operator" in out
    status, out, err = network_command(str(file), "--machine", "zen4", "--strict")
    assert (status, out) == (2, "") and "operators that there are not: GlobalLpPool" in err
