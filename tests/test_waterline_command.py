"""`python -m sim.waterline`: a row a kernel, the verdict, JSON, files, and what it refuses in one line."""

import csv
import io
import json

import pytest
from commands import TOPOLOGY_HEADER
from commands import run as run_command

from refconv.networks import names, network
from sim.account.waterline import network_waterline
from sim.cli.waterline import main
from sim.machine.record import presets


def run(*arguments):
    return run_command(*arguments, main=main)


FP16 = "--machine", "a5000", "--dtype", "float16"


def test_a_row_a_kernel_and_the_verdict_in_one_sentence():
    status, out, err = run("resnet18", *FP16, "--batch", "128")
    assert (status, err) == (0, "")
    account = network_waterline(network("resnet18"), "a5000", batch=128, dtype="float16")
    for kernel in account.kernels:
        assert kernel.name in out
    last = out.strip().rpartition("\n\n")[2].replace("\n", " ").split("  ")[-1].strip()
    assert last.startswith("On a5000, resnet18 (layer by layer) reaches at most ")
    assert f"{100 * account.waterline_efficiency:.1f} % of the peak" in last
    assert f"{len(account.memory_bound)} of its {len(account.kernels)} kernels lie under water, below 160.0 FLOP/B" in last
    assert "peak 76,680.0 GFLOP/s (float16), 479.2 GB/s, balance 160.0 FLOP/B" in out


def test_fused_is_a_kernel_a_block():
    _, out, _ = run("fasternet_t0", *FP16, "--batch", "8", "--fused")
    for block in network("fasternet_t0").blocks:
        assert block.name in out
    assert "fused, a kernel a block" in out


def test_json_is_the_record():
    status, out, _ = run("mobilenetv2", *FP16, "--json", "--fused", "--size", "64")
    account = network_waterline(network("mobilenetv2"), "a5000", fused=True, size=64, dtype="float16")
    result = json.loads(out)
    assert (status, result["machine"]["name"], result["waterline"]) == (0, "a5000", account.as_json())
    assert result["waterline"]["size"] == 64


def test_csv_is_a_row_a_kernel():
    status, out, _ = run("resnet18", *FP16, "--csv")
    account = network_waterline(network("resnet18"), "a5000", dtype="float16")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (status, [row["name"] for row in rows]) == (0, [kernel.name for kernel in account.kernels])
    assert [float(row["latency_s"]) for row in rows] == [kernel.latency_s for kernel in account.kernels]
    assert run("resnet18", *FP16, "--csv", "--json")[0] == 2


def test_a_machine_with_caches_and_any_dtype_of_kernels_serves_too():
    for dtype in ("float32", "float64", "bfloat16"):
        status, out, _ = run("resnet18", "--machine", "zen4", "--dtype", dtype, "--json")
        assert status == 0
        assert json.loads(out)["waterline"]["peak_flop_per_s"] == (59e9 if dtype == "float64" else 118e9)


def test_a_topology_s_layers_are_kernels(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text(f"{TOPOLOGY_HEADER}a, 34, 34, 3, 3, 8, 16, 1,\nb, 32, 32, 1, 1, 16, 16, 1,\n")
    status, out, err = run(str(path), *FP16, "--json")
    kernels = json.loads(out)["waterline"]["kernels"]
    assert (status, [kernel["name"] for kernel in kernels]) == (0, ["a", "b"])
    assert "padding is unknown" in err  # what the reader had to assume
    assert kernels[1]["macs"] == 32 * 32 * 16 * 16
    assert kernels[1]["bytes"] == 2 * (2 * 32 * 32 * 16 + 16 * 16)
    assert run(str(path), *FP16, "--batch", "4")[0] == 0


def test_an_onnx_graph_s_layers_are_kernels_and_what_is_left_out_is_said(tmp_path):
    graphs = pytest.importorskip("graphs")
    nodes = [graphs.conv("a"), graphs.helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=[2, 2])]
    path = graphs.save(tmp_path / "net.onnx", nodes, {"x": [1, 4, 16, 16]}, {"w": (8, 4, 3, 3)})
    status, out, _ = run(path, *FP16)
    assert status == 0
    assert "Left out, so that what can be attained is less: 1 node (MaxPool)" in out
    assert json.loads(run(path, *FP16, "--json")[1])["waterline"]["left_out"].startswith("1 node (MaxPool)")


def test_list_names_networks_and_machines():
    status, out, _ = run("--list")
    assert status == 0
    for name in (*names(), *presets(), "host"):
        assert name in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "NETWORK is missing: must be a network by name or a file"),
        (("resnet5", *FP16), "network 'resnet5': must be one of refconv.networks.names(), such as resnet50"),
        (("resnet18", "--machine", "a5000"), "--dtype 'float32': machine a5000 says no peak for it: must be one of float16"),
        (("resnet18", *FP16, "--dtype", "int3"), "--dtype 'int3': must be float32"),
        (("resnet18", *FP16, "--batch", "0"), "--batch: '0': must be a positive integer"),
        (("resnet18", *FP16, "--size", "9999999999"), "--batch 1, --size 9999999999: not legal for resnet18"),
        (("resnet18", *FP16, "--input-shape", "x:1x3x8x8"), "--input-shape 'x:1x3x8x8': is for an ONNX graph"),
        (("net.csv", *FP16, "--size", "8"), "--size 8: a file has its own sizes"),
        (("net.onnx", *FP16, "--fused"), "--fused: net.onnx is a list of layers, which says nothing of blocks; legal with a network by name"),
        (("resnet18", *FP16, "--simulated"), "machine a5000: levels: must be at least one cache to run a kernel on"),
        (("resnet18", *FP16, "--simulated", "--fused"), "machine a5000: levels: must be at least one cache to run a kernel on"),
        (("resnet18", "--machine", "zen4", "--simulated", "--limit", "9"), "no layer is small enough to trace"),
        (("nowhere.onnx", *FP16), "nowhere.onnx: No such file"),
        (("resnet18", "--machine", "nowhere"), "machine 'nowhere': must be host, a5000"),
    ],
)
def test_bad_input_is_one_line(arguments, text):
    status, out, err = run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert text in err
