"""A block's layers one after another on one hierarchy: what each reads and writes, and what lies between them."""

import pytest
from block_problems import BLOCKS, STRIDED, build, squeeze_excite

from refconv.elements import element
from refconv.problem.blocks import ConvFirstBlock, ConvNeXtBlock, FFNBlock, FusedMBConvBlock, MBConvBlock
from sim.account.layer_by_layer import hidden_tensors, laid_out, links, unfused
from sim.machine.record import load_machine, make_level

ZEN4 = load_machine("zen4")
FLOAT = element("float32")


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
