"""Fused kernels on three machines: compiled, plain Python on recorded arrays, traced."""

import functools

import numpy as np
import pytest
from block_problems import build, squeeze_excite
from machines import check_three_machines_on_block
from problems import integers

from refconv.problem.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    ConvNeXtV2Block,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
)

TINY = {
    "ffn": (FFNBlock, np.float16, (5, 3, 7), {"c": 5, "hidden": 20, "residual": False}),
    "conv_first": (ConvFirstBlock, np.float32, (1, 3, 4), {"c": 8, "k": 5, "hidden": 18}),
    "conv_first_down": (ConvFirstBlock, np.float32, (2, 5, 4), {"c": 6, "k": 5, "hidden": 18, "stride": 2}),
    "convnext": (ConvNeXtBlock, np.float32, (1, 3, 4), {"c": 6, "hidden": 17}),
    "fasternet": (FasterNetBlock, np.float32, (1, 3, 5), {"c": 9, "hidden": 18, "g": 2}),
    "mbconv": (MBConvBlock, np.float32, (1, 4, 3), {"c": 5, "k": 5, "hidden": 18, "g": 1}),
    "separable": (
        SeparableBlock,
        np.float32,
        (1, 5, 3),
        {"c": 18, "k": 5, "g": 1, "stride": (2, 1), "pads": (0, 1, 1, 0), "project_activation": "relu"},
    ),
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


def test_three_machines_agree_on_responses():
    """In every one of its passes; two images, whose norms differ."""
    rng = np.random.default_rng(0)
    array = lambda *shape: integers(rng, shape, np.float32)
    record = build(ConvNeXtV2Block, 6, 6, 17, array=array, maybe=array, activation="relu")
    x = integers(rng, (2, 3, 4, 6), np.float32)
    assert check_three_machines_on_block(record, x, CLOSE) == ["conv_first_hidden", "response", "gated"]
