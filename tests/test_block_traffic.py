"""Blocks on the simulator: what the fused kernels move, the layers one after another, their accounts, the command line."""

import csv
import functools
import json

import accounts
import numpy as np
import pytest
from accounts import moved_bytes, unfused
from block_problems import BLOCKS, STRIDED, build, squeeze_excite
from machines import check_three_machines_on_block
from problems import integers
from test_traffic import run

from refconv.elements import element
from refconv.kernels import choose_fused
from refconv.networks.blocks import BLOCK_PRESETS
from refconv.problem.blocks import ConvFirstBlock, ConvNeXtBlock, FasterNetBlock, FFNBlock, FusedMBConvBlock, MBConvBlock
from refconv.weights.blocks import block_problem, pack_block
from sim.account.layer_by_layer import hidden_tensors, laid_out, links
from sim.account.records import OPERANDS
from sim.machine.record import load_machine, make_level

RECORDS = {name: (preset.record(), preset.size) for name, preset in BLOCK_PRESETS.items()}
RECORDS["convfirst down"] = build(ConvFirstBlock, 64, 128, 384, 8, stride=2), 96
"""The presets, and ConvFirst's other kernel: a record and the rows and columns of its map.

That one on 96x96: on 64x64 its operands move once, too, but its workspace, filled and flushed once, is 10.4 % of them.
"""
CACHES = ("--cache", "L1=32KiB,8,64", "--cache", "L2=1MiB,16,64")
ZEN4 = load_machine("zen4")
SMALL_CACHES = ZEN4._replace(levels=(make_level("L1", "32KiB", 8, 64), make_level("L2", "1MiB", 16, 64)))
"""Zen 4 with a last level smaller than the hidden layer of any preset."""
FLOAT = element("float32")


@functools.cache
def fused_preset(name, pixels=None):
    """One of RECORDS with both on SMALL_CACHES; pixels: the unit's size (rows of it where it has rows), in the place of the rule's."""
    (record, size), tiling = RECORDS[name], None
    if pixels:
        rule = choose_fused(record).tiling(block_problem(record, 1, size, size, SMALL_CACHES.target.lanes(4)), 4, SMALL_CACHES.target)
        tiling = rule._replace(**{rule._fields[0]: pixels})
    return accounts.simulate_block(record, 1, size, size, SMALL_CACHES, tiling=tiling)


def least_with_fill(block):
    """Compulsory bytes, and the read that a store to a line not in cache costs: the output once more."""
    return block["compulsory_bytes"] + block["tensors"]["output"]["compulsory_bytes"]


@pytest.mark.parametrize("name", RECORDS)
def test_a_fused_block_moves_little_more_than_compulsory(name):
    """Within 10 % of every operand once and the fill of the output; squeeze-excitation's first pass may read the input once more."""
    block = fused_preset(name)
    again = block["tensors"]["input"]["bytes"] if "gates" in block["tensors"] else 0
    assert moved_bytes(block) <= 1.1 * (least_with_fill(block) + again)


@functools.cache
def spilled():
    """The mbconv preset on SMALL_CACHES, its hidden layer kept in memory."""
    return accounts.simulate_block("mbconv", machine=SMALL_CACHES, squeeze="spill")


def test_a_spilled_hidden_layer_moves_three_times():
    """What must move: every operand once, the output's fill, the hidden layer's fill, write and read, and the input again as the residual.

    Both are larger than what the last level keeps while the hidden layer, twice that level, goes by. The same block that recomputes reads no
    more than the input again, an eighteenth of the hidden layer three times: what is spilled for are the MACs.
    """
    block, again = spilled(), fused_preset("mbconv")
    hidden = block["tensors"]["hidden_layer"]
    preset = BLOCK_PRESETS["mbconv"]
    assert hidden["bytes"] == 4 * preset.size**2 * preset.record().hidden > 1.5 * (1 << 20)
    least = least_with_fill(block) + 3 * hidden["bytes"] + block["tensors"]["input"]["bytes"]
    assert 0.99 * least <= moved_bytes(block) <= 1.1 * least
    assert hidden["write_bytes"] == hidden["bytes"]
    assert hidden["read_bytes"] == 2 * hidden["bytes"]
    assert (block["squeeze"], again["squeeze"], block["unfused"]["squeeze"]) == ("spill", "recompute", "none")
    assert "hidden_layer" not in again["tensors"]
    assert block["recomputed_macs"] == 0 < again["recomputed_macs"]
    assert block["unfused"]["dram"] == again["unfused"]["dram"]


