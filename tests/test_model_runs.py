"""Models simulated: the command line, processes side by side, and what is too large to trace."""

import csv
import io
import json
import re

import accounts
import pytest
from commands import TOPOLOGY_HEADER, run

from refconv import Conv2d
from refconv.elements import element
from refconv.graph.model import Model, ModelLayer
from sim.account.network import simulation_order
from sim.account.parallel import run_all
from sim.account.trace_cost import estimated_accesses
from sim.machine.record import load_machine

ZEN4 = load_machine("zen4")


SMALL = TOPOLOGY_HEADER + "a, 8, 8, 3, 3, 16, 16, 1,\nb, 6, 6, 1, 1, 16, 32, 1,\nc, 8, 8, 3, 3, 16, 16, 1,\n"


@pytest.fixture
def topology(tmp_path):
    """A CSV of three small layers, two of them equal."""
    path = tmp_path / "small.csv"
    path.write_text(SMALL)
    return str(path)


def test_the_command_line_takes_models(tmp_path):
    """Layers with the tiles of presets, whose traced kernels of halves other tests compile, too."""
    path = tmp_path / "small.csv"
    path.write_text(TOPOLOGY_HEADER + "a, 16, 16, 3, 3, 8, 32, 1,\nb, 9, 9, 1, 1, 16, 48, 1,\nc, 16, 16, 3, 3, 8, 32, 1,\n")
    topology = str(path)
    status, out, err = run("--model", topology, "--machine", "zen4", "--json", "--jobs", "1", "--dtype", "float16", "--batch", "2")
    assert (status, err.count("\n")) == (0, 1)
    assert "small.csv: padding is unknown" in err
    report = json.loads(out)
    layers, total = report["layers"], report["model"]
    assert [layer["name"] for layer in layers] == ["a", "b", "c"]
    assert layers[0] == {**layers[2], "name": "a"}
    for layer in layers:
        alone = accounts.simulate(None, Conv2d.parse(layer["descriptor"]), "zen4", dtype="float16")
        assert {**alone, "name": layer["name"], "op": "conv", "simulation_s": layer["simulation_s"]} == layer
    for key in ("macs", "flops", "compulsory_bytes"):
        assert total[key] == sum(layer[key] for layer in layers)
    assert total["dram"]["read_bytes"] == sum(layer["dram"]["read_bytes"] for layer in layers)
    assert total["intensity"]["simulated"] == total["flops"] / (total["dram"]["read_bytes"] + total["dram"]["write_bytes"])
    assert total["modelled_share"] == 1
    status, out, _ = run("--model", topology, "--cache", "L1=4KiB,4,64", "--csv", "--jobs", "1")
    assert [row["name"] for row in csv.DictReader(io.StringIO(out))] == ["a", "b", "c"]


def test_a_models_layers_are_run_as_a_layer_is(topology):
    """Start, stores, inclusion and classes of misses reach every layer; the model's bound is the sum of its layers'."""
    options = ("--warm", "--classify", "--stores", "nontemporal", "--inclusion", "inclusive", "--json", "--jobs", "1")
    status, out, _ = run("--model", topology, "--machine", "zen4", *options)
    assert status == 0
    report = json.loads(out)
    assert "inclusive, no prefetch, warm start" in report["machine"]["policy"]
    machine = ZEN4._replace(inclusion="inclusive")
    for layer in report["layers"]:
        problem = Conv2d.parse(layer["descriptor"])
        alone = accounts.simulate(None, problem, machine, warm=True, classify=True, stores="nontemporal")
        assert {**alone, "name": layer["name"], "op": "conv", "simulation_s": layer["simulation_s"]} == layer
    assert report["model"]["bound_bytes"] == sum(layer["bound_bytes"] for layer in report["layers"])
    status, out, _ = run("--model", topology, "--machine", "zen4", "--warm", "--jobs", "1")
    assert "Each layer on caches as it left them" in out
    assert "Lower bound" in out


