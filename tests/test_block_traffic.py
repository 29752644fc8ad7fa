"""Blocks on the simulator: what the fused kernels move beside their layers one after another, their accounts, and what is refused."""

import functools

import accounts
import numpy as np
import pytest
from accounts import moved_bytes
from block_problems import MORE_SHAPES, build

from refconv.elements import element
from refconv.kernels import kernel_for_block
from refconv.networks.blocks import BLOCK_PRESETS
from refconv.problem.blocks import ConvFirstBlock, FFNBlock
from refconv.schedule import OPERANDS
from refconv.weights.blocks import block_problem, pack_block
from sim.machine.record import load_machine, make_level

RECORDS = {name: (preset.record(), preset.size) for name, preset in BLOCK_PRESETS.items() if name not in MORE_SHAPES}
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
    """One of RECORDS with both on SMALL_CACHES; pixels: the unit's size (rows of it where it has rows), instead of the rule's."""
    (record, size), tiling = RECORDS[name], None
    if pixels:
        rule = kernel_for_block(record).tiling(block_problem(record, 1, size, size, SMALL_CACHES.target.lanes(4)), 4, SMALL_CACHES.target)
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
    operands = [block["tensors"][operand] for operand in OPERANDS if operand != "residual"]
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
    if not kernel_for_block(RECORDS[name][0]).halo:
        assert block["halo"] == "none"
    if kernel_for_block(RECORDS[name][0]).recomputed_macs is None:
        assert block["recomputed_macs"] == 0


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
    row, problem = kernel_for_block(record), block_problem(record, 1, size, size, lanes)
    declared = row.workspace(problem, row.tiling(problem, 4, SMALL_CACHES.target), lanes, False)
    gating = 2 * record.hidden + record.se.squeezed if getattr(record, "se", None) else 0
    assert block["workspace_bytes"] == 4 * (sum(declared) + gating)
    assert {name for name, elements in declared._asdict().items() if elements} <= set(block["tensors"])


def test_a_record_is_packed_for_each_length_of_vector():
    """The simulator's machine may have other vectors than this host."""
    record = build(FFNBlock, 8, hidden=24, array=lambda *shape: np.ones(shape, np.float32))
    sizes = [sum(weight.size for weight in pack_block(record, lanes).weights) for lanes in (4, 16, 4)]
    assert sizes[0] == sizes[2] < sizes[1]


def test_simulate_block_takes_records_and_names_what_is_wrong():
    for arguments, options, kind, text in (
        (
            ("resnet",),
            {},
            ValueError,
            "block 'resnet': must be ffn, convfirst, convnext, convnextv2, mbconv, fusedmbconv, separable, .*, fasternet, or a record",
        ),
        ((build(FFNBlock),), {}, ValueError, "h = None, w = None: must be the rows and columns"),
        ((build(FFNBlock), 1, 0, 4), {}, ValueError, "height = 0: must be from 1"),
        ((build(ConvFirstBlock, stride=2), 1, 1, 4), {}, ValueError, "height = 1: must be 2 or more where a map is reflected by 1"),
        (("ffn",), {"halo": "maybe"}, ValueError, "halo = 'maybe': must be one of auto, recompute, cache"),
        (("ffn",), {"halo": "cache"}, ValueError, "halo = 'cache' for a FFNBlock without computed rows that steps share: must be 'auto'"),
        (("mbconv",), {"squeeze": "no"}, ValueError, "squeeze = 'no': must be one of auto, recompute, spill"),
        (("convnext",), {"squeeze": "spill"}, ValueError, "squeeze = 'spill' for a ConvNeXtBlock without squeeze-excitation"),
        (("ffn",), {"dtype": "int8"}, ValueError, "dtype = 'int8': must be float32"),
        ((5, 1, 4, 4), {}, TypeError, "weights of type int: must be one of FFNBlock"),
    ):
        with pytest.raises(kind, match=text):
            accounts.simulate_block(*arguments, machine="zen4", **options)