@pytest.mark.parametrize("name", RECORDS)
def test_a_fused_block_of_small_units_moves_little_more_than_compulsory(name):
    """Every operand moves once, but for whole vectors of weights; the workspace, filled from memory once and flushed at the end, is the 10 %.

    Not so with squeeze-excitation: the first pass reads the input, too, and the workspace is large beside the preset's small map.
    """
    block = fused_preset(name, 60 if name == "ffn" else 1)
    gated = "gates" in block["tensors"]
    operands = [block["tensors"][operand] for operand in OPERANDS]
    again = block["tensors"]["input"]["bytes"] if gated else 0
    assert sum(tensor["read_bytes"] + tensor["write_bytes"] for tensor in operands) <= 1.02 * least_with_fill(block) + again
    assert gated or moved_bytes(block) <= 1.1 * least_with_fill(block)


@pytest.mark.parametrize("name", RECORDS)
def test_fused_moves_less_than_layer_by_layer(name):
    block = fused_preset(name)
    layers = block["unfused"]
    assert moved_bytes(layers) > 2 * moved_bytes(block)
    assert layers["workspace_bytes"] > block["workspace_bytes"]
    assert layers["intensity"]["simulated"] < block["intensity"]["simulated"]
    assert layers["attainable_efficiency"] <= block["attainable_efficiency"] <= 1
    assert (block["macs"], layers["recomputed_macs"], layers["halo"]) == (layers["macs"], 0, "none")
    if choose_fused(RECORDS[name][0]).recomputed_macs is None:
        assert (block["recomputed_macs"], block["halo"]) == (0, "none")


@pytest.mark.parametrize("halo", ["recompute", "cache"])
def test_recomputed_macs_are_those_of_the_hidden_rows_made_again(halo):
    """The traced kernel stores every vector of a hidden pixel once each time it makes it; with squeeze-excitation there are two passes."""
    preset = BLOCK_PRESETS["mbconv"]
    record = preset.record()
    pixels, vectors = preset.size**2, record.hidden // 16
    block = accounts.simulate_block(preset, machine=SMALL_CACHES, halo=halo)
    made = block["tensors"]["ring"]["levels"][0]["stores"] // vectors
    conv = dict(record.layers(1, preset.size, preset.size))["conv"]
    assert block["halo"] == halo
    assert block["recomputed_macs"] == (made - pixels) * record.c * record.hidden + conv.macs
    assert (made == 2 * pixels) == (halo == "cache")


@pytest.mark.parametrize("halo", ["recompute", "cache"])
def test_recomputed_macs_are_those_of_the_convolved_rows_made_again(halo):
    """ConvFirst of stride 2: a vector of a convolved pixel is stored once each time it is made, and those of one row more where it is kept."""
    record, size = RECORDS["convfirst down"]
    block = accounts.simulate_block(record, 1, size, size, SMALL_CACHES, halo=halo)
    kept = size // 2 - -(-size // 2 // block["tiling"]["lines"])  # rows: for every output row but the first of a unit
    made = block["tensors"]["window"]["levels"][0]["stores"] // (record.c // 16 * size) - kept
    conv = dict(record.layers(1, size, size))["conv"]
    assert block["halo"] == halo
    assert block["recomputed_macs"] == (made - size) * conv.macs // size
    assert (made == size) == (halo == "cache")


