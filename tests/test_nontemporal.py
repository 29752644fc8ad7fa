"""Outputs stored past the caches: what is read falls by the output, what is written stays; against a plain model of the buffers."""

from collections import OrderedDict

import accounts
import numpy as np
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st

from refconv.networks.layers import PRESETS
from sim.hierarchy.words import TENSOR_BITS
from sim.machine.record import Level, load_machine
from sim.trace.nontemporal import BUFFERS, WriteCombining

ZEN4 = load_machine("zen4")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.booleans()), max_size=200))
def test_buffers_against_a_plain_model(accesses):
    """Tensor 1 is the output, which is only stored; the rest passes, in order."""
    accesses = [(tensor, line, write or tensor == 1) for tensor, line, write in accesses]
    events = np.array([((tensor << TENSOR_BITS - 6) + line) << 1 | write for tensor, line, write in accesses], np.int64)
    combining, opened, written = WriteCombining([1], 3, 64), OrderedDict(), 0
    for tensor, line, _ in accesses:
        if tensor == 1:
            written += line not in opened
            opened[line] = True
            opened.move_to_end(line)
            if len(opened) > BUFFERS:
                opened.popitem(last=False)
    kept = events.copy()
    left = combining.take(kept)
    np.testing.assert_array_equal(kept[:left], events[[tensor != 1 for tensor, *_ in accesses]] if accesses else events)
    assert combining.written.tolist() == [0, written, 0]


def test_an_output_that_is_loaded_is_refused():
    with pytest.raises(ValueError, match="loads its output"):
        WriteCombining([0], 1, 64).take(np.array([0], np.int64))


@pytest.mark.parametrize("name", ["conv2d", "dwconv", "pointwise"])
def test_where_a_layer_fits_the_output_is_written_once_and_never_read(name):
    """Channels are whole lines: no line takes a buffer twice. All other tensors as before; compulsory traffic is reached without workspace."""
    past, through = (accounts.simulate(None, PRESETS[name].problem, "zen4", stores=stores) for stores in ("nontemporal", "temporal"))
    size = through["tensors"]["output"]["bytes"]
    assert past["tensors"]["output"]["read_bytes"] == 0
    assert past["tensors"]["output"]["write_bytes"] == through["tensors"]["output"]["write_bytes"] == size
    assert through["tensors"]["output"]["read_bytes"] == size
    assert not any(past["tensors"]["output"]["levels"][0].values())
    for tensor in set(past["tensors"]) - {"output"}:
        assert past["tensors"][tensor]["read_bytes"] == through["tensors"][tensor]["read_bytes"]
    if not past["workspace_bytes"]:
        assert past["traffic_ratio"] == 1


def test_stores_of_parts_of_lines_far_apart_cost_a_write_each():
    """Vectors of 32 bytes, blocks of 8 channels: half a line a store, the other half one row of output pixels or more later."""
    machine = ZEN4._replace(vector_bytes=32, registers=16, levels=(Level("L1", 1 << 20, 16, 64),))
    from refconv.static import Static
    from refconv.tiling.layers import DenseTiling
    from refconv.tiling.shapes import Tile

    layer = accounts.simulate(
        "conv2d", "mb1ic16ih20oc16kh3ph1", machine, DenseTiling(Tile(Static(4), Static(1), Static(1)), 20, 16), stores="nontemporal"
    )
    assert layer["tensors"]["output"]["write_bytes"] == 2 * layer["tensors"]["output"]["bytes"]


def test_a_block_s_two_runs():
    past, through = (accounts.simulate_block("ffn", 1, 12, 12, "zen4", stores=stores) for stores in ("nontemporal", "temporal"))
    for one, other in ((past, through), (past["unfused"], through["unfused"])):
        assert (one["stores"], other["stores"]) == ("nontemporal", "temporal")
        assert one["tensors"]["output"]["read_bytes"] == 0
        assert one["tensors"]["output"]["write_bytes"] == other["tensors"]["output"]["write_bytes"]
        assert one["dram"]["read_bytes"] == other["dram"]["read_bytes"] - other["tensors"]["output"]["read_bytes"]


def test_command_line():
    status, out, err = run("--layer", "mb1ic64ih14oc64kh3ph1", "--machine", "zen4", "--stores", "nontemporal")
    assert (status, err) == (0, "")
    assert "output as if stored past the caches (non-temporal)" in out
    status, out, err = run("--layer", "mb1ic64ih14oc64kh3ph1", "--stores", "streaming")
    assert status == 2
    assert "argument --stores: invalid choice: 'streaming'" in err
    with pytest.raises(ValueError, match="stores = 'streaming': must be temporal or nontemporal"):
        accounts.simulate(None, "mb1ic64ih14oc64kh3ph1", "zen4", stores="streaming")
