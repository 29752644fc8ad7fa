"""Records of blocks: the definitions against torch and against their own layers, sizes and costs by hand, errors, folded norms."""

import dataclasses

import numpy as np
import pytest
from block_problems import BLOCKS, blocks, build, normal, squeeze_excite, torch_block, zeros
from hypothesis import assume, given
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from problems import correlate, integers
from scipy import special

from refconv import Conv2d, PartialConv2d, reference
from refconv.networks.blocks import BLOCK_PRESETS
from refconv.problem.batch_norm import fold_batch_norm
from refconv.problem.blocks import (
    ACTIVATIONS,
    ConvFirstBlock,
    ConvNeXtBlock,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kind", BLOCKS)
def test_definition_agrees_with_torch(kind):
    """Two float64 computations of sums of at most some hundred terms around 1 to 100."""
    pytest.importorskip("torch")

    @given(blocks(kind, normal))
    def check(case):
        record, x = case
        result = reference.block(x, record)
        assert result.dtype == np.float64
        n, p, q, k = record.out_shape(x.shape[0], *x.shape[2:])
        assert result.shape == (n, k, p, q)
        np.testing.assert_allclose(result, torch_block(record, x), rtol=1e-9, atol=1e-9)

    check()


ACTIVATED = {
    FFNBlock: {"expand"},
    ConvFirstBlock: {"expand"},
    MBConvBlock: {"expand", "conv"},
    SeparableBlock: {"conv"},
    FusedMBConvBlock: {"conv"},
    FasterNetBlock: {"expand"},
}


@pytest.mark.parametrize("kind", ACTIVATED)
def test_layers_one_after_another_are_the_block(kind):
    """Bit for bit on integers, where nothing but convolutions and activations is in between; scipy's correlation, not ours."""

    @given(blocks(kind, lambda rng, shape: integers(rng, shape, np.float64), ("relu", "identity")))
    def check(case):
        record, x = case
        n, _, h, w = x.shape
        assume(getattr(record, "se", None) is None and (kind is not ConvFirstBlock or record.stride == 1))
        out = x
        for name, problem in record.layers(n, h, w):
            weight, bias = getattr(record, f"{name}_weight"), getattr(record, f"{name}_bias", None)
            assert (problem.n, problem.c, problem.h, problem.w) == out.shape
            conv = problem.conv if isinstance(problem, PartialConv2d) else problem
            done = correlate(conv, out[:, : conv.c], weight.reshape(conv.weight_shape), np.zeros(conv.k) if bias is None else bias)
            out = np.concatenate([done, out[:, conv.c :]], axis=1) if conv is not problem else done
            after = record.activation if name in ACTIVATED[kind] else record.project_activation if name == "project" else "identity"
            out = np.maximum(out, 0) if after == "relu" else out
        np.testing.assert_array_equal(reference.block(x, record), out + x if record.residual else out)

    check()


def test_activations_against_scipy():
    """Relative error of a few roundings, far into the tails."""
    x = np.concatenate([np.linspace(-30, 30, 601), [-1e-9, 0.0, 1e-9]])
    third = np.clip(x + 3, 0, 6) / 6
    cubic = x * special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3))
    expected = {
        "identity": x,
        "relu": np.where(x > 0, x, 0),
        "relu6": np.clip(x, 0, 6),
        "silu": x * special.expit(x),
        "gelu": x * special.ndtr(x),
        "gelu_tanh": cubic,
        "hardswish": x * third,
        "sigmoid": special.expit(x),
        "hardsigmoid": third,
    }
    assert tuple(expected) == ACTIVATIONS
    for name, values in expected.items():
        np.testing.assert_allclose(reference.activate(x, name), values, rtol=3e-12, atol=1e-300, err_msg=name)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(reference.activate([-1e300, 1e300], "sigmoid"), [0, 1])