@pytest.mark.parametrize("name", RECORDS)
def test_totals_add_up(name):
    """Over tensors, levels and layers, of both runs."""
    block = fused_preset(name)
    for record in (block, block["unfused"], *block["unfused"]["layers"]):
        for side in ("read_bytes", "write_bytes"):
            assert sum(tensor[side] for tensor in record["tensors"].values()) == record["dram"][side]
        for i, level in enumerate(record["levels"]):
            for key in ("loads", "stores", "load_misses", "store_misses", "writebacks", "flushed"):
                assert sum(tensor["levels"][i][key] for tensor in record["tensors"].values()) == level[key]
        assert record["compulsory_bytes"] == sum(tensor["compulsory_bytes"] for tensor in record["tensors"].values())
    layers, total = block["unfused"]["layers"], block["unfused"]
    for key in ("macs", "flops", "compulsory_bytes"):
        assert sum(layer[key] for layer in layers) == total[key]
    for side in ("read_bytes", "write_bytes"):
        assert sum(layer["dram"][side] for layer in layers) == total["dram"][side]
    assert sum(layer["flushed_bytes"] for layer in layers) == total["flushed_bytes"]
    assert all(layer["flushed_bytes"] == 0 for layer in layers[:-1])


@pytest.mark.parametrize("name", RECORDS)
def test_workspace_reported_is_workspace_declared(name):
    """With squeeze-excitation there are besides the gates, means and squeezed channels of an image."""
    block, (record, size), lanes = fused_preset(name), RECORDS[name], SMALL_CACHES.target.lanes(4)
    row, problem = choose_fused(record), block_problem(record, 1, size, size, lanes)
    declared = row.workspace(problem, row.tiling(problem, 4, SMALL_CACHES.target), lanes, False)
    gating = 2 * record.hidden + record.se.squeezed if getattr(record, "se", None) else 0
    assert block["workspace_bytes"] == 4 * (sum(declared.values()) + gating)
    assert {name for name, elements in declared.items() if elements} <= set(block["tensors"])


def small_unfused(kind, n=2, h=6, w=5, machine=ZEN4, dtype=FLOAT, **changed):
    """(record, its layer-by-layer run) of a small block."""
    record = build(kind, **changed)
    return record, unfused(record, n, h, w, machine, dtype)


@pytest.mark.parametrize("alpha", [2, 4])
def test_hidden_layer_is_alpha_in_alpha_plus_one_of_an_ffn_layer_by_layer(alpha):
    """Lavin, Sec. 5.2, for a last level that holds no layer: without residual, exactly, as write-allocate fills what is stored in proportion."""
    tiny = ZEN4._replace(levels=(make_level("L1", "32KiB", 8, 64), make_level("L2", "128KiB", 16, 64)))
    _, layers = small_unfused(FFNBlock, 1, 28, 28, tiny, c=32, hidden=32 * alpha, residual=False)
    assert layers["hidden_share"] == pytest.approx(alpha / (alpha + 1))
    _, added = small_unfused(FFNBlock, 1, 28, 28, tiny, c=32, hidden=32 * alpha)
    assert added["hidden_share"] == pytest.approx(3 * alpha / (3 * alpha + 4))  # the input is read once more


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", BLOCKS)
def test_layers_read_and_write_what_the_record_says(kind, stride):
    """Elements of the activations of each step are those of Block.unfused_elements; parameters are each there once."""
    changed = {"stride": stride} if kind in STRIDED else {}
    if kind is MBConvBlock:
        changed["se"] = squeeze_excite()
    record = build(kind, **changed)
    moved, arrays = record.unfused_elements(2, 6, 5), record.arrays
    layers, layout = laid_out(record, 2, 6, 5, ZEN4.target, FLOAT)
    tensors = set(layout.tensors)
    for layer in layers:
        read, written = moved[layer.link.step.name]
        activations = sum(elements for name, elements in layer.least.items() if name in tensors)
        assert activations == read + written, layer.link
        assert layer.least[layer.link.made] == written
    parameters = sum(elements for layer in layers for name, elements in layer.least.items() if name not in tensors)
    assert parameters == sum(array.size for array in arrays.values())


