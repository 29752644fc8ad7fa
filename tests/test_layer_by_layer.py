"""The layers of a block one after another: the passes of `unfused_block`, what each moves, bounds that hold; blocks moved by every mode."""

import itertools

import numpy as np
import pytest
from accounts import unfused
from block_problems import BLOCKS, MORE_SHAPES, STRIDED, build, gates, squeeze_excite

import refconv
import sim
from refconv.elements import element
from refconv.networks.blocks import BLOCK_PRESETS
from refconv.problem.blocks import ConvFirstBlock, ConvNeXtBlock, FFNBlock, FusedMBConvBlock, MBConvBlock
from refconv.problem.steps import CONVOLUTIONS, Graph
from refconv.schedule import MODES, has_choice
from sim.account.layer_by_layer import STREAM, hidden_tensors, laid_out, tensors_of
from sim.machine.record import load_machine, make_level
from sim.trace.nontemporal import STORES

ZEN4, FLOAT = load_machine("zen4"), element("float32")
SMALL_CACHES = ZEN4._replace(levels=(make_level("L1", "32KiB", 8, 64), make_level("L2", "1MiB", 16, 64)))


def small_unfused(kind, n=2, h=6, w=5, machine=ZEN4, dtype=FLOAT, **changed):
    """(record, its layer-by-layer run) of a small block."""
    record = build(kind, **changed)
    return record, unfused(record, n, h, w, machine, dtype)


@pytest.mark.parametrize("alpha", [2, 4])
def test_the_hidden_layers_share_of_an_ffn_layer_by_layer(alpha):
    """For a last level that holds no tensor. Lavin, Sec. 5.2: alpha / (alpha + 1), where a tensor is written and read once.

    The activation, a pass of its own, writes and reads the hidden layer again; write-allocate fills what is stored, so that each tensor but the
    input moves three times, exactly.
    """
    tiny = ZEN4._replace(levels=(make_level("L1", "32KiB", 8, 64), make_level("L2", "128KiB", 16, 64)))
    _, layers = small_unfused(FFNBlock, 1, 28, 28, tiny, c=32, hidden=32 * alpha, residual=False)
    assert layers["hidden_share"] == pytest.approx(6 * alpha / (6 * alpha + 3))
    _, added = small_unfused(FFNBlock, 1, 28, 28, tiny, c=32, hidden=32 * alpha)
    assert added["hidden_share"] == pytest.approx(6 * alpha / (6 * alpha + 7))  # the projection is a tensor, and the input read once more


def records():
    """Small blocks of every kind and stride, with squeeze-excitation where there may be some."""
    for kind, stride in itertools.product(BLOCKS, (1, 2)):
        if stride == 1 or kind in STRIDED:
            changed = {"stride": stride} if kind in STRIDED else {}
            yield pytest.param(kind, {**changed, **gates(kind)}, id=f"{kind.__name__} {stride}")


@pytest.mark.parametrize(("kind", "changed"), list(records()))
def test_the_passes_are_those_of_unfused_block(kind, changed, monkeypatch):
    """Every step that runs is a pass of the account, in that order, and the pass reads and writes the elements of the arrays that run."""
    record, seen = build(kind, **changed), []
    run = Graph.run

    def watched(graph, x, make):
        def noted(step, tensors):
            out = make(step, tensors)
            seen.append((step.name, [tensor.size for tensor in tensors], out.size))
            return out

        return run(graph, x, noted)

    monkeypatch.setattr(Graph, "run", watched)
    refconv.unfused_block(np.ones((2, record.c, 6, 5), record.dtype), record, threads=1)
    passes, layout = laid_out(record, 2, 6, 5, ZEN4.target, element(record.dtype))
    size = lambda number: layout.buffers[number][1]
    assert [(one.sized.step.name, [size(i) for i in one.sources], size(one.made)) for one in passes] == seen
    parameters = sum(size(i) for one in passes if one.call is None for i in one.parameters)
    folded = {name for one in passes if one.call is None for name in one.sized.step.parameters.values()}
    assert parameters == sum(array.size for name, array in record.arrays.items() if name in folded)
    assert all((one.call is None) == (one.sized.step.op not in (*CONVOLUTIONS, "blur_pool")) for one in passes)


@pytest.mark.parametrize("kind", BLOCKS)
def test_layers_that_fit_are_read_from_memory_once(kind):
    """In a cache larger than all: no layer but the first reads the input, and what lies between layers is filled and flushed, no more."""
    changed = gates(kind)
    record, layers = small_unfused(kind, **changed)
    line = ZEN4.line_bytes
    for name, tensor in layers["tensors"].items():
        if name.endswith("_edge"):  # of rows above and below the map nothing is staged
            assert tensor["read_bytes"] <= -(-tensor["bytes"] // line) * line, name
        elif name not in ("weight", "bias"):
            assert tensor["read_bytes"] == -(-tensor["bytes"] // line) * line, name
    assert layers["tensors"]["input"]["write_bytes"] == 0
    assert set(hidden_tensors(record, 2, 6, 5)) <= set(layers["tensors"])
    assert [layer["kernel"] for layer in layers["layers"] if layer["macs"] == 0] == [STREAM] * sum(1 for x in layers["layers"] if not x["macs"])


def test_tensors_between_layers_by_name():
    record = build(MBConvBlock, se=squeeze_excite())
    names = tensors_of(record, 1, 6, 6)
    assert (names["input"], names["expand"], names["added"]) == ("input", "expand_output", "output")
    hidden = lambda *case, **changed: hidden_tensors(build(*case, **changed), 1, 6, 6)
    assert hidden(FFNBlock) == hidden(ConvNeXtBlock) == hidden(ConvFirstBlock) == ["expand_output", "expand_activation_output"]
    assert hidden(MBConvBlock, se=squeeze_excite()) == [
        *("expand_output", "expand_activation_output", "conv_output", "conv_activation_output", "gated_output"),
    ]
    assert hidden(FusedMBConvBlock) == ["conv_output", "conv_activation_output"]


def modes():
    """Every preset with every mode that it has, and both ways to store; and on caches that hold all of it."""
    for name, preset in BLOCK_PRESETS.items():
        if name in MORE_SHAPES:
            continue
        record = preset.record()
        choices = [MODES[mode][1:] if has_choice(mode, record) else MODES[mode][:1] for mode in MODES]  # the default is one of the others
        for chosen in itertools.product(*choices):
            yield name, dict(zip(MODES, chosen, strict=True)), STORES[0], SMALL_CACHES
        yield name, {}, STORES[1], SMALL_CACHES
        yield name, {}, STORES[0], ZEN4


@pytest.mark.parametrize(("name", "chosen", "stores", "machine"), list(modes()))
def test_no_traffic_is_below_its_bound(name, chosen, stores, machine):
    """Of the fused kernel, of the layers together, and of each pass between others, whose tensors the caches may hold."""
    block = sim.simulate_block(name, machine=machine, stores=stores, **chosen)
    for account in (*block.runs, *block.layer_by_layer.layers):
        assert account.moved_bytes >= account.bound_bytes, account.name
    for name, tensor in block.tensors.items():
        assert tensor.moved_bytes >= tensor.compulsory_bytes, name
    first, *_, last = block.layer_by_layer.layers
    assert first.bound_bytes > 0 and last.bound_bytes >= block.tensors["output"].compulsory_bytes
