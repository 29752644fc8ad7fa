"""Fused blocks against their float64 definitions: any shape on tiles of one pixel, the rule's tiles, halves, threads, halos, errors."""

import itertools
import math

import numpy as np
import pytest
from block_problems import BLOCKS, STRIDED, blocks, build, gates, normal, squeeze_excite
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16

import refconv
from refconv import (
    ConvFirstBlock,
    ConvNeXtBlock,
    ConvNeXtV2Block,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
    host,
    reference,
)
from refconv.elements import element
from refconv.kernels import BLOCK_KERNELS, kernel_for_block
from refconv.plan import make_plan
from refconv.problem.blocks import SqueezeExcite
from refconv.static import Static
from refconv.weights.blocks import block_problem, pack_block


def cast(record, dtype, scale=1.0):
    """The record with its arrays in another type, times a scale."""
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            fields[name] = (value * scale).astype(dtype)
        elif isinstance(value, SqueezeExcite):
            fields[name] = cast(value, dtype, scale)
    return type(record)(**fields)


def filled(record, seed=0):
    """The record with standard normal arrays, matrices scaled so that layers keep the order of magnitude."""
    rng = np.random.default_rng(seed)
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            spread = 1 / np.sqrt(value[0].size) if value.ndim > 1 else 0.5
            fields[name] = (rng.standard_normal(value.shape) * spread).astype(value.dtype)
        elif isinstance(value, SqueezeExcite):
            fields[name] = filled(value, seed + 1)
    return type(record)(**fields)


def close(result, x, record):
    """The result within the rounding of its type of the definition on the very same numbers.

    A float of the hidden layer is a sum of some hundred products; 64 eps of the largest output leaves each an error of a few eps. Halves
    round the result once more, half an eps of its own, and the folded weights and gates that are stored as halves as much again.
    """
    expected = reference.block(np.asarray(x, np.float64), cast(record, np.float64))
    kind = element(x.dtype)
    eps = np.finfo(kind.work).eps * 64 + (2.0 ** -(7 if kind.name == "bfloat16" else 10) * 2 if kind.half else 0)
    assert result.dtype == x.dtype
    assert np.abs(np.asarray(result, np.float64) - expected).max() <= eps * max(1.0, np.abs(expected).max())


def one_pixel_tiles(record, n, h, w, pick=min):
    """A tiling of 1 x 1 register tiles, whose compiled code any shape shares, with blocks of any size: pick(least, most)."""
    row, lanes = kernel_for_block(record), host.target().lanes(element(record.dtype).work.itemsize)
    problem = block_problem(record, n, h, w, lanes)
    rule = row.tiling(problem, element(record.dtype).work.itemsize, host.target())
    shapes = {name: shape for name, shape in rule._asdict().items() if isinstance(shape, tuple)}
    shapes = {name: shape._replace(**dict.fromkeys(shape._fields[:3], Static(1))) for name, shape in shapes.items()}
    sizes = {"pixels": pick(1, n * h * w), "lines": pick(1, problem.p), "step": pick(1, problem.p), "hidden": pick(1, 3) * lanes}
    return rule._replace(**shapes, **{name: size for name, size in sizes.items() if name in rule._fields})


ACTIVATION = "silu"
"""Of every block on 1 x 1 register tiles, so that the tests share compiled code."""
CONV_FIRST = (ConvFirstBlock, (1,)), (ConvFirstBlock, (2,))
"""Two kernels."""


@pytest.mark.parametrize(("kind", "strides"), [*((kind, (1, 1, 2)) for kind in BLOCKS if kind is not ConvFirstBlock), *CONV_FIRST])
def test_any_shape_in_blocks_of_any_size(kind, strides):
    """Channels, expansion, group width, kernel, stride, biases, residual, map, batch; one thread; 1 x 1 register tiles.

    One activation, of which code is compiled anew: each is tested by itself, and `test_the_rules_tiles` has those of the blocks.
    """

    @settings(max_examples=30)
    @given(blocks(kind, normal, (ACTIVATION,), strides), st.data())
    def check(drawn, data):
        record, x = cast(drawn[0], np.float32, 0.5), drawn[1].astype(np.float32)
        n, _, h, w = x.shape
        tiling = one_pixel_tiles(record, n, h, w, lambda least, most: data.draw(st.integers(least, most)))
        close(refconv.fused_block(x, record, tiling=tiling, threads=1), x, record)

    check()