def test_blur_pool_by_hand():
    """Reflected, the 2x2 map is [[d, c, d], [b, a, b], [d, c, d]] around its first pixel."""
    x = np.array([[[[16.0, 32.0], [64.0, 128.0]]]])
    np.testing.assert_array_equal(reference.blur_pool(x), [[[[(4 * 16 + 4 * 32 + 4 * 64 + 4 * 128) / 16]]]])
    assert reference.blur_pool(np.ones((1, 2, 5, 4))).tolist() == np.ones((1, 2, 3, 2)).tolist()


COSTS = {  # MACs; elements of input and output, weight, bias; of vectors that may be folded into others beforehand
    "ffn": (3136 * 2 * 96 * 384, 301_056, 73_728, 480, 0),
    "convfirst": (4096 * (64 * 8 * 9 + 2 * 64 * 384), 262_144, 53_760, 448, 64),
    "convnext": (3136 * (96 * 49 + 2 * 96 * 384), 301_056, 4_704 + 73_728, 576, 3 * 96),
    "mbconv": (3136 * (2 * 24 * 144 + 144 * 9) + 2 * 144 * 6, 75_264, 6_912 + 1_296 + 1_728, 462, 0),
    "fusedmbconv": (3136 * (48 * 192 * 9 + 192 * 48), 150_528, 92_160, 240, 0),
    "separable_512": (196 * 512 * (9 + 512), 100_352, 512 * (9 + 512), 1_024, 0),
    "fasternet": (3136 * (24 * 24 * 9 + 2 * 96 * 192), 301_056, 42_048, 192, 0),
}


def preset(name):
    """(record, rows and columns of its input) of a preset."""
    return BLOCK_PRESETS[name].record(), BLOCK_PRESETS[name].size


@pytest.mark.parametrize("name", COSTS)
def test_costs_of_the_presets_by_hand(name):
    record, size = preset(name)
    macs, image, weight, bias, folded = COSTS[name]
    assert record.macs(1, size, size) == macs
    assert record.compulsory(1, size, size) == {"input": image, "weight": weight, "bias": bias, "output": image}
    assert record.compulsory(3, size, size) == {"input": 3 * image, "weight": weight, "bias": bias, "output": 3 * image}
    assert record.out_shape(3, size, size) == (3, size, size, record.k)
    assert sum(array.size for array in record.arrays.values()) == weight + bias + folded


@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 8), st.integers(1, 9))
def test_hidden_layer_is_alpha_in_alpha_plus_one_of_the_traffic_of_an_ffn(n, c, alpha, size):
    """Lavin, Sec. 5.2: without the residual, which adds P * C."""
    pixels = n * size * size
    moved = build(FFNBlock, c, hidden=alpha * c, residual=False).unfused_elements(n, size, size)
    hidden, total = moved["expand"][1] + moved["project"][0], sum(map(sum, moved.values()))
    assert hidden * (alpha + 1) == total * alpha
    assert total == 2 * pixels * c * (1 + alpha)
    added = build(FFNBlock, c, hidden=alpha * c).unfused_elements(n, size, size)
    assert sum(map(sum, added.values())) == total + pixels * c


def test_unfused_elements_by_hand():
    moved = lambda name: preset(name)[0].unfused_elements(1, preset(name)[1], preset(name)[1])
    a, b, c = 24 * 3136, 144 * 3136, 96 * 3136
    gating = {"se_pool": (b, 144), "se_reduce": (144, 6), "se_expand": (6, 144)}
    assert moved("mbconv") == {"expand": (a, b), "conv": (b, b), **gating, "project": (b + 144 + a, a)}
    assert moved("convnext") == {"conv": (c, c), "norm": (c, c), "expand": (c, 4 * c), "project": (5 * c, c)}
    assert moved("fasternet") == {"conv": (c, c), "expand": (c, 2 * c), "project": (3 * c, c)}
    strided = build(ConvFirstBlock, 8, 12, 16, 2, stride=2).unfused_elements(1, 5, 4)
    assert strided == {"conv": (160, 160), "blur": (320, 96), "expand": (96, 96), "project": (96, 72)}


