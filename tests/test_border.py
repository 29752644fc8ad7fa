"""The border's one rule: zeros of the padding are multiplied, whatever kernel a number of groups leads to, alone and inside a block."""

import numpy as np
import pytest
from block_problems import BLOCKS, STRIDED, build, gates

import refconv

SPECIAL = (np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("groups", [1, 2, 4, 8, 16, 32, 64])
def test_a_weight_that_is_not_finite_makes_nan_over_the_padding_with_any_number_of_groups(groups, value):
    rng = np.random.default_rng(groups)
    x = rng.integers(1, 4, (2, 64, 5, 6)).astype(np.float32)
    weight = rng.integers(-3, 4, (64, 64 // groups, 3, 3)).astype(np.float32)
    weight[5, 0, 0, 1] = weight[40, -1, 2, 2] = value
    with np.errstate(invalid="ignore"):
        expected = refconv.reference.conv2d(x, weight, padding=(1, 1, 1, 1), groups=groups)
    for layout, image in (("NCHW", x), ("NHWC", x.transpose(0, 2, 3, 1))):
        result = refconv.conv2d(image, weight, padding=1, groups=groups, layout=layout, threads=1)
        np.testing.assert_array_equal(result if layout == "NCHW" else result.transpose(0, 3, 1, 2), expected)
    assert np.isnan(expected[:, 5, 0]).all()
    assert np.isfinite(expected[:, 6]).all()


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (2, 0, 1, 3), (0, 3, 0, 0)])
@pytest.mark.parametrize("groups", [1, 8, 16])
def test_strides_dilations_and_unequal_sides(groups, pads):
    rng = np.random.default_rng(1)
    x, weight = (rng.integers(1, 4, shape).astype(np.float32) for shape in ((1, 16, 9, 8), (16, 16 // groups, 3, 2)))
    weight[3, 0, 2, 0] = np.inf
    options = {"stride": (2, 1), "padding": pads, "dilation": (1, 2), "groups": groups}  # on one thread: the loop over threads is compiled besides
    with np.errstate(invalid="ignore"):
        expected = refconv.reference.conv2d(x, weight, **options)
    np.testing.assert_array_equal(refconv.conv2d(x, weight, **options, threads=1), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_keep_the_rule(kind, stride):
    if stride == 2 and kind not in STRIDED:
        pytest.skip("of stride 1 only")
    changed = ({"stride": stride} if kind in STRIDED else {}) | gates(kind)
    rng = np.random.default_rng(2)
    record = build(kind, array=lambda *shape: rng.standard_normal(shape).astype(np.float32), activation="relu", **changed)
    if not hasattr(record, "conv_weight"):
        pytest.skip("no spatial convolution")
    record.conv_weight[1, 0, 0, 1] = np.inf
    x = rng.standard_normal((2, record.c, 6, 7)).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = refconv.unfused_block(x, record, threads=1)
        result = refconv.fused_block(x, record, threads=1)
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