def test_the_table_has_a_row_a_layer_and_what_was_left_out(tmp_path):
    pytest.importorskip("onnx")
    from graphs import conv, helper, save

    nodes = [conv("a"), helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Flatten", ["b"], ["y"])]
    path = save(tmp_path / "[red].onnx", nodes, {"x": [1, 16, 8, 8]}, {"w": (16, 16, 3, 3)}, rank=[None] * 2)
    status, out, err = run("--model", path, "--machine", "zen4", "--jobs", "1")
    assert (status, err) == (0, "")
    elements = 16 * 64 + 16 * 16 * 9 + 16 * 36
    share = 2 * 16 * 36 / (elements + 2 * 16 * 36)
    for text in ("[red].onnx   1 Conv: 82.94 kMAC", "mb1ic16ih8oc16oh6kh3ph0", f"Not modelled: {100 * share:.1f} %", "Relu", "Flatten 1 (a view)"):
        assert text in out
    _, _, err = run("--model", path, "--machine", "zen4", "--jobs", "1", "--csv")
    assert f"not modelled, {100 * share:.1f} % of the elements moved: Relu 1" in err


def test_a_share_of_unknown_sizes_is_no_zero(tmp_path):
    """What follows an operator of no one known is not "0.0 % of all"."""
    pytest.importorskip("onnx")
    from graphs import conv, helper, save

    nodes = [conv("a"), helper.make_node("Mystery", ["a"], ["b"], domain="own"), helper.make_node("Conv", ["b", "w"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 16, 8, 8]}, {"w": (16, 16, 3, 3)}, rank=[None] * 4)
    words = "as far as they are known; those of 2 nodes are not"
    status, out, _ = run("--model", path, "--machine", "zen4", "--jobs", "1")
    assert status == 0
    assert f"Not modelled: 0.0 % of the elements that all nodes move, {words}" in out
    assert (
        f"not modelled, 0.0 % of the elements moved, {words}: own.Mystery 1, Conv 1"
        in run("--model", path, "--machine", "zen4", "--jobs", "1", "--csv")[2]
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--model", "x.onnx", "--layer", "dwconv"), "--layer and --model: must be one of them"),
        (("--model", "absent.onnx"), "absent.onnx: No such file"),
        (("--model", "absent.csv"), "absent.csv: No such file"),
        (("--model", "model.pt"), "model.pt: must be an ONNX graph"),
        (("--model", "TOPOLOGY", "--kernel", "conv2d"), "--kernel conv2d: every layer of a model"),
        (("--model", "TOPOLOGY", "--input-shape", "x:1x2"), "--input-shape 'x:1x2': a topology has its shapes in the file"),
        (
            ("--model", "TOPOLOGY", "--limit", "100"),
            r"layer b .*accesses: must be at most 100; legal: a larger --limit, or a layer alone: --layer mb1ic16ih8oc16oh6kh3ph0 --explain",
        ),
        (("--layer", "mb1ic4096ih4096oc4096kh3ph1"), r"tracing it takes about .* T accesses: must be at most 10 G"),
        (("--layer", "convnext", "--batch", "100000"), "layer convnext: tracing it takes about"),
        (("--layer", "dwconv", "--input-shape", "x:1x2"), "--input-shape 'x:1x2': needs --model"),
        (("--model", "TOPOLOGY", "--jobs", "0"), "argument --jobs: '0'"),
        (("--model", "TOPOLOGY", "--explain"), "--explain: a model is a table of its layers; legal with --layer"),
        (("--model", "TOPOLOGY", "--classify"), "--classify: the table of a model has no place .*; legal with --json or --csv"),
        (("--model", "TOPOLOGY", "--halo", "cache"), "--halo cache: must be auto, since no layer given has that choice"),
    ],
)
def test_bad_model_arguments(topology, arguments, text):
    status, out, err = run(*(topology if word == "TOPOLOGY" else word for word in arguments), "--machine", "zen4")
    assert (status, out) == (2, "")
    *notes, last = err.splitlines()
    assert all("padding is unknown" in line for line in notes)
    assert re.search(text, last)


def test_the_advice_of_a_limit_works(topology):
    """What the message names is legal, and traces nothing."""
    _, _, err = run("--model", topology, "--machine", "zen4", "--limit", "100")
    advice = err.strip().rpartition("alone: ")[2].split()
    status, out, _ = run(*advice, "--machine", "zen4", "--limit", "100")
    assert (status, "Not traced" in out) == (0, True)