CASES = {
    "ffn": (FFNBlock, {"c": 40, "hidden": 100}, (2, 5, 9)),
    "convfirst": (ConvFirstBlock, {"c": 32, "k": 48, "hidden": 80, "g": 8}, (1, 9, 15)),
    "convfirst down": (ConvFirstBlock, {"c": 24, "k": 20, "hidden": 80, "g": 8, "stride": 2}, (2, 9, 14)),
    "convnext": (ConvNeXtBlock, {"c": 24, "hidden": 96, "kernel": (7, 7)}, (2, 7, 7)),
    "convnextv2": (ConvNeXtV2Block, {"c": 24, "hidden": 96, "kernel": (7, 7)}, (2, 7, 7)),
    "fasternet": (FasterNetBlock, {"c": 40, "hidden": 80, "g": 10, "project_bias": None}, (1, 10, 10)),
    "fusedmbconv": (FusedMBConvBlock, {"c": 20, "k": 36, "hidden": 80, "stride": 2}, (2, 11, 9)),
    "mbconv": (MBConvBlock, {"c": 24, "k": 24, "hidden": 72, "g": 1, "kernel": (5, 5), "se": squeeze_excite(72, 6)}, (2, 14, 14)),
    "separable": (SeparableBlock, {"c": 24, "k": 24, "g": 1, "kernel": (5, 5), "se": squeeze_excite(24, 6), "activation": "silu"}, (2, 14, 14)),
    "separable down": (SeparableBlock, {"c": 40, "k": 20, "g": 1, "stride": 2, "project_activation": "relu"}, (2, 9, 10)),
    "grouped mbconv": (MBConvBlock, {"c": 16, "k": 24, "hidden": 64, "g": 8, "stride": 2, "se": squeeze_excite(64, 20)}, (1, 9, 10)),
}


@pytest.mark.parametrize(("vector_bytes", "registers"), [(64, 32), (32, 16), (16, 16), (16, 32)])
@pytest.mark.parametrize("name", CASES)
def test_rules_are_legal_on_any_target(name, vector_bytes, registers):
    """Caches of 1 KiB to 1 MiB, threads; a tile may have more rows than a unit has pixels, but not more than are ever compiled."""
    kind, sizes, shape = CASES[name]
    record, lanes = build(kind, **sizes), vector_bytes // 4
    row, problem = kernel_for_block(record), block_problem(record, *shape, lanes)
    for l1, l2, threads in itertools.product((1 << 10, 1 << 15), (1 << 10, 1 << 12, 1 << 14, 1 << 20), (1, 2, 7)):
        rule = row.tiling(problem, 4, host.Target(vector_bytes, registers, l1, l2, threads))
        assert row.checked(rule, rule, problem, lanes) == rule
        if hasattr(rule, "pixels"):
            assert max(rule.expand.rows, rule.project.rows) <= rule.pixels <= math.prod(shape)
            assert row.checked(rule._replace(pixels=1), rule, problem, lanes).pixels == 1
            with pytest.raises(ValueError, match=r"expand\.rows = 29: must be from 1 to 28"):
                row.checked(rule._replace(pixels=1, expand=rule.expand._replace(rows=29)), rule, problem, lanes)


def random_input(record, n, h, w, dtype):
    return np.random.default_rng(1).standard_normal((n, record.c, h, w)).astype(dtype)