def test_convfirst_of_the_worked_example():
    """lavin.md, Sec. 2 (our numbers): batch 128, 2 bytes: 420 OP/B where fused, 1141 MB of activations otherwise and 134 MB fused."""
    record, size = preset("convfirst")
    moved = record.compulsory(128, size, size)
    assert 2 * record.macs(128, size, size) / (2 * (moved["input"] + moved["weight"] + moved["output"])) == pytest.approx(419.7, abs=0.05)
    assert 2 * (moved["input"] + moved["output"]) == pytest.approx(134e6, rel=5e-3)
    assert 2 * sum(map(sum, record.unfused_elements(128, size, size).values())) == pytest.approx(1141e6, rel=5e-4)


def test_what_no_output_depends_on_is_not_compulsory():
    """Taps in the border of a small map; pixels between those that a strided 1x1 kernel meets."""
    assert build(ConvNeXtBlock, kernel=(7, 7)).compulsory(1, 2, 2)["weight"] == 8 * 3 * 3 + 2 * 8 * 16
    for kind in (MBConvBlock, SeparableBlock, FusedMBConvBlock):
        assert build(kind, kernel=(1, 1), stride=2).compulsory(2, 5, 4)["input"] == 2 * 8 * 3 * 2
        assert build(kind, kernel=(2, 2), stride=2).compulsory(2, 5, 4)["input"] == 2 * 8 * 5 * 4
    assert build(MBConvBlock, se=squeeze_excite()).compulsory(1, 1, 1)["input"] == 8


def test_layers_are_problems_of_this_package():
    names = [name for name, _ in preset("mbconv")[0].layers(2, 56, 56)]
    assert names == ["expand", "conv", "se_reduce", "se_expand", "project"]
    assert build(FasterNetBlock, g=4).layers(2, 6, 5)[0] == ("conv", PartialConv2d(2, 8, 6, 5, 4, 3, 3))
    assert build(FusedMBConvBlock, kernel=(5, 2), stride=2).layers(1, 7, 6)[0] == ("conv", Conv2d(1, 8, 7, 6, 16, 5, 2, 2, 2, 2, 0, 2, 1))
    assert build(ConvFirstBlock, stride=2).layers(1, 7, 6)[1] == ("expand", Conv2d(1, 16, 4, 3, 16, 1, 1))


def test_strides_and_pads_of_a_record():
    """A pair of equal numbers is one number; residuals are added where the map keeps its size."""
    record = build(FusedMBConvBlock, stride=[2, 2], pads=[0, 1, 1, 0])
    assert (record.stride, record.pads, build(MBConvBlock, stride=(1, 2)).stride) == (2, (0, 1, 1, 0), (1, 2))
    assert record.layers(1, 6, 7)[0][1] == Conv2d(1, 8, 6, 7, 16, 3, 3, 2, 2, 0, 1, 1, 0)
    assert [build(SeparableBlock, pads=pads).residual for pads in ((2, 0, 0, 2), (1, 1, 1, 1), (1, 0, 0, 1))] == [True, True, False]


def test_an_activation_that_is_none_is_no_step():
    """With every activation, and with none: a linear pair, whose conv's bias may be folded into the projection's."""
    names = lambda **changed: [step.name for step in build(SeparableBlock, **changed).steps()]
    assert names(project_activation="relu6") == ["conv", "conv_activation", "project", "project_activation"]
    linear = build(SeparableBlock, activation=None, residual=False)
    assert (linear.activation, linear.project_activation) == ("identity", "identity")
    assert [step.name for step in linear.steps()] == ["conv", "project"]
    assert linear.compulsory(1, 5, 5)["bias"] == build(SeparableBlock).compulsory(1, 5, 5)["bias"] - 8


