"""Traffic of real layers: closed forms where a layer fits, conservation between levels, what is refused."""

import accounts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import conv_problems, few_shapes

from refconv import Conv2d, PartialConv2d
from refconv.networks.layers import PRESETS
from sim.machine.record import Level, load_machine, make_level

ZEN4 = load_machine("zen4")


def aligned(elements, itemsize=4, line=64):
    """Bytes of the lines of a buffer that starts on a line."""
    return -(-elements * itemsize // line) * line


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_layer_that_fits_moves_each_byte_once(name, dtype):
    """Last level larger than everything: input and weight read once, output filled by write-allocate and written once, exactly."""
    problem = PRESETS[name].problem
    layer = accounts.simulate(None, problem, "skylake-sp", dtype=dtype)
    itemsize = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}[dtype]
    sizes = {key: aligned(count, itemsize) for key, count in problem.tensors.items()}
    assert layer["tensors"]["input"]["read_bytes"] == sizes["input"]
    assert layer["tensors"]["input"]["write_bytes"] == 0
    lanes, k = 64 // max(4, itemsize), problem.weight_shape[0]
    assert layer["tensors"]["weight"]["read_bytes"] == aligned(problem.tensors["weight"] // k * (-(-k // lanes) * lanes), itemsize)  # whole vectors
    assert layer["tensors"]["weight"]["write_bytes"] == 0
    assert layer["tensors"]["output"]["read_bytes"] == layer["tensors"]["output"]["write_bytes"] == sizes["output"]
    assert layer["compulsory_bytes"] == sum(problem.tensors.values()) * itemsize


@pytest.mark.parametrize("name", PRESETS)
def test_a_residual_is_read_once_and_must_be(name):
    problem = PRESETS[name].problem
    plain, summed = (accounts.simulate(None, problem, "skylake-sp", residual=residual) for residual in (False, True))
    size = problem.tensors["output"] * 4
    assert summed["tensors"]["residual"]["read_bytes"] == aligned(size // 4)
    assert summed["tensors"]["residual"]["write_bytes"] == 0
    assert summed["compulsory_bytes"] == plain["compulsory_bytes"] + size
    assert summed["bound_bytes"] == plain["bound_bytes"] + size
    assert summed["dram"]["read_bytes"] == plain["dram"]["read_bytes"] + aligned(size // 4)
    assert summed["levels"][0]["stores"] == plain["levels"][0]["stores"]


@settings(max_examples=60)
@given(conv_problems(), st.booleans(), st.booleans(), st.sampled_from([(2, 2), (4, 2), (3, 5)]))
def test_counts_are_conserved(problem, bias, residual, geometry):
    """What one level asks for is what the next receives; tensors add up to levels; traffic is at least what has to move."""
    machine = ZEN4._replace(levels=(make_level("L1", geometry[0] * geometry[1] * 64, geometry[1], 64), make_level("L2", 16 * 64 * 4, 4, 64)))
    with few_shapes("float32", traced=True):
        layer = accounts.simulate(None, problem, machine, bias=bias, residual=residual)
    upper, lower = layer["levels"]
    assert lower["loads"] == upper["load_misses"] + upper["store_misses"]
    assert lower["stores"] == upper["writebacks"]
    assert layer["dram"]["read_bytes"] == 64 * lower["load_misses"]
    assert layer["dram"]["write_bytes"] - layer["flushed_bytes"] == 64 * lower["writebacks"]
    assert layer["flushed_bytes"] == 64 * (upper["flushed"] + lower["flushed"])
    for side in ("read_bytes", "write_bytes"):
        assert sum(tensor[side] for tensor in layer["tensors"].values()) == layer["dram"][side]
    for i, level in enumerate(layer["levels"]):
        for key in ("loads", "stores", "load_misses", "store_misses", "writebacks", "flushed"):
            assert sum(tensor["levels"][i][key] for tensor in layer["tensors"].values()) == level[key]
    output = layer["tensors"]["output"]
    assert output["write_bytes"] >= output["compulsory_bytes"]
    assert ("residual" in layer["tensors"]) == residual
    for name in ("input", "weight", *("bias",) * bias, *("residual",) * residual):
        tensor = layer["tensors"][name]
        assert tensor["read_bytes"] >= tensor["compulsory_bytes"]
        assert tensor["write_bytes"] == 0
    assert layer["intensity"]["simulated"] <= layer["intensity"]["compulsory"]


@pytest.mark.parametrize("name", ["conv2d", "dwconv"])
def test_fully_associative_lru_traffic_never_grows_with_capacity(name):
    """The stack property, on a small map of the preset's channels."""
    problem = PRESETS[name].problem._replace(h=14, w=14)
    moved = []
    for ways in (16, 64, 256, 1024, 4096):
        layer = accounts.simulate(None, problem, ZEN4._replace(levels=(Level("L1", ways * 64, ways, 64),)), tiling=tiling_for(problem))
        moved.append(layer["levels"][0]["load_misses"] + layer["levels"][0]["store_misses"])
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > moved[-1]


def tiling_for(problem):
    """One tiling for all capacities, so that only the cache changes."""
    layer = accounts.simulate(None, problem, ZEN4)
    from refconv import kernels

    row = kernels.KERNELS[layer["kernel"]]
    return row.tiling(problem, 4, ZEN4.target)


BORDER = ["g64mb1ic64ih1oc64kh7ph3", "g512mb1ic512ih2oc512kh7ph3", "mb1ic16ih1oc16kh3ph1", "g8mb2ic64ih2oc64kh5ph2sh2"]


@pytest.mark.parametrize("descriptor", BORDER)
def test_traffic_is_at_least_compulsory_where_most_of_the_kernel_is_border(descriptor):
    layer = accounts.simulate(None, descriptor, "zen4")
    for tensor in layer["tensors"].values():
        assert tensor["read_bytes"] + tensor["write_bytes"] >= tensor["compulsory_bytes"]


def test_tensors_too_large_for_an_address_are_refused():
    with pytest.raises(ValueError, match="all tensors together have"):
        accounts.simulate(None, "mb1ic1ih1000000iw1000000oc1kh1sh500000", "zen4")


def test_simulate_takes_kernels_tilings_and_text():
    by_rule = accounts.simulate("conv2d", "mb1ic64ih14oc64kh3ph1", "zen4")
    assert by_rule["kernel"] == "conv2d"
    assert by_rule["tiling"]["rows"] == 14
    chosen = tiling_for(Conv2d.parse("mb1ic64ih14oc64kh3ph1"))
    chosen = chosen._replace(tile=chosen.tile._replace(rows=7))
    slower = accounts.simulate("conv2d", "mb1ic64ih14oc64kh3ph1", "zen4", chosen)
    assert slower["tiling"]["rows"] == 7
    assert slower["levels"][0]["loads"] > by_rule["levels"][0]["loads"]
    dense = accounts.simulate("conv2d", "g32mb1ic32ih14oc32kh3ph1", "zen4")
    assert dense["levels"][0]["loads"] > 5 * accounts.simulate("depthwise", "g32mb1ic32ih14oc32kh3ph1", "zen4")["levels"][0]["loads"]
    narrow = accounts.simulate(None, "g32mb1ic32ih14oc32kh3ph1", "cortex-a72")
    assert narrow["levels"][0]["loads"] > accounts.simulate(None, "g32mb1ic32ih14oc32kh3ph1", "zen4")["levels"][0]["loads"]
    for arguments, text in (
        (("winograd", "mb1ic64ih14oc64kh3ph1", "zen4"), "kernel 'winograd': must be"),
        (("depthwise", "mb1ic64ih14oc64kh3ph1", "zen4"), "needs as many groups"),
        (("partial", "mb1ic64ih14oc64kh3ph1", "zen4"), "needs a PartialConv2d"),
        (("conv2d", "mb1ic64ih14oc64kh3ph1", "vax"), "machine 'vax': must be host, a5000, ascend310, cortex-a72, i9-9900x"),
        ((None, PartialConv2d(1, 4, 5, 5, 6, 3, 3), "zen4"), "input channels = 4: must be from 6"),
        ((None, Conv2d(1, 4.0, 5, 5, 6, 3, 3), "zen4"), "input channels = 4.0: must be an integer"),
        ((None, 5, "zen4"), "problem = 5: must be a Conv2d"),
        ((None, "dwconv", 5), "machine 5: must be host"),
    ):
        with pytest.raises(ValueError, match=text):
            accounts.simulate(*arguments)
    with pytest.raises(ValueError, match="dtype = 'int8': must be float32, float64, float16 or bfloat16"):
        accounts.simulate(None, "mb1ic64ih14oc64kh3ph1", "zen4", dtype="int8")