@pytest.mark.parametrize(
    ("name", "dtype"), [*[(name, np.float32) for name in CASES], *[(name, np.float16) for name in ("convfirst", "fasternet", "grouped mbconv")]]
)
def test_the_rules_tiles(name, dtype):
    """Halves for the convolutions, dense and grouped, that `test_every_fused_kernel_in_every_element_type` does not have."""
    kind, sizes, shape = CASES[name]
    record = cast(filled(build(kind, **sizes)), dtype)
    x = random_input(record, *shape, dtype)
    close(refconv.fused_block(x, record, threads=1), x, record)
    close(refconv.unfused_block(x, record, threads=1), x, record) if dtype is np.float32 else None


TINY = {
    "ffn": (FFNBlock, {"c": 20, "hidden": 50}),
    "conv_first": (ConvNeXtBlock, {"c": 20, "hidden": 50}),
    "conv_first_hidden": (ConvNeXtV2Block, {"c": 20, "hidden": 50}),
    "conv_first_down": (ConvFirstBlock, {"c": 12, "k": 20, "hidden": 50, "g": 4, "stride": 2}),
    "fused_mbconv": (FusedMBConvBlock, {"c": 6, "k": 20, "hidden": 50, "stride": 2, "se": squeeze_excite(50, 3)}),
    "mbconv": (MBConvBlock, {"c": 6, "k": 20, "hidden": 50, "g": 1, "se": squeeze_excite(50, 3)}),
    "separable": (SeparableBlock, {"c": 20, "k": 20, "g": 1, "se": squeeze_excite(20, 3)}),
}
"""A block for each fused kernel that runs a record; squeeze-excitation runs the others."""


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16])
@pytest.mark.parametrize("name", TINY)
def test_every_fused_kernel_in_every_element_type(name, dtype):
    """On 1 x 1 register tiles, whose code the tests of any shape share: what differs between types, and targets, is in the instructions."""
    kind, sizes = TINY[name]
    record = cast(filled(build(kind, activation=ACTIVATION, **sizes)), dtype)
    assert kernel_for_block(record).name == name
    x, tiling = random_input(record, 2, 5, 4, dtype), one_pixel_tiles(record, 2, 5, 4)
    for squeeze in ("recompute", "spill") if "se" in sizes else ("auto",):
        close(refconv.fused_block(x, record, tiling=tiling, squeeze=squeeze, threads=1), x, record)


def test_every_fused_kernel_is_among_these():
    assert {name for name, row in BLOCK_KERNELS.items() if row.records} == set(TINY)


@pytest.mark.parametrize("name", CASES)
def test_threads_layout_and_halo_do_not_change_the_result(name):
    """Bit for bit; of squeeze-excitation and responses the pooled sums begin anew in every thread, so there up to their rounding.

    Several threads on 1 x 1 register tiles, and one on the rule's: the loop over threads is the same around any tile, and so are the sums.
    """
    kind, sizes, (n, h, w) = CASES[name]
    record = filled(build(kind, **sizes))
    x = np.random.default_rng(2).standard_normal((n, record.c, h, w)).astype(np.float32)
    expected = refconv.fused_block(x, record, threads=1)
    same = np.testing.assert_array_equal
    pooled = getattr(record, "se", None) is not None or kind is ConvNeXtV2Block
    agree = same if not pooled else lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    small = one_pixel_tiles(record, n, h, w, lambda least, most: (least + most) // 2)
    agree(refconv.fused_block(x, record, tiling=small, threads=2), expected)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    same(refconv.fused_block(last, record, layout="NHWC", threads=1).transpose(0, 3, 1, 2), expected)
    out = np.empty_like(expected)
    assert refconv.fused_block(x, record, out=out, threads=1) is out
    same(out, expected)
    same(refconv.fused_block(x[0], record, threads=1), refconv.fused_block(x[:1], record, threads=1)[0])
    if kernel_for_block(record).halo:
        agree(refconv.fused_block(x, record, halo="recompute", threads=1), expected)
        agree(refconv.fused_block(x, record, halo="cache", threads=1), expected)
    if getattr(record, "se", None) is not None:
        recomputed = refconv.fused_block(x, record, squeeze="recompute", threads=1)
        close(recomputed, x, record)
        agree(refconv.fused_block(x, record, tiling=small, squeeze="spill", threads=2), recomputed)


@pytest.mark.parametrize("name", ["convfirst down", "grouped mbconv"])
def test_rows_kept_or_made_anew_are_the_same_bits(name):
    """Units of any number of output rows in steps of any, of a map with odd rows; the pooled sums of squeeze-excitation left out."""
    kind, sizes, (_, h, w) = CASES[name]
    record = filled(build(kind, **{**sizes, "se": None} if "se" in sizes else sizes))
    x = np.random.default_rng(4).standard_normal((2, record.c, h, w)).astype(np.float32)
    expected = refconv.fused_block(x, record, threads=1)
    rule = one_pixel_tiles(record, 2, h, w, lambda least, most: 1)
    rows = -(-h // 2)
    for lines in range(1, rows + 1):
        for step in range(1, rows + 1):
            np.testing.assert_array_equal(refconv.fused_block(x, record, tiling=rule._replace(lines=lines, step=step), threads=1), expected)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][1].get("se") is None])