@pytest.mark.parametrize("kind", BLOCKS)
def test_layers_that_fit_are_read_from_memory_once(kind):
    """In a cache larger than all: no layer but the first reads the input, and what lies between layers is filled and flushed, no more."""
    changed = {"se": squeeze_excite()} if kind is MBConvBlock else {}
    record, layers = small_unfused(kind, **changed)
    line = ZEN4.line_bytes
    for name, tensor in layers["tensors"].items():
        if name not in ("weight", "bias"):
            assert tensor["read_bytes"] == -(-tensor["bytes"] // line) * line, name
    assert layers["tensors"]["input"]["write_bytes"] == 0
    assert set(hidden_tensors(record, 2, 6, 5)) <= set(layers["tensors"])


def test_tensors_between_layers_by_name():
    names = lambda *case, **changed: [(link.source, *link.besides, link.made) for link in links(build(*case, **changed), 1, 6, 6)]
    assert names(FFNBlock) == [("input", "expand_output"), ("expand_output", "input", "output")]
    assert names(ConvFirstBlock, stride=2)[1] == ("conv_output", "input", "blur_output")
    assert names(MBConvBlock, se=squeeze_excite())[2:] == [
        ("conv_output", "se_pool_output"),
        ("se_pool_output", "se_reduce_output"),
        ("se_reduce_output", "se_expand_output"),
        ("conv_output", "se_expand_output", "input", "output"),
    ]
    hidden = lambda *case, **changed: hidden_tensors(build(*case, **changed), 1, 6, 6)
    assert hidden(ConvNeXtBlock) == ["expand_output"]
    assert hidden(MBConvBlock, se=squeeze_excite()) == ["expand_output", "conv_output"]
    assert hidden(FusedMBConvBlock) == ["conv_output"]


TINY = {
    "ffn": (FFNBlock, np.float16, (5, 3, 7), {"c": 5, "hidden": 20, "residual": False}),
    "conv_first": (ConvFirstBlock, np.float32, (1, 3, 4), {"c": 8, "k": 5, "hidden": 18}),
    "conv_first_down": (ConvFirstBlock, np.float32, (2, 5, 4), {"c": 6, "k": 5, "hidden": 18, "stride": 2}),
    "convnext": (ConvNeXtBlock, np.float32, (1, 3, 4), {"c": 6, "hidden": 17}),
    "fasternet": (FasterNetBlock, np.float32, (1, 3, 5), {"c": 9, "hidden": 18, "g": 2}),
    "mbconv": (MBConvBlock, np.float32, (1, 4, 3), {"c": 5, "k": 5, "hidden": 18, "g": 1}),
    "fused_mbconv": (FusedMBConvBlock, np.float32, (1, 3, 4), {"c": 3, "k": 5, "hidden": 18, "stride": 2}),
}


def tiny(name, **changed):
    """(record, x NHWC) of integers, of TINY, some of its fields changed."""
    kind, dtype, (n, h, w), sizes = TINY[name]
    rng = np.random.default_rng(0)
    array = lambda *shape: integers(rng, shape, dtype)
    record = build(kind, array=array, maybe=array, activation="relu", **{**sizes, **changed})
    return record, integers(rng, (n, h, w, record.c), dtype)


CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3)
"""Where quotients or exponentials of integers are off by a few roundings."""


@pytest.mark.parametrize("name", TINY)
def test_three_machines_agree_on_blocks(name):
    """Values, stores and the set of elements touched. Integers, but for LayerNorm.

    One of each kind, and halves once: each costs half a minute of compilation.
    """
    record, x = tiny(name)
    assert len(check_three_machines_on_block(record, x, CLOSE if name == "convnext" else np.testing.assert_array_equal)) == 1


