"""Networks as data: parameters and MACs are those published, graphs and blocks hold together."""

import numpy as np
import pytest

from refconv.networks import names, network
from refconv.problem.steps import CONVOLUTIONS, INPUT

PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenetv2": 3_504_872,
    "mobilenetv3_small": 2_542_856,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnetv2_s": 21_458_488,
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
}
"""As torchvision's documentation has them, to the last digit."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_to_the_last_digit(name):
    assert network(name).parameters == PARAMETERS[name]


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