def test_nan_reaches_only_where_a_window_sees_it(name):
    """One NaN pixel: NaN just where the definition says, in the ring and staged lines of other rows too."""
    kind, sizes, (n, h, w) = CASES[name]
    record = filled(build(kind, **sizes))
    x = np.random.default_rng(3).standard_normal((n, record.c, h, w)).astype(np.float32)
    x[0, :, h // 2, w // 2] = np.nan
    expected = reference.block(x, record)
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(np.isnan(refconv.fused_block(x, record, threads=1)), np.isnan(expected))


@pytest.mark.parametrize("name", CASES)
def test_workspace_is_declared_and_does_not_grow_with_the_map(name):
    """Beyond line buffers: four times the rows of a map that is already cut into blocks need no more."""
    kind, sizes, (_, _, w) = CASES[name]
    record = filled(build(kind, **sizes))
    lanes = host.target().lanes(4)
    row = kernel_for_block(record)
    rule = row.tiling(block_problem(record, 1, 64, w, lanes), 4, host.target())
    small, large = (row.workspace(block_problem(record, 1, h, w, lanes), rule, lanes, False) for h in (64, 256))
    assert small == large
    assert sum(small) > 0


def test_halo_recomputed_is_priced():
    record = filled(build(MBConvBlock, c=24, k=24, hidden=72, g=1))
    problem = block_problem(record, 1, 14, 14, host.target().lanes(4))
    row = BLOCK_KERNELS["mbconv"]
    rule = row.tiling(problem, 4, host.target())
    one_unit, single = rule._replace(lines=14), rule._replace(lines=1, step=1)
    assert row.recomputed_macs(problem, one_unit) == 0
    assert row.recomputed_macs(problem, single) == (14 * 3 - 2 - 14) * 14 * 24 * 72  # 3 rows under each of 14, less the two outside
    assert BLOCK_KERNELS["ffn"].recomputed_macs is None
    assert not BLOCK_KERNELS["separable"].halo
    down, row = build(ConvFirstBlock, 16, 24, 64, 8, stride=2), BLOCK_KERNELS["conv_first_down"]
    problem = block_problem(down, 3, 15, 14, host.target().lanes(4))
    rule = row.tiling(problem, 4, host.target())
    assert row.recomputed_macs(problem, rule._replace(lines=8)) == 0
    for lines, units in ((1, 8), (3, 3), (7, 2)):
        made_anew = row.recomputed_macs(problem, rule._replace(lines=lines))
        assert made_anew == 3 * (units - 1) * 14 * 16 * 8 * 9  # a row of the convolution where two units of an image meet


def test_packing_is_done_once_and_kept_as_long_as_the_record():
    record = filled(build(ConvNeXtBlock, 24, hidden=48, kernel=(7, 7)))
    lanes = host.target().lanes(4)
    assert pack_block(record, lanes) is pack_block(record, lanes)


X = np.zeros((1, 16, 6, 6), np.float32)
FFN = build(FFNBlock, 16, hidden=32, activation=ACTIVATION)
FFN_TILING = one_pixel_tiles(FFN, 1, 6, 6)
DOWN = build(ConvFirstBlock, 16, 16, 32, host.target().lanes(4) // 2, stride=2)
"""Groups of which two share a vector: of kind 1 on any target."""
DOWN_TILING = BLOCK_KERNELS["conv_first_down"].tiling(block_problem(DOWN, 1, 6, 6, host.target().lanes(4)), 4, host.target())
ERRORS = [
    (lambda: refconv.fused_block(X, None), TypeError, "weights of type NoneType: must be one of FFNBlock"),
    (lambda: refconv.fused_block(X.astype(np.float64), FFN), TypeError, "x of dtype float64: must be float32 as the record"),
    (lambda: refconv.fused_block(X[:, :8], FFN), ValueError, "x of 8 channels: must have 16, those of the record"),
    (lambda: refconv.unfused_block(X[:, :8], FFN), ValueError, "x of 8 channels: must have 16"),
    (lambda: refconv.fused_block(X[0, 0], FFN), ValueError, "x of shape .* must have 4 axes"),
    (lambda: refconv.fused_block(X, FFN, halo="keep"), ValueError, "halo = 'keep': must be one of auto, recompute, cache"),
    (
        lambda: refconv.fused_block(X, FFN, halo="cache"),
        ValueError,
        "halo = 'cache' for a FFNBlock without computed rows that steps share: must be 'auto'",
    ),
    (lambda: refconv.fused_block(X, FFN, squeeze="spill"), ValueError, "squeeze = 'spill' for a FFNBlock without squeeze-excitation"),
    (lambda: refconv.fused_block(X, FFN, squeeze="no"), ValueError, "squeeze = 'no': must be one of auto, recompute, spill"),
    (lambda: refconv.fused_block(X, FFN, layout="CHWN"), ValueError, "layout = 'CHWN'"),
    (lambda: refconv.fused_block(X, FFN, threads=0), ValueError, "threads = 0"),
    (lambda: refconv.fused_block(X[:0, :8], FFN), ValueError, "x of 8 channels: must have 16"),
    (lambda: refconv.prepare(refconv.fused_block, X[:0], FFN), ValueError, "x of shape .* must have an image or more to prepare for"),
    (lambda: refconv.fused_block(X, FFN, out=X, tiling=FFN_TILING, threads=1), ValueError, "out overlaps x"),
    (lambda: refconv.fused_block(X, FFN, tiling=(1, 2)), TypeError, "must be a FeedForwardTiling"),
    (
        lambda: refconv.fused_block(X, build(ConvFirstBlock, 16, hidden=32), halo="cache"),
        ValueError,
        "halo = 'cache' for a ConvFirstBlock without computed rows",
    ),
    (lambda: refconv.fused_block(X[:, :, :1], DOWN), ValueError, "height = 1: must be 2 or more where a map is reflected by 1"),
    (lambda: refconv.fused_block(X[..., :1], DOWN), ValueError, "width = 1: must be 2 or more where a map is reflected by 1"),
    (lambda: refconv.fused_block(X, DOWN, tiling=DOWN_TILING._replace(lines=4)), ValueError, "tiling.lines = 4: must be from 1 to 3"),
    (lambda: refconv.fused_block(X, DOWN, tiling=DOWN_TILING._replace(conv=DOWN_TILING.expand)), TypeError, "tiling.conv = .*: must be a "),
    (lambda: refconv.fused_block(X, DOWN, tiling=DOWN_TILING, halo="cache"), ValueError, "halo = 'cache' with a tiling"),
]


@pytest.mark.parametrize("i", range(len(ERRORS)))
def test_bad_input_names_the_argument_and_what_is_legal(i):
    call, error, text = ERRORS[i]
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("kind", BLOCKS)
def test_no_images_are_no_output(kind):
    """Of the right shape and dtype, or the array given."""
    record = build(kind, activation=ACTIVATION, **({"stride": 2} if kind in STRIDED else {}))
    p, q = (3, 3) if kind in STRIDED else (6, 5)
    empty, tiling = np.zeros((0, 8, 6, 5), np.float32), one_pixel_tiles(record, 1, 6, 5)
    result = refconv.fused_block(empty, record, tiling=tiling, threads=1)
    assert (result.shape, result.dtype, reference.block(empty, record).shape) == ((0, 8, p, q), np.float32, (0, 8, p, q))
    out = np.zeros((0, p, q, 8), np.float32)
    assert refconv.fused_block(empty.transpose(0, 2, 3, 1), record, layout="NHWC", out=out, tiling=tiling, threads=1) is out
    result = refconv.unfused_block(empty, build(kind, **gates(kind)), threads=1)
    assert (result.shape, result.dtype) == ((0, 8, 6, 5), np.float32)


def test_same_of_tensorflow_at_stride_2():
    """Rows and columns of an even map are padded at their ends alone: other numbers than by the rule of `pads=None`, on an odd map the same."""
    record = filled(build(SeparableBlock, 20, 20, g=1, stride=2, activation=ACTIVATION))
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    upper = SeparableBlock(**{**fields, "pads": (0, 0, 1, 1)})
    x = random_input(record, 1, 6, 8, np.float32)
    wide = reference.conv2d(x, record.conv_weight, record.conv_bias, (2, 2), (0, 0, 1, 1), groups=20)
    np.testing.assert_array_equal(
        reference.block(x, upper),
        reference.pointwise_conv2d(reference.activate(wide, ACTIVATION), record.project_weight[:, :, None, None], record.project_bias),
    )
    assert np.abs(reference.block(x, upper) - reference.block(x, record)).max() > 0.1
    close(refconv.fused_block(x, upper, tiling=one_pixel_tiles(upper, 1, 6, 8), threads=1), x, upper)


def test_a_plan_reports_what_it_allocates():
    problem = block_problem(filled(FFN), 1, 6, 6, host.target().lanes(4))
    plan = make_plan("ffn", problem, np.dtype(np.float32), FFN_TILING)
    packed = pack_block(FFN, host.target().lanes(4))
    operands = plan.call.kernel.operands(X.transpose(0, 2, 3, 1).reshape(-1), *packed.weights, *packed.biases)
    plan.run(operands, np.empty(X.size, np.float32))
    assert [len(buffer) for buffer in plan.workspace] == list(plan.call.workspace)


@pytest.mark.parametrize("channels", [1, 3, 17])
def test_the_norm_of_pixels_far_from_zero_does_not_cancel(channels):
    """LayerNorm of a few channels in wide vectors, the mean a hundred times the deviation: the variance is of the channels alone."""
    rng = np.random.default_rng(5)
    array = lambda *shape: (rng.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5).astype(np.float32)
    fields = {"conv_weight": array(channels, 1, 1, 1) * 0 + 1, "conv_bias": None, "norm_weight": array(channels), "norm_bias": None}
    matrices = {"expand_weight": array(4 * channels, channels), "expand_bias": None, "project_weight": array(channels, 4 * channels)}
    record = ConvNeXtBlock(**fields, **matrices, project_bias=None, activation=ACTIVATION)
    x = (100 + rng.standard_normal((2, channels, 3, 4))).astype(np.float32)
    result = refconv.fused_block(x, record, tiling=one_pixel_tiles(record, 2, 3, 4), threads=1)
    np.testing.assert_allclose(result, reference.block(x, record), rtol=0, atol=1e-3)
