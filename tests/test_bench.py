"""The benchmark's command line, records and sets. No figure is asserted: times are the machine's."""

import functools
import json

import pytest
from commands import run as run_command

from refconv import host
from refconv.bench.__main__ import main
from refconv.bench.measure import geometric_mean
from refconv.bench.operators import PAPER_MS
from refconv.networks.layers import OPERATORS, SETS, STAGES
from refconv.problem.conv import Conv2d, PartialConv2d

SMALL = ("--layer", "mb1ic8ih6oc8kh3ph1", "--peers", "none", "--rounds", "2")


run = functools.partial(run_command, main=main)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_json_without_peers(layout):
    status, out, err = run(*SMALL, "--layer", "gconv", "--json", "--layout", layout)
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["schema"] == 1
    assert set(report["host"]) == {"cpu", "isa", "vector_bytes", "peak_flop_per_s", "copy_bytes_per_s"}
    assert (report["host"]["isa"], report["host"]["vector_bytes"]) == ("native", host.vector_unit()[0])
    assert report["peers"] == {}
    first, second = report["sets"]["layers"]
    assert first["flops"] == 2 * 36 * 64 * 9
    assert second["name"] == "gconv"
    for record in (first, second):
        assert record["ratio"] is None
        assert record["flop_per_s"] == record["flops"] / record["seconds"]
        assert set(record["times_s"]) == ({"refconv NHWC"} if layout == "NHWC" else {"refconv NCHW", "refconv NHWC"})


def test_table_and_missing_peers(monkeypatch):
    monkeypatch.setattr("refconv.bench.__main__.installed", lambda wanted: [])
    status, out, err = run(*SMALL[:2], "--rounds", "1")
    assert status == 0
    assert "geometric mean" in out
    assert "not installed: torch, onnxruntime, openvino, ncnn; the extra bench brings them" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--set", "winograd"), "--set winograd: must be dense, pointwise"),
        (("--layer", "nothing"), "layer 'nothing': must be conv2d"),
        (("--peers", "mkl"), "--peers mkl: must be of torch"),
        (("--dtype", "int8"), "dtype = 'int8': must be float32"),
        (("--layout", "CHWN"), "--layout CHWN: must be NHWC or NCHW"),
        (("--isa", "avx3"), "--isa avx3: must be avx2, avx512 or native"),
        (("--rounds", "0"), "argument --rounds: '0': must be a positive integer"),
        (("--threads", "0"), "threads = 0: must be an integer from 1"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert text in err


def test_the_sets_are_the_layers_they_say():
    assert {name: len(layers) for name, layers in SETS.items()} == {"dense": 8, "pointwise": 8, "depthwise": 8, "grouped": 4, "partial": 5}
    assert SETS["dense"][4] == Conv2d(1, 3, 224, 224, 64, 7, 7, 2, 2, 3, 3, 2, 2)
    assert SETS["depthwise"][0].macs == 14_751_744
    assert SETS["partial"][1] == PartialConv2d(1, 96, 56, 56, 24, 3, 3)
    for layers in SETS.values():
        assert all(problem.checked() == problem for problem in layers)


def test_the_papers_table_is_consistent_with_its_own_flops():
    """Ten layers' MACs over the paper's milliseconds give its GFLOPS column: 72.90, 7.42, 7.52 and 29.67 at 96x56x56."""
    column = {"Conv": 72.90, "GConv": 7.42, "DWConv": 7.52, "PConv": 29.67}
    for name, layers in OPERATORS.items():
        assert len(layers) == len(STAGES) == len(PAPER_MS[name])
        rate = 10 * layers[0].macs / (PAPER_MS[name][0] * 1e-3) / 1e9
        assert rate == pytest.approx(column[name], rel=0.01)


def test_geometric_mean():
    assert geometric_mean([2, 8]) == pytest.approx(4)