@pytest.mark.parametrize("squeeze", ["recompute", "spill"])
def test_three_machines_agree_on_squeeze_excitation(squeeze):
    """In every one of its passes, each on what the plain run of those before has made; two images, whose sums and gates differ."""
    se = squeeze_excite(18, 3, *[lambda *shape: np.random.default_rng(1).standard_normal(shape).astype(np.float32)] * 2, activation="relu")
    record, x = tiny("mbconv", se=se)
    x = np.concatenate([x, x[:, ::-1] + 1])
    last = "gated" if squeeze == "spill" else "mbconv"
    assert check_three_machines_on_block(record, x, CLOSE, squeeze=squeeze) == ["mbconv", "squeeze_excite", last]


def test_a_record_is_packed_for_each_length_of_vector():
    """The simulator's machine may have other vectors than this host."""
    record = build(FFNBlock, 8, hidden=24, array=lambda *shape: np.ones(shape, np.float32))
    sizes = [sum(weight.size for weight in pack_block(record, lanes).weights) for lanes in (4, 16, 4)]
    assert sizes[0] == sizes[2] < sizes[1]


def test_simulate_block_takes_records_and_names_what_is_wrong():
    for arguments, options, kind, text in (
        (("resnet",), {}, ValueError, "block 'resnet': must be ffn, convfirst, convnext, mbconv, fusedmbconv, fasternet, or a record"),
        ((build(FFNBlock),), {}, ValueError, "h = None, w = None: must be the rows and columns"),
        ((build(FFNBlock), 1, 0, 4), {}, ValueError, "height = 0: must be from 1"),
        ((build(ConvFirstBlock, stride=2), 1, 1, 4), {}, ValueError, "height = 1: must be 2 or more for a ConvFirstBlock of stride 2"),
        (("ffn",), {"halo": "maybe"}, ValueError, "halo = 'maybe': must be one of auto, recompute, cache"),
        (("ffn",), {"halo": "cache"}, ValueError, "halo = 'cache' for a FFNBlock without computed rows that steps share: must be 'auto'"),
        (("mbconv",), {"squeeze": "no"}, ValueError, "squeeze = 'no': must be one of auto, recompute, spill"),
        (("convnext",), {"squeeze": "spill"}, ValueError, "squeeze = 'spill' for a ConvNeXtBlock without squeeze-excitation"),
        (("ffn",), {"dtype": "int8"}, ValueError, "dtype = 'int8': must be float32"),
        ((5, 1, 4, 4), {}, TypeError, "weights of type int: must be one of FFNBlock"),
    ):
        with pytest.raises(kind, match=text):
            accounts.simulate_block(*arguments, machine="zen4", **options)


def test_command_line():
    status, out, err = run("--layer", "ffn", "--layer", "mb1ic8ih8oc8kh3ph1", *CACHES, "--machine", "zen4", "--json")
    assert (status, err) == (0, "")
    block, layer = json.loads(out)["layers"]
    assert set(layer) | {"halo", "squeeze", "recomputed_macs", "unfused"} == set(block)
    assert set(block["unfused"]) == set(block) - {"unfused"} | {"layers", "hidden_share"}
    assert (block["name"], block["kernel"], block["halo"], block["squeeze"]) == ("ffn", "fused", "none", "none")
    assert [step["name"] for step in block["unfused"]["layers"]] == ["expand", "project"]
    assert all(set(step) == set(layer) for step in block["unfused"]["layers"])
    status, out, err = run("--layer", "ffn", "--layer", "mb1ic8ih8oc8kh3ph1", *CACHES, "--machine", "zen4", "--csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["name"], row["kernel"]) for row in rows[:2]] == [("ffn", "fused"), ("ffn", "unfused")]
    assert rows[2]["halo"] == "none"
    status, out, err = run("--layer", "ffn", "--machine", "zen4", "--batch", "2")
    assert (status, err) == (0, "")
    for text in ("FFNBlock mb2ic96ih56iw56", "Fused beside layer by layer", "hidden layer", "side of the roof", "231.2"):
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
