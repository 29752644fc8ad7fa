"""The benchmark's peers: each form computes the definition, Winograd is listed apart, none is held to less than it says."""

import functools
import io
import json
import re
import types

import numpy as np
import pytest
from commands import run as run_command
from rich.console import Console

from refconv.bench.__main__ import main
from refconv.bench.entry import TOLERANCE, Entry, WrongResult, check
from refconv.bench.layers import layer_contests
from refconv.bench.measure import Contest, record
from refconv.bench.peers import PEERS, Operands, installed, ours, peer, versions
from refconv.bench.report import set_table
from refconv.elements import element
from refconv.networks.layers import Layer
from refconv.problem.conv import Conv2d, PartialConv2d

PROBLEMS = [
    Conv2d.parse("g4mb2ic8ih9oc12kh3sh2ph1"),
    Conv2d.parse("mb1ic3ih12oc8kh7sh2ph3"),
    Conv2d.parse("mb1ic16ih9iw12oc32kh1"),
    Conv2d.parse("g6mb1ic6ih8oc6kh5ph2"),
    Conv2d(1, 8, 9, 9, 8, 3, 3, 1, 1, 1, 2, 3, 2, 2, 2),
    PartialConv2d(1, 12, 7, 6, 5, 3, 3),
]
BY_WINOGRAD = Conv2d.parse("mb2ic16ih12oc16kh3ph1")
run = functools.partial(run_command, main=main)


def entries_of(name, operands, threads=1):
    if not installed([name]):
        pytest.skip(f"{name} is not installed (extra: bench)")
    return peer(name).layer_entries(operands, threads)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_peers_compute_the_definition(name, problem):
    """Where a peer is installed, each of its forms."""
    operands = Operands(problem, "float32")
    entries = entries_of(name, operands)
    assert entries
    three_by_three = isinstance(problem, PartialConv2d)
    assert any(entry.winograd for entry in entries.values()) == (name == "ncnn" and three_by_three)
    check(problem, entries, operands.expected(), TOLERANCE["float32"])


@pytest.mark.parametrize("name", PEERS)
def test_peers_compute_the_definition_with_two_threads(name):
    operands = Operands(BY_WINOGRAD, "float32")
    entries = entries_of(name, operands, threads=2)
    check(BY_WINOGRAD, entries, operands.expected(), TOLERANCE["float32"])
    marked = {form for form, entry in entries.items() if entry.winograd}
    assert marked == ({"planes Winograd", "packed Winograd"} if name == "ncnn" else set())


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "ncnn"])
def test_peers_of_float32_alone_take_no_other_type(name):
    assert entries_of(name, Operands(PROBLEMS[2], "float16")) == {}


def test_what_a_form_gives_is_its_last_call():
    """result() computes: it does not return what an earlier call left."""
    for name in installed(PEERS):
        for entry in peer(name).layer_entries(Operands(PROBLEMS[2], "float32"), 1).values():
            first = np.array(entry.result())
            entry.run()
            np.testing.assert_array_equal(entry.result(), first)


def test_a_form_of_another_shape_is_named():
    with pytest.raises(WrongResult, match=r"^mkl nhwc: a layer gives \(3, 2\); the definition \(2, 3\)$"):
        check("a layer", {"mkl nhwc": Entry(None, lambda: np.zeros((3, 2)))}, np.zeros((2, 3)), 1e-5)


def test_a_layer_is_checked_before_it_is_timed(monkeypatch):
    """A peer whose numbers are ours is measured; one that forgets a channel is named."""
    for factor in (1, 2):
        wrong = lambda operands, threads, factor=factor: {"eager": Entry(None, lambda: factor * ours(operands, threads, "NCHW").result())}
        monkeypatch.setattr("refconv.bench.layers.peer", {"torch": types.SimpleNamespace(layer_entries=wrong)}.get)
        contests = layer_contests([Layer("a", PROBLEMS[2], "a")], ["torch"], "float32", 1, "NHWC")
        if factor == 1:
            assert set(next(contests).entries) == {"refconv NHWC", "torch eager"}
        else:
            with pytest.raises(WrongResult, match=r"^torch eager: mb1ic16.* is off the definition by"):
                next(contests)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_ours_is_within_the_tolerance_of_each_type(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    (contest,) = layer_contests([Layer("a", PROBLEMS[2], "a")], [], element(dtype).dtype, 1, "NCHW")
    assert set(contest.entries) >= {"refconv NHWC", "refconv NCHW"}


def test_winograd_is_listed_apart():
    """It is no candidate for the best peer, however fast."""
    entries = {"refconv NHWC": Entry(None, None), "torch eager": Entry(None, None), "ncnn packed Winograd": Entry(None, None, winograd=True)}
    times = {"refconv NHWC": 2.0, "torch eager": 3.0, "ncnn packed Winograd": 1.0}
    measured = record(Contest("a", "a", 100, entries), times, 1e9, 1, "NHWC")
    assert (measured["best_peer"], measured["best_peer_s"], measured["ratio"]) == ("torch eager", 3.0, 1.5)
    assert (measured["winograd"], measured["winograd_s"], measured["winograd_ratio"]) == ("ncnn packed Winograd", 1.0, 0.5)
    text = io.StringIO()
    ((title, table),) = set_table("dense", [measured, record(Contest("b", "b", 100, {}), {}, 1e9, 1, "NHWC")]).folded()
    Console(file=text, width=150).print(table)
    heading, *rows = [line.split() for line in text.getvalue().splitlines() if line.strip() and "\u2500" not in line]
    assert title == "dense"
    assert heading[-1] == "Winograd"
    assert [row[-1] for row in rows] == ["0.50", "-", "0.50"]


def test_the_peers_versions_are_in_the_json():
    found = installed(PEERS)
    status, out, _ = run("--layer", "mb1ic8ih6oc8kh1", "--rounds", "1", "--json")
    document = json.loads(out)
    assert (status, document["peers"]) == (0, versions(found))
    assert all(re.match(r"\d+\.\d+", version) for version in document["peers"].values())
    (measured,) = document["sets"]["layers"]
    assert {name.split()[0] for name in measured["times_s"]} == {"refconv", *found}
