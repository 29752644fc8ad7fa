"""Traffic against capacity: records against simulations of each size, monotone and above the bound; the command line and the picture."""

import csv
import io
import json
from types import SimpleNamespace

import accounts
import pytest
from commands import run as run_command

from refconv.networks.layers import PRESETS
from sim.account.capacity import bound_bytes
from sim.cli import capacity
from sim.machine.record import Level, load_machine

ZEN4 = load_machine("zen4")
SMALL = "mb1ic64ih14oc64kh3ph1"


def run(*arguments):
    """(status, stdout, stderr) of the command line in this process."""
    return run_command(*arguments, main=capacity.main)


def records(*arguments):
    """Its JSON."""
    status, out, err = run("--machine", "zen4", "--json", *arguments)
    assert (status, err) == (0, "")
    return json.loads(out)["layers"]


def test_points_are_what_a_machine_with_such_a_cache_moves():
    """Three sizes, the tiling of zen4's: the simulator of one fully associative level gives the same bytes of every tensor."""
    (record,) = records("--layer", SMALL)
    row = accounts.simulate(None, SMALL, ZEN4)
    from refconv import Conv2d, kernels

    tiling = kernels.KERNELS[row["kernel"]].tiling(Conv2d.parse(SMALL), 4, ZEN4.target)
    points = {point["capacity_bytes"]: point for point in record["points"]}
    for size in (4096, 65536, 1 << 20):
        level = Level("L1", size, size // 64, 64)
        exact = accounts.simulate(None, SMALL, ZEN4._replace(levels=(level,)), tiling)
        assert {key: points[size][key] for key in exact["dram"]} == exact["dram"]
        assert points[size]["flushed_bytes"] == exact["flushed_bytes"]
        for name, tensor in points[size]["tensors"].items():
            assert tensor == {key: exact["tensors"][name][key] for key in tensor}
    assert record["simulated_bytes"] == row["dram"]["read_bytes"] + row["dram"]["write_bytes"]
    assert [point["caches"] for size, point in points.items() if size in (1 << 15, 1 << 20, 1 << 25)] == [["L1"], ["L2"], ["L3"]]


@pytest.mark.parametrize("name", PRESETS)
def test_traffic_falls_with_capacity_to_one_miss_a_line_and_never_below_the_bound(name):
    (record,) = records("--layer", name)
    moved, bound = record["curve"]["moved_bytes"], record["curve"]["bound_bytes"]
    assert moved == sorted(moved, reverse=True)
    assert bound == sorted(bound, reverse=True)
    assert all(a >= b >= record["compulsory_bytes"] for a, b in zip(moved, bound, strict=True))
    assert record["points"][-1]["read_bytes"] == record["touched_bytes"], "write-allocate: what is stored is read, too"
    for point in record["points"]:
        assert point["read_bytes"] == sum(tensor["read_bytes"] for tensor in point["tensors"].values())
        assert point["write_bytes"] == sum(tensor["write_bytes"] for tensor in point["tensors"].values())


def test_a_block_has_both_runs_and_fusion_needs_less_once_its_hidden_layer_fits():
    (record,) = records("--layer", "ffn")
    assert record["kernel"] == "fused"
    assert record["unfused"]["kernel"] == "unfused"
    assert record["touched_bytes"] < record["unfused"]["touched_bytes"]
    for one in (record, record["unfused"]):
        assert one["curve"]["moved_bytes"] == sorted(one["curve"]["moved_bytes"], reverse=True)
    at = {point["capacity_bytes"]: point for point in record["points"]}[1 << 20]
    alone = {point["capacity_bytes"]: point for point in record["unfused"]["points"]}[1 << 20]
    assert 4 * (at["read_bytes"] + at["write_bytes"]) < alone["read_bytes"] + alone["write_bytes"]


def test_the_bound_is_that_of_sim_bounds_at_each_size():
    """conv3x3 58x58 64->64 without border: with M words, registers among them, max(compulsory, 2 G / sqrt(9 M) - 2 M), and biases besides."""
    problem = PRESETS["conv2d"].problem._replace(h=58, w=58, pad_top=0, pad_left=0, pad_bottom=0, pad_right=0).checked()
    bare = ZEN4._replace(registers=0)
    for bias in (0, 64):
        record = SimpleNamespace(dtype="float32", compulsory_bytes=4 * (452_864 + bias))
        words = [bound_bytes(record, problem, 4 << i, bare) / 4 - bias for i in (13, 14, 15)]
        assert words == [835_131, 569_344, 452_864]
    record = SimpleNamespace(dtype="float32", compulsory_bytes=4 * 452_864)
    assert bound_bytes(record, problem, (4 << 13) - 2048, ZEN4) == bound_bytes(record, problem, 4 << 13, bare)


def test_csv_and_table():
    status, out, _ = run("--layer", "ffn", "--machine", "zen4", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert {row["kernel"] for row in rows} == {"fused", "unfused"}
    assert [row["caches"] for row in rows if row["capacity_bytes"] == "32768"] == ["L1", "L1"]
    status, out, err = run("--layer", SMALL, "--machine", "zen4")
    assert (status, err) == (0, "")
    for text in ("fully associative LRU", "capacity", "bound", "32         L1", "compulsory", "the machine's own hierarchy moves"):
        assert text in out
    assert "…" not in out


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_picture_is_written(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"traffic.{suffix}"
    status, _, err = run("--layer", SMALL, "--layer", "ffn", "--machine", "zen4", "--plot", str(path), "--csv")
    assert (status, err) == (0, "")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert len(content) > 10_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "sim.capacity: --layer is missing"),
        (("--layer", "resnet"), "layer 'resnet': must be conv2d, pointwise"),
        (("--layer", SMALL, "--warm"), "unrecognized arguments: --warm"),
        (("--layer", SMALL, "--stores", "nontemporal"), "unrecognized arguments: --stores"),
        (("--layer", "mb1ic4096ih4096oc4096kh3ph1", "--machine", "zen4"), "accesses: must be at most 10 G"),
        (("--layer", SMALL, "--machine", "pdp11"), "machine 'pdp11': must be host"),
        (("--layer", SMALL, "--plot", "traffic.bmp"), "--plot traffic.bmp: must end in .svg, .png or .pdf"),
        (("--layer", SMALL, "--machine", "zen4", "--plot", "no/such/folder.svg"), "--plot no/such/folder.svg: No such file"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text):
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert text in err


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    status, _, err = run("--layer", SMALL, "--plot", "x.svg")
    assert (status, err) == (2, "sim.capacity: --plot x.svg: needs matplotlib: pip install matplotlib (the extra plot)\n")
