"""The schedule: what calls share, what is packed, modes that do not depend on the host, and the calls that are really made."""

import itertools

import numpy as np
import pytest
from block_problems import BLOCKS, STRIDED, build, gates, normal, squeeze_excite
from test_fused import one_pixel_tiles

import refconv
from refconv import host
from refconv.elements import ELEMENTS, element
from refconv.networks.layers import PRESETS
from refconv.plan import Arena, make_plan
from refconv.schedule import OPERANDS, block_schedule, layer_schedule, parameters
from refconv.weights.blocks import pack_block, packed_elements
from sim.account.block import run_fused
from sim.machine.record import load_machine
from sim.trace.nontemporal import TEMPORAL

FLOAT = element("float32")
ZEN4 = load_machine("zen4")
TARGET = host.Target(64, 32, 32 << 10, 1 << 20)
GATED = build(refconv.MBConvBlock, 8, 8, 32, 1, se=squeeze_excite(32, 4))


def variants(kind):
    """Records of a kind: strides, with and without biases, and squeeze-excitation."""
    none = lambda *shape: None
    for stride, maybe in itertools.product((1, 2) if kind in STRIDED else (1,), (lambda *shape: np.zeros(shape, np.float32), none)):
        changed = {"stride": stride} if kind in STRIDED else {}
        yield build(kind, 6, 10, 20, maybe=maybe, **changed)
        squeezed = gates(kind, 6, 20, 3, maybe=maybe)
        if squeezed:
            yield build(kind, 6, 10, 20, maybe=maybe, **squeezed, **changed)


@pytest.mark.parametrize("kind", BLOCKS)
def test_sizes_of_packed_weights_are_those_of_the_packed_weights(kind):
    """A norm's bias makes one where the convolution after it has none."""
    for record, lanes in itertools.product(variants(kind), (4, 8, 16)):
        sizes = {name: array.size for name, array in parameters(pack_block(record, lanes)).items()}
        assert parameters(packed_elements(record, lanes)) == sizes
        schedule = block_schedule(record, 2, 6, 5, FLOAT, TARGET._replace(vector_bytes=4 * lanes))
        assert {name: schedule.tensors[name] for name in sizes} == sizes


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_operand_of_a_call_is_a_buffer_of_the_schedule(kind):
    """And what one call takes, another has made, or it is the input or a parameter."""
    for record, squeeze in itertools.product(variants(kind), ("auto", "recompute", "spill")):
        if squeeze != "auto" and getattr(record, "se", None) is None:
            continue
        schedule = block_schedule(record, 2, 6, 5, FLOAT, TARGET, squeeze=squeeze)
        known = {"input", "nothing", *parameters(packed_elements(record, 16))}
        for call in schedule.calls:
            assert {*call.inputs} <= known
            assert {*call.keys} == {*call.inputs, call.out, *call.places} <= set(schedule.buffers)
            assert len(call.inputs) == len(call.kernel.operands._fields)
            known |= {call.out, *call.places}
        assert call.out == "output"
        assert schedule.buffers["output"].elements == np.prod(record.out_shape(2, 6, 5))


