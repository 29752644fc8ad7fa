"""python -m refconv.networks: the list, one network, a file; JSON; what is wrong in one line."""

import json

import pytest
from commands import TOPOLOGY_HEADER, run

from refconv import PartialConv2d
from refconv.graph.model import Model, ModelLayer
from refconv.networks import names, network
from refconv.networks.__main__ import main
from refconv.networks.report import file_document


def test_the_list():
    status, out, err = run(main=main)
    assert (status, err) == (0, "")
    for name in names():
        (line,) = [line for line in out.splitlines() if line.split()[:1] in ([name], [f"{name}*"])]
        assert f"{network(name).macs() / 1e9:.3f}" in line.split()
    assert "reconstruction" in out


def test_the_list_as_json():
    status, out, _ = run("--json", main=main)
    document = json.loads(out)
    assert status == 0
    assert [one["name"] for one in document["networks"]] == list(names())
    one = next(one for one in document["networks"] if one["name"] == "resnet50")
    assert (one["parameters"], one["macs"], one["size"]) == (25557032, network("resnet50").macs(), 224)
    assert {"what": "parameters", "value": 25557032}.items() <= one["published"][0].items()


@pytest.mark.parametrize("name", names())
def test_show(name):
    """A line a block, none of it cut, and the total; as JSON every step with its shape, and the same sums."""
    known = network(name)
    status, out, _ = run("--show", name, "--size", "64", main=main)
    assert status == 0
    assert "…" not in out
    lines = [line.split() for line in out.splitlines()]
    for block in known.blocks:
        assert [words[-2] for words in lines if words[:1] == [block.name]] == [f"{block.parameters:,}"]
    assert ["all", f"{known.parameters:,}", f"{known.macs(64):,}"] in lines
    status, out, _ = run("--show", name, "--size", "64", "--json", main=main)
    document = json.loads(out)
    steps = [step for block in document["blocks"] for step in block["steps"]]
    assert [(step["name"], step["shape"]) for step in steps] == [(key, list(sized.shape)) for key, sized in known.steps(1, 64).items()]
    assert sum(step["macs"] for step in steps) == sum(block["macs"] for block in document["blocks"]) == document["macs"] == known.macs(64)
    assert sum(block["parameters"] for block in document["blocks"]) == document["parameters"] == known.parameters


def test_show_a_topology(tmp_path):
    path = tmp_path / "two.csv"
    path.write_text(TOPOLOGY_HEADER + "conv1, 10, 10, 3, 3, 4, 8, 1,\nlast, 1, 1, 1, 1, 8, 5, 1,\n")
    status, out, _ = run("--show", str(path), main=main)
    assert status == 0
    assert "18,432" in out
    status, out, _ = run("--show", str(path), "--json", main=main)
    assert [(layer["name"], layer["weights"], layer["macs"]) for layer in json.loads(out)["layers"]] == [("conv1", 288, 18432), ("last", 40, 40)]


def test_show_an_onnx_graph(tmp_path):
    graphs = pytest.importorskip("graphs")
    node = graphs.helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    path = graphs.save(tmp_path / "one.onnx", [node], {"x": (1, 4, 8, 8)}, {"w": (6, 4, 3, 3)})
    status, out, _ = run("--show", path, "--json", main=main)
    assert status == 0
    assert [layer["macs"] for layer in json.loads(out)["layers"]] == [64 * 6 * 4 * 9]
    status, out, _ = run("--show", path, "--input-shape", "x:1x4x16x16", "--json", main=main)
    assert [layer["macs"] for layer in json.loads(out)["layers"]] == [256 * 6 * 4 * 9]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--show", "resnet51"), "network 'resnet51': must be one of refconv.networks.names(), such as resnet50, resnet"),
        (("--show", "missing.onnx"), "missing.onnx: No such file"),
        (("--show", "missing.csv", "--size", "64"), "--size 64: legal with a network of the list"),
        (("--show", "resnet18", "--input-shape", "x:1x3x8x8"), "--input-shape 'x:1x3x8x8': legal with a file"),
        (("--show", "convnext_tiny", "--size", "31"), "size = 31: not legal for convnext_tiny: output has no elements"),
        (("--show", "convfirstnet_pico", "--size", "8"), "height = 1: must be 2 or more where a map is reflected by 1"),
        (("--show", "resnet18", "--size", "0"), "'0': must be a positive integer"),
        (("--size", "64"), "--size 64: needs --show"),
    ],
)
def test_what_is_wrong_in_one_line(arguments, said):
    status, out, err = run(*arguments, main=main)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_partial_convolution_has_a_bias_of_its_own_channels_alone():
    layer = ModelLayer("p", "PartialConv", PartialConv2d(1, 24, 5, 4, 20, 3, 3), bias=True)
    assert (layer.bias_elements, layer.parameters) == (20, 20 * 20 * 9 + 20)
    assert layer._replace(bias=False).parameters == 20 * 20 * 9
    assert file_document(Model("m.onnx", (layer,), ()))["layers"][0]["weights"] == layer.parameters
