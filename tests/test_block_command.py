"""The command line of traffic for blocks."""

import csv
import json

import pytest
from commands import run

from refconv.networks.blocks import BLOCK_PRESETS

CACHES = ("--cache", "L1=32KiB,8,64", "--cache", "L2=1MiB,16,64")


def test_command_line():
    status, out, err = run("--layer", "ffn", "--layer", "mb1ic8ih8oc8kh3ph1", *CACHES, "--machine", "zen4", "--json")
    assert (status, err) == (0, "")
    block, layer = json.loads(out)["layers"]
    assert set(layer) | {"halo", "squeeze", "recomputed_macs", "unfused"} == set(block)
    assert set(block["unfused"]) == set(block) - {"unfused"} | {"layers", "hidden_share"}
    assert (block["name"], block["kernel"], block["halo"], block["squeeze"]) == ("ffn", "fused", "none", "none")
    assert [step["name"] for step in block["unfused"]["layers"]] == ["expand", "expand_activation", "project", "added"]
    assert all(set(step) == set(layer) for step in block["unfused"]["layers"])
    status, out, err = run("--layer", "ffn", "--layer", "mb1ic8ih8oc8kh3ph1", *CACHES, "--machine", "zen4", "--csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["name"], row["kernel"]) for row in rows[:2]] == [("ffn", "fused"), ("ffn", "unfused")]
    assert rows[2]["halo"] == "none"
    status, out, err = run("--layer", "ffn", "--machine", "zen4", "--batch", "2")
    assert (status, err) == (0, "")
    for text in ("FFNBlock mb2ic96ih56iw56", "Fused beside layer by layer", "hidden layer", "limited by", "231.2"):
        assert text in out


def test_modes_go_to_the_layers_that_have_the_choice():
    layers = "--layer", "mbconv", "--layer", "ffn", "--layer", "mb1ic8ih8oc8kh3ph1"
    status, out, err = run(*layers, "--halo", "recompute", "--squeeze", "spill", *CACHES, "--machine", "zen4", "--csv")
    assert (status, err) == (0, "")
    modes = [(row["kernel"], row["halo"], row["squeeze"]) for row in csv.DictReader(out.splitlines())]
    none = "none", "none"
    assert modes == [("fused", "recompute", "spill"), ("unfused", *none), ("fused", *none), ("unfused", *none), (modes[-1][0], *none)]
    status, out, err = run("--layer", "mbconv", "--squeeze", "spill", *CACHES, "--machine", "zen4")
    assert (status, err) == (0, "")
    compared = [line.split() for line in out.splitlines() if line.split()[:1] in (["halo"], ["squeeze"])]
    assert compared == [["halo", "cache", "none"], ["squeeze", "spill", "none"]]
    assert "hidden_layer" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--layer", "ffn", "--halo", "none"), "halo = 'none': must be one of auto, recompute, cache"),
        (("--layer", "dwconv", "--halo", "x"), "halo = 'x': must be"),
        (("--layer", "ffn", "--halo", "recompute"), "--halo recompute: must be auto, .* legal with --layer mbconv"),
        (("--layer", "ffn", "--layer", "dwconv", "--squeeze", "spill"), "--squeeze spill: must be auto, .* legal with --layer mbconv"),
        (("--layer", "mbconv", "--squeeze", "maybe"), "squeeze = 'maybe': must be one of auto, recompute, spill"),
        (("--layer", "ffn", "--machine", "zen4", "--kernel", "conv2d"), "--kernel conv2d: a block has a kernel of its own"),
        (("--layer", "resnet"), "must be conv2d, .*, ffn, convfirst"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text):
    import re

    status, out, err = run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(text, err)


def test_list_names_blocks():
    _, out, _ = run("--list")
    assert all(f"  {name:<12} {preset.origin}\n" in out for name, preset in BLOCK_PRESETS.items())
