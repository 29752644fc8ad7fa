"""Networks as data: graphs, blocks and counts hold together. That the counts are those published: tests/test_published.py."""

import numpy as np
import pytest

from refconv import host
from refconv.elements import element
from refconv.networks import names, network
from refconv.problem.blocks import ConvFirstBlock, ConvNeXtBlock, FasterNetBlock, FusedMBConvBlock, MBConvBlock, SeparableBlock
from refconv.problem.steps import CONVOLUTIONS, INPUT
from refconv.schedule import block_schedule


@pytest.mark.parametrize("name", names())
def test_blocks_share_out_the_steps(name):
    """Every step is in one block, in order; a residual block with a record has that record's steps and arrays."""
    known = network(name)
    steps = known.steps()
    assert [step for block in known.blocks for step in block.steps] == list(steps)
    assert len({block.name for block in known.blocks}) == len(known.blocks)
    for block in known.blocks:
        first = steps[block.steps[0]].step
        assert first.sources[0] == INPUT or first.sources[0] in steps
        if block.record is not None:
            n, h, w, c = steps[first.sources[0]].shape
            assert c == block.record.c
            assert [(problem, shape) for _, problem, shape in block.record.sized(n, h, w).values()] == [steps[step][1:] for step in block.steps]


@pytest.mark.parametrize("name", names())
def test_merged_steps_take_every_array_and_tensor_once(name):
    known = network(name)
    merged = known.graph.merged(1, known.size, known.size, 3)
    assert sorted(array for step in merged for array in step.parameters) == sorted(known.graph.parameters)
    stored = [INPUT, *(step.name for step in merged)]
    for i, step in enumerate(merged):
        assert {step.source, *step.besides} <= set(stored[: i + 1]), "what a step reads was stored before"
    assert {tensor for step in merged for tensor in (step.source, *step.besides)} == set(stored[:-1]), "nothing is stored in vain"


@pytest.mark.parametrize("name", names())
def test_arrays_take_no_memory(name):
    """One element each, and the shapes that their steps want: channels in, and out."""
    known = network(name)
    assert all(not any(array.strides) for array in known.graph.parameters.values())
    for sized in known.steps(2, 64).values():
        if sized.step.op in CONVOLUTIONS:
            assert known.graph.array(sized.step, "weight").size == np.prod(sized.problem.weight_shape)
    *_, last = known.steps(2, 64).values()
    assert last.shape == (2, 1, 1, 1000)


def test_a_name_that_is_none_lists_the_near_ones_first():
    with pytest.raises(ValueError, match=r"network 'isynet_n4': must be one of refconv.networks.names\(\), such as isynet_n\d, "):
        network("isynet_n4")
    for wrong in (None, 3, ("resnet18",), "RESNET18"):
        with pytest.raises(ValueError, match=r"must be one of refconv.networks.names\(\), such as .*resnet"):
            network(wrong)
    assert len(set(names())) == len(names()) == 41
    assert network("resnet18") is network("resnet18")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 0}, "n = 0: must be an integer of 1 or more"),
        ({"n": 1.5}, "n = 1.5: must be an integer"),
        ({"n": True}, "n = True: must be an integer"),
        ({"size": "224"}, "size = '224': must be an integer"),
        ({"size": -1}, "size = -1: must be an integer"),
        ({"size": 1 << 20}, "not legal for resnet18: input has 3298534883328 elements: must be below"),
    ],
)
def test_sizes_that_are_not_legal(arguments, said):
    with pytest.raises(ValueError, match=said):
        network("resnet18").steps(**arguments)


@pytest.mark.parametrize("name", names())
def test_images_and_pixels(name):
    """n images are n times one in MACs and in every shape; another size changes no channels."""
    known = network(name)
    one, three = known.steps(1, 96), known.steps(3, 96)
    assert [sized.shape for sized in three.values()] == [(3, *sized.shape[1:]) for sized in one.values()]
    assert [sized.shape[3] for sized in one.values()] == [sized.shape[3] for sized in known.steps().values()]
    macs = [sum(sized.problem.macs for sized in steps.values() if sized.step.op in CONVOLUTIONS) for steps in (one, three)]
    assert macs == [known.macs(96), 3 * known.macs(96)]
    assert known.macs() == known.macs(known.size)


@pytest.mark.parametrize("name", names())
def test_parameters_are_the_arrays_and_what_batch_norms_have_besides(name):
    """A folded batch norm is a bias; in training it has a scale besides, one a channel. None of these networks has a bias before a batch norm."""
    known = network(name)
    steps = known.steps()
    arrays = sum(array.size for array in known.graph.parameters.values())
    assert known.parameters == arrays + sum(steps[name].shape[3] for name in known.batch_norms)
    assert sum(block.parameters for block in known.blocks) == known.parameters


KINDS = {
    "resnet50": (),
    "regnety_008": (),
    "mobilenetv2": (SeparableBlock, MBConvBlock),
    "efficientnetv2_s": (FusedMBConvBlock, MBConvBlock),
    "convnext_tiny": (ConvNeXtBlock,),
    "fasternet_s": (FasterNetBlock,),
    "isynet_n3": (),
    "convfirstnet_tiny": (ConvFirstBlock,),
}


@pytest.mark.parametrize("name", KINDS)
def test_blocks_that_a_fused_kernel_runs(name):
    """They have a record, which the fused kernel's schedule takes as it is; others are convolutions, pools and blocks without a kernel here."""
    known = network(name)
    steps = known.steps()
    assert {type(block.record) for block in known.blocks} == {*KINDS[name], type(None)}
    for block in known.blocks:
        if block.record is not None:
            n, h, w, c = steps[steps[block.steps[0]].step.sources[0]].shape
            tensors = block_schedule(block.record, n, h, w, element("float32"), host.target()).tensors
            assert (tensors["input"], tensors["output"]) == (n * h * w * c, steps[block.steps[-1]].elements)


def test_the_steps_of_a_block_are_a_chain_with_one_input():
    """What a block takes is made by blocks before it, one tensor of them: a kernel of the block has one input."""
    for name in names():
        known = network(name)
        steps = known.steps()
        for block in known.blocks:
            outside = {source for inner in block.steps for source in steps[inner].step.sources} - set(block.steps)
            assert len(outside) == 1, (name, block.name)