@pytest.mark.parametrize("squeeze", ["recompute", "spill"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_calls_share_workspace_in_sim_as_on_arrays(squeeze, dtype, monkeypatch):
    """Buffers of two calls begin at one address in the simulator where they do in an arena, and nowhere else."""
    schedule, traced, arena, arrays = block_schedule(GATED, 2, 6, 5, element(dtype), ZEN4.target, squeeze=squeeze), [], Arena(), []
    monkeypatch.setattr("sim.account.block.call_kernel", lambda run, call, buffers: traced.append([*buffers[len(call.inputs) + 1 :]]))
    buffers, _ = run_fused(schedule, ZEN4, TEMPORAL)
    for _ in range(2):  # at first an arena grows
        arrays = [arena.workspace(str(i), call, np.dtype(np.float32)) for i, call in enumerate(schedule.calls)]
    numbers = [(call, i) for call in range(3) for i in range(len(schedule.calls[call].workspace)) if schedule.calls[call].sizes[i]]
    assert len(numbers) >= 6
    shared = 0
    for (a, i), (b, j) in itertools.combinations(numbers, 2):
        here, there = traced[a][i].address == traced[b][j].address, arrays[a][i].ctypes.data == arrays[b][j].ctypes.data
        assert here == there, (a, i, b, j)
        shared += here
    assert shared > 0
    assert [[buffer.size for buffer in work] for work in traced] == [[buffer.size for buffer in work] for work in arrays]
    counted = sum(buffer.elements for buffer in buffers if buffer.name not in ("weight", "bias", *schedule.tensors))
    assert counted == sum(buffer.size for buffer in arena.buffers.values())


def test_workspace_that_is_shared_is_called_by_all_its_users():
    schedule = block_schedule(GATED, 2, 6, 5, element("float16"), TARGET, squeeze="spill")
    names = {buffer.name for place, buffer in schedule.buffers.items() if isinstance(place, tuple)}
    assert {"ring+gated_sums", "hidden+gated_projection", "squeeze_excite_means", "pooled"} <= names
    schedule = block_schedule(GATED, 2, 6, 5, FLOAT, TARGET, squeeze="spill")
    names = {buffer.name for place, buffer in schedule.buffers.items() if isinstance(place, tuple)}
    assert {"ring", "hidden+gated_projection"} <= names, "no sums of halves, so no user"


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_a_plan_is_the_call_of_the_schedule(name, threads):
    """For the host; `make_plan` adds an entry point and memory, no number."""
    problem = PRESETS[name].problem
    schedule = layer_schedule(problem, FLOAT, host.target()._replace(threads=threads))
    (call,) = schedule.calls
    assert call.threads == min(threads, call.units)
    assert call.kernel.checked(call.tiling, call.tiling, problem, host.target().lanes(4)) == call.tiling
    if threads == 1 and name == "dwconv":
        plan = make_plan(call.kernel.name, problem, np.dtype(np.float32))
        assert plan.call == call
    assert [buffer.name for buffer in schedule.buffers.values()] == [*OPERANDS, *call.workspace._fields]


def test_auto_does_not_depend_on_caches_or_batch_where_rounding_would():
    """Of halves; of floats it does, by what is faster."""
    for dtype, l2, n in itertools.product(ELEMENTS, (1 << 12, 1 << 16, 1 << 22, 1 << 30), (1, 2, 64)):
        mode = block_schedule(GATED, n, 9, 9, element(dtype), TARGET._replace(l2_bytes=l2)).squeeze
        fits = n * 81 * 32 * element(dtype).itemsize <= l2
        assert mode == ("spill" if fits and not element(dtype).half else "recompute")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spilled_and_recomputed_are_the_same_bits(dtype):
    """So "auto" may choose between them by a host's caches and the batch; sums of one thread."""
    rng = np.random.default_rng(0)
    array = lambda *shape: normal(rng, shape).astype(dtype)
    for k, stride, channels in ((6, 1, 18), (5, 2, 40)):
        se = squeeze_excite(channels, 3, array, array)
        record = build(refconv.MBConvBlock, 6, k, channels, 1, array=array, maybe=array, se=se, stride=stride)
        x = array(3, 6, 7, 5)
        for tiling in (one_pixel_tiles(record, 3, 7, 5), one_pixel_tiles(record, 3, 7, 5, max)):
            spilled, made_twice = (refconv.fused_block(x, record, tiling=tiling, squeeze=squeeze, threads=1) for squeeze in ("spill", "recompute"))
            np.testing.assert_array_equal(spilled, made_twice)
            alone = [refconv.fused_block(x[i], record, tiling=one_pixel_tiles(record, 1, 7, 5), threads=1) for i in range(3)]
            np.testing.assert_array_equal(spilled, np.stack(alone))