def test_a_layer_over_the_limit_is_listed_and_the_rest_counted(topology):
    """All but the pointwise layer b are too large: the totals say how many MACs that leaves out."""
    small, large = (estimated_accesses(Conv2d.parse(text), ZEN4) for text in ("mb1ic16ih6oc32kh1", "mb1ic16ih8oc16kh3"))
    assert small < large
    status, out, err = run("--model", topology, "--machine", "zen4", "--json", "--jobs", "1", "--limit", str(small))
    assert (status, err.count("\n")) == (0, 1)
    total = json.loads(out)["model"]
    each = 36 * 16 * 16 * 9
    assert (total["macs"], total["macs_not_modelled"], total["nodes_of_unknown_macs"]) == (36 * 16 * 32, 2 * each, 0)
    assert [(node["name"], node["macs"]) for node in total["not_modelled"]] == [("a", each), ("c", each)]
    assert total["modelled_share"] == (36 * 16 + 16 * 32 + 36 * 32) / total["elements"]
    status, out, _ = run("--model", topology, "--machine", "zen4", "--jobs", "1", "--limit", str(small))
    missing = 100 * 2 * each / (2 * each + 36 * 16 * 32)
    assert f"Not in the totals: {missing:.1f} % of the MACs that are known: 165.9 kMAC of conv (not traced: takes about" in " ".join(out.split())
    status, _, err = run("--model", topology, "--machine", "zen4", "--jobs", "1", "--limit", str(small), "--csv")
    assert "of the elements moved, 165.9 kMAC: conv 2" in err


def test_what_is_not_known_is_told(tmp_path):
    pytest.importorskip("onnx")
    from graphs import conv, helper, info, write

    nodes = [conv("c"), helper.make_node("Mystery", ["c"], ["m"], domain="mine"), conv("y", "m")]
    path = write(tmp_path / "m.onnx", nodes, [info("x", [1, 16, 8, 8])], {"w": (16, 16, 3, 3)})
    status, out, err = run("--model", path, "--machine", "zen4", "--jobs", "1")
    assert (status, err) == (0, "")
    told = "Not in the totals, and not known: the MACs of mine.Mystery 1 (no kernel), Conv 1 (the shape of m is not known (no dimension))."
    assert told in " ".join(out.split())
    _, _, err = run("--model", path, "--machine", "zen4", "--jobs", "1", "--csv")
    assert "mine.Mystery 1, Conv 1; MACs not known of 2 nodes" in err


def test_processes_give_the_same(topology):
    alone, together = (accounts.simulate_model(topology, "zen4", jobs=jobs) for jobs in (1, 2))
    for one, other in zip(alone["layers"], together["layers"], strict=True):
        assert {**one, "simulation_s": 0} == {**other, "simulation_s": 0}
    assert alone["model"] == together["model"]
    with pytest.raises(ValueError, match="kernel 'none'"):
        run_all([(accounts.simulate, {"kernel": name, "problem": "mb1ic16ih6oc32kh1", "machine": ZEN4}) for name in (None, "none")], jobs=2)


def test_a_bar_is_drawn_on_terminals_alone(monkeypatch):
    for is_terminal in (True, False):
        stderr = io.StringIO()
        stderr.isatty = lambda answer=is_terminal: answer
        monkeypatch.setattr("sys.stderr", stderr)
        assert run_all([(dict, {"a": 1}), (dict, {"b": 2})]) == [{"a": 1}, {"b": 2}]
        assert ("simulating" in stderr.getvalue()) == is_terminal


def test_the_order_begins_with_each_variant_once():
    """Two layers of one tile shape, one of another: the two shapes first, the longer of the equal ones before."""
    small, large, other = (Conv2d.parse(text) for text in ("mb1ic16ih8oc16kh3ph1", "mb1ic64ih8oc16kh3ph1", "g16mb1ic16ih8oc16kh3ph1"))
    assert simulation_order([(small, False), (other, False), (large, False)], ZEN4, element("float32")) == [
        (large, False),
        (other, False),
        (small, False),
    ]


ESTIMATED = [
    "conv2d",
    "pointwise",
    "dwconv",
    "dwconv3",
    "gconv",
    "pconv",
    "mb1ic3ih112oc32kh3sh2ph1",
    "mb1ic512ih1oc1000kh1",
    "g32mb1ic32ih28oc64kh3ph1",
]


@pytest.mark.parametrize("name", ESTIMATED)
def test_estimated_accesses_are_within_a_factor_of_two(name):
    from refconv.networks.layers import find_layer

    problem = find_layer(name).problem
    level = accounts.simulate(None, problem, ZEN4)["levels"][0]
    assert 0.5 < estimated_accesses(problem, ZEN4) / (level["loads"] + level["stores"]) < 2


def test_models_can_be_built_by_hand():
    model = Model("mine", (ModelLayer("a", "conv", Conv2d.parse("mb1ic16ih8oc16kh3")),), ())
    assert accounts.simulate_model(model, "zen4", jobs=1)["model"]["macs"] == 36 * 256 * 9