def test_residual_is_settled_on_construction():
    for kind in (MBConvBlock, SeparableBlock, FusedMBConvBlock):
        assert [build(kind, residual=given).residual for given in ("auto", True, False)] == [True, True, False]
        assert [build(kind, k=4).residual, build(kind, stride=2).residual] == [False, False]
    assert [build(SeparableBlock, project_activation=kind).residual for kind in (None, "identity", "relu")] == [True, True, False]
    assert [build(ConvFirstBlock).residual, build(ConvFirstBlock, k=4).residual, build(ConvFirstBlock, stride=2).residual] == [True, False, False]


def test_a_record_keeps_its_arrays_and_prints_their_shapes():
    weight = np.zeros((16, 8), bfloat16)
    record = FFNBlock(expand_weight=weight, expand_bias=None, project_weight=weight.T, project_bias=None)
    assert record.expand_weight is weight
    assert (record.c, record.k, record.hidden, record.dtype) == (8, 8, 16, bfloat16)
    assert list(record.arrays) == ["expand_weight", "project_weight"]
    assert repr(record).startswith("FFNBlock(expand_weight=bfloat16[16, 8], expand_bias=None, project_weight=bfloat16[8, 16]")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.activation = "relu"
    with pytest.raises(TypeError):
        FFNBlock(weight, None, weight.T, None)
    assert build(MBConvBlock, se=squeeze_excite()).arrays["se_reduce_weight"].shape == (4, 16)


def test_definition_of_half_precision_is_that_of_the_widened_weights():
    rng = np.random.default_rng(0)
    wide = lambda *shape: rng.standard_normal(shape).astype(bfloat16).astype(np.float64)
    record, x = build(ConvNeXtBlock, array=wide, maybe=wide), wide(1, 8, 4, 4)
    half = dataclasses.replace(record, **{name: array.astype(bfloat16) for name, array in record.arrays.items()})
    np.testing.assert_array_equal(reference.block(x.astype(bfloat16), half), reference.block(x, record))


@pytest.mark.parametrize("with_bias", [True, False])
def test_folded_norm_against_torch(with_bias):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    conv, norm = torch.nn.Conv2d(6, 8, 3, groups=2, bias=with_bias).double(), torch.nn.BatchNorm2d(8, eps=1e-3).double().eval()
    for vector in (norm.weight, norm.bias, norm.running_mean):
        vector.data = torch.tensor(rng.standard_normal(8))
    norm.running_var = torch.tensor(rng.uniform(0, 2, 8))
    x = torch.tensor(rng.standard_normal((2, 6, 5, 5)))
    arrays = [
        None if v is None else v.detach().numpy() for v in (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    ]
    weight, bias = fold_batch_norm(*arrays, norm.eps)
    with torch.no_grad():
        np.testing.assert_allclose(reference.conv2d(x.numpy(), weight, bias, groups=2), norm(conv(x)).numpy(), rtol=1e-12, atol=1e-12)


def test_folded_norm_rounds_once_to_the_dtype_of_the_weight():
    weight, bias = fold_batch_norm(np.full((2, 3), 3, np.float16), None, np.ones(2, np.float32), zeros(2), zeros(2), np.full(2, 8.0), 1.0)
    assert weight.dtype == bias.dtype == np.float16
    np.testing.assert_array_equal(weight, np.ones((2, 3)))
    np.testing.assert_array_equal(bias, [0, 0])


def fold(**changed):
    """fold_batch_norm of 4 channels, some arguments changed."""
    vectors = {name: np.ones(4, np.float32) for name in ("bias", "gamma", "beta", "mean", "var")}
    return fold_batch_norm(**{"weight": zeros(4, 2, 3, 3), **vectors, "eps": 1e-5, **changed})


ERRORS = [
    (lambda: build(FFNBlock, expand_weight=[[1.0]]), TypeError, "expand_weight of type list: must be a NumPy array of float32, float64"),
    (lambda: build(FFNBlock, expand_weight=None), TypeError, "expand_weight of type NoneType: must be a NumPy array"),
    (lambda: build(ConvNeXtBlock, norm_weight=None), TypeError, "norm_weight of type NoneType"),
    (
        lambda: build(FFNBlock, expand_bias=np.zeros(16, np.int32)),
        TypeError,
        "expand_bias of dtype int32: must be float32, float64, float16 or bfloat16",
    ),
    (lambda: build(FFNBlock, expand_bias=np.zeros(16, ">f4")), TypeError, "expand_bias of dtype >f4: must be float32"),
    (lambda: build(FFNBlock, project_bias=np.zeros(8)), TypeError, "project_bias of dtype float64: must be float32 as expand_weight"),
    (lambda: build(FFNBlock, expand_weight=zeros(16, 8, 1, 1)), ValueError, r"expand_weight of shape \(16, 8, 1, 1\): must be \(hidden, C\), none"),
    (lambda: build(FFNBlock, expand_weight=zeros(0, 8)), ValueError, r"expand_weight of shape \(0, 8\): must be \(hidden, C\), none of them 0"),
    (lambda: build(FFNBlock, expand_bias=zeros(8)), ValueError, r"expand_bias of shape \(8,\): must be \(hidden\) = \(16\)"),
    (lambda: build(FFNBlock, project_weight=zeros(9, 16)), ValueError, r"project_weight of shape \(9, 16\): must be \(C, hidden\) = \(8, 16\)"),
    (lambda: build(FFNBlock, project_bias=zeros(8, 1)), ValueError, r"project_bias of shape \(8, 1\): must be \(C\) = \(8\)"),
    (lambda: build(FFNBlock, residual="auto"), ValueError, "residual = 'auto': must be True or False"),
    (lambda: build(FFNBlock, residual=1), ValueError, "residual = 1: must be True or False"),
    (lambda: build(FFNBlock, activation="GELU"), ValueError, "activation = 'GELU': must be identity, relu, relu6, silu, gelu, .* or hardsigmoid"),
    (lambda: build(FFNBlock, activation=None), ValueError, "activation = None: must be identity"),
    (lambda: build(ConvFirstBlock, g=3), ValueError, r"conv_weight of shape \(8, 3, 3, 3\): must be .* C a multiple of the group width g"),
    (lambda: build(ConvFirstBlock, conv_weight=zeros(8, 2, 3)), ValueError, r"conv_weight of shape \(8, 2, 3\): must be \(C, g, R, S\), none"),
    (lambda: build(ConvFirstBlock, conv_bias=zeros(7)), ValueError, r"conv_bias of shape \(7,\): must be \(C\) = \(8\)"),
    (
        lambda: build(ConvFirstBlock, expand_weight=zeros(16, 16)),
        ValueError,
        r"expand_weight of shape \(16, 16\): must be \(hidden, C\) = \(hidden, 8\)",
    ),
    (lambda: build(ConvFirstBlock, stride=2, expand_weight=zeros(16, 8)), ValueError, r"must be \(hidden, 2C\) = \(hidden, 16\)"),
    (lambda: build(ConvFirstBlock, project_bias=zeros(9)), ValueError, r"project_bias of shape \(9,\): must be \(K\) = \(8\)"),
    (lambda: build(ConvFirstBlock, stride=3), ValueError, "stride = 3: must be 1 or 2"),
    (lambda: build(ConvFirstBlock, stride=True), ValueError, "stride = True: must be 1 or 2"),
    (lambda: build(ConvFirstBlock, stride=(1, 1)), ValueError, r"stride = \(1, 1\): must be 1 or 2"),
    (lambda: build(ConvNeXtBlock, conv_weight=zeros(8, 2, 7, 7)), ValueError, r"conv_weight of shape \(8, 2, 7, 7\): must be \(C, 1, R, S\)"),
    (lambda: build(ConvNeXtBlock, norm_weight=zeros(7)), ValueError, r"norm_weight of shape \(7,\): must be \(C\) = \(8\)"),
    (lambda: build(ConvNeXtBlock, norm_bias=zeros(7)), ValueError, r"norm_bias of shape \(7,\)"),
    (lambda: build(ConvNeXtBlock, scale=zeros(7)), ValueError, r"scale of shape \(7,\): must be \(C\) = \(8\)"),
    (lambda: build(ConvNeXtBlock, eps=0), ValueError, "eps = 0: must be a finite number above 0"),
    (lambda: build(ConvNeXtBlock, eps=float("nan")), ValueError, "eps = nan"),
    (lambda: build(ConvNeXtBlock, eps="1e-6"), ValueError, "eps = '1e-6'"),
    (lambda: build(MBConvBlock, conv_weight=zeros(8, 1, 3, 3)), ValueError, r"conv_weight of shape \(8, 1, 3, 3\): .*\(16, g, R, S\)"),
    (lambda: build(MBConvBlock, g=5), ValueError, r"conv_weight of shape \(16, 5, 3, 3\): .* multiple of the group width g"),
    (lambda: build(MBConvBlock, project_weight=zeros(8, 15)), ValueError, r"project_weight of shape \(8, 15\): must be \(K, hidden\) = \(K, 16\)"),
    (lambda: build(MBConvBlock, se="silu"), TypeError, "se of type str: must be a SqueezeExcite or None"),
    (lambda: build(MBConvBlock, se=squeeze_excite(8)), ValueError, "se of 8 channels: must have 16, the hidden channels"),
    (
        lambda: build(MBConvBlock, se=squeeze_excite(array=lambda *s: np.zeros(s), maybe=lambda *s: None)),
        TypeError,
        "se of dtype float64: must be float32",
    ),
    (lambda: build(MBConvBlock, k=4, residual=True), ValueError, "residual = True with stride = 1, C = 8, K = 4: must be auto or False"),
    (lambda: build(MBConvBlock, stride=2, residual=True), ValueError, "residual = True with stride = 2"),
    (lambda: build(MBConvBlock, residual="yes"), ValueError, "residual = 'yes': must be auto, True or False"),
    (lambda: build(MBConvBlock, stride=0), ValueError, "stride = 0"),
    (
        lambda: build(SeparableBlock, conv_weight=zeros(8, 3, 3, 3)),
        ValueError,
        r"conv_weight of shape \(8, 3, 3, 3\): .* multiple of the group width g",
    ),
    (lambda: build(SeparableBlock, project_weight=zeros(8, 16)), ValueError, r"project_weight of shape \(8, 16\): must be \(K, C\) = \(K, 8\)"),
    (lambda: build(SeparableBlock, se=squeeze_excite()), ValueError, "se of 16 channels: must have 8, the hidden channels"),
    (lambda: build(SeparableBlock, project_activation="none"), ValueError, "project_activation = 'none': must be identity, relu"),
    (
        lambda: build(SeparableBlock, project_activation="relu", residual=True),
        ValueError,
        "residual = True with project_activation = 'relu': must be auto or False",
    ),
    (lambda: build(FusedMBConvBlock, conv_weight=zeros(16, 8, 3, 3), conv_bias=zeros(8)), ValueError, r"conv_bias of shape \(8,\): .*\(16\)"),
    (lambda: build(FusedMBConvBlock, project_weight=zeros(8, 8)), ValueError, r"project_weight of shape \(8, 8\): .*\(K, 16\)"),
    (lambda: build(FusedMBConvBlock, stride=1.0), ValueError, "stride = 1.0: must be 1 or 2"),
    (lambda: build(FusedMBConvBlock, stride=(1, 3)), ValueError, r"stride = \(1, 3\): must be 1 or 2, or a pair"),
    (lambda: build(FusedMBConvBlock, stride=(1, 2), residual=True), ValueError, r"residual = True with stride = \(1, 2\)"),
    (lambda: build(MBConvBlock, pads=(1, 1)), ValueError, r"pads = \(1, 1\): must be None or \(top, left, bottom, right\), from 0 to 2 at top"),
    (lambda: build(MBConvBlock, pads=(1, 1, 3, 1)), ValueError, r"pads = \(1, 1, 3, 1\): must be None or"),
    (lambda: build(MBConvBlock, pads="same"), ValueError, "pads = 'same': must be None or"),
    (lambda: build(SeparableBlock, pads=(0, 0, 1, 1), residual=True), ValueError, r"residual = True .* pads = \(0, 0, 1, 1\): must be auto or False"),
    (lambda: build(SeparableBlock, pads=(0, 0, 0, 0)).layers(1, 2, 5), ValueError, "the dilated kernel is 3 in height"),
    (lambda: build(FusedMBConvBlock, stride=2, residual=True), ValueError, "residual = True with stride = 2"),
    (lambda: build(FasterNetBlock, conv_weight=zeros(4, 2, 3, 3)), ValueError, r"conv_weight of shape \(4, 2, 3, 3\): must be \(Cp, Cp, R, S\)"),
    (lambda: build(FasterNetBlock, g=9), ValueError, r"conv_weight of shape \(9, 9, 3, 3\): must convolve at most the 8 channels"),
    (lambda: build(FasterNetBlock, project_weight=zeros(9, 16)), ValueError, r"project_weight of shape \(9, 16\): must be \(C, hidden\) = \(8, 16\)"),
    (lambda: squeeze_excite(expand_weight=zeros(16, 5)), ValueError, r"expand_weight of shape \(16, 5\): must be \(C, squeezed\) = \(16, 4\)"),
    (lambda: squeeze_excite(reduce_bias=zeros(5)), ValueError, r"reduce_bias of shape \(5,\): must be \(squeezed\) = \(4\)"),
    (lambda: squeeze_excite(gate="relu"), ValueError, "gate = 'relu': must be sigmoid or hardsigmoid"),
    (lambda: squeeze_excite(activation="sofmax"), ValueError, "activation = 'sofmax'"),
    (lambda: build(FFNBlock).layers(1, 0, 5), ValueError, "height = 0: must be from 1"),
    (lambda: build(FFNBlock).macs(1.5, 5, 5), ValueError, "batch = 1.5: must be an integer"),
    (lambda: build(ConvFirstBlock, stride=2).out_shape(1, 4, 1), ValueError, "width = 1: must be 2 or more where a map is reflected by 1"),
    (lambda: reference.block(zeros(1, 8, 1, 4), build(ConvFirstBlock, stride=2)), ValueError, "height = 1: must be 2 or more"),
    (lambda: reference.block(zeros(1, 7, 4, 4), build(FFNBlock)), ValueError, r"x of shape \(1, 7, 4, 4\): must have 8 channels, as the FFNBlock"),
    (lambda: fold(weight=1.0), TypeError, "weight of type float: must be a NumPy array"),
    (lambda: fold(gamma=None), TypeError, "gamma of type NoneType"),
    (lambda: fold(mean=np.zeros(4, np.int64)), TypeError, "mean of dtype int64"),
    (lambda: fold(weight=np.float32(1)[...]), ValueError, r"weight of shape \(\): must be \(K, ...\)"),
    (lambda: fold(beta=zeros(2)), ValueError, r"beta of shape \(2,\): must be \(4,\), the output channels of weight"),
    (lambda: fold(var=-np.ones(4)), ValueError, "var has an element -1.0: must be 0 or more everywhere"),
    (lambda: fold(var=np.array([1, np.nan, 1, 1])), ValueError, "var has an element nan"),
    (lambda: fold(eps=-1e-5), ValueError, "eps = -1e-05: must be a finite number above 0"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_bad_input_names_argument_value_and_what_is_legal(number):
    act, kind, text = ERRORS[number]
    with pytest.raises(kind, match=text):
        act()
