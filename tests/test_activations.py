"""activate: compiled and plain against float64 definitions of this file's own, at the stated errors; extremes; torch; no library calls."""

import math

import numba
import numpy as np
import pytest
from scipy.special import erfc, expit

from refconv.jit import compiled, kernel, plain
from refconv.plan import flat
from refconv.problem.activations import ACTIVATIONS
from refconv.static import Static
from refconv.tile import activate, load, store
from refconv.tile.activations import MAX_ERROR, target_has_avx512dq
from refconv.tile.instructions import lanes

DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1), (3, 2), (14, 2)]
INF, NAN = math.inf, math.nan

EXPECTED = {
    "identity": lambda x: x,
    "relu": lambda x: np.where(x > 0, x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "silu": lambda x: x * expit(x),
    "gelu": lambda x: x * (erfc(-x / np.sqrt(2)) / 2),
    "gelu_tanh": lambda x: x * expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)),
    "hardswish": lambda x: x * np.clip((x + 3) / 6, 0, 1),
    "sigmoid": expit,
    "hardsigmoid": lambda x: np.clip((x + 3) / 6, 0, 1),
}


@kernel
def activated(x, out, rows, vectors, kind):
    row = vectors * lanes(x)
    for at in range(0, len(x), rows * row):
        store(out, at, row, activate(load(rows, vectors, x, at, row, row), kind), row, 0)


def signature(name, dtype, shape):
    return (*[flat(np.dtype(dtype))] * 2, *(numba.typeof(Static(n)) for n in (*shape, ACTIVATIONS[name])))


def run(name, x, shape):
    """The activation of a flat array by compiled tiles of that shape; zeros fill the last tile up."""
    rows, vectors = shape
    whole = np.concatenate([x, np.zeros(-len(x) % (rows * vectors * lanes(x)), x.dtype)])
    out = np.empty_like(whole)
    compiled(activated, signature(name, x.dtype, shape))(whole, out, Static(rows), Static(vectors), ACTIVATIONS[name])
    return out[: len(x)]


def points(dtype):
    """A fine grid of [-20, 20], normal random numbers, and finite numbers of random bits: every exponent, subnormal ones too."""
    rng, bits = np.random.default_rng(0), {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    any_bits = rng.integers(0, np.iinfo(bits).max, 1 << 17, bits, endpoint=True).view(dtype)
    grid = np.linspace(-20, 20, (1 << 19) + 1) if dtype is np.float32 else rng.uniform(-20, 20, 1 << 19)
    return np.concatenate([grid.astype(dtype), rng.normal(size=1 << 17).astype(dtype), any_bits[np.isfinite(any_bits)]])


def check(name, x, result):
    with np.errstate(all="ignore"):
        expected = EXPECTED[name](x.astype(np.float64))
        error = np.abs(result - expected) / np.maximum(1, np.abs(expected))
    assert result.dtype == x.dtype
    worst = np.argmax(np.where(np.isfinite(error), error, np.inf))
    assert error[worst] <= MAX_ERROR[name][x.dtype.name], (x[worst], result[worst], expected[worst])


def test_every_activation_has_a_definition_and_a_stated_error():
    assert set(ACTIVATIONS) == set(MAX_ERROR) == set(EXPECTED)
    assert sorted(ACTIVATIONS.values()) == list(range(len(ACTIVATIONS)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_errors_are_at_most_the_stated(name, dtype):
    """Of compiled code and of the plain body; and the tile's shape changes no bit."""
    x = points(dtype)
    result = run(name, x, SHAPES[0])
    check(name, x, result)
    for shape in SHAPES[1:]:
        np.testing.assert_array_equal(run(name, x, shape), result)
    check(name, x, activate(x[None], ACTIVATIONS[name])[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes(dtype):
    """x times a factor that has reached zero is NaN at -infinity, as in torch, but for gelu; finite numbers get the limit."""
    info = np.finfo(dtype)
    x = np.array([-INF, INF, NAN, info.min, info.max, -1e30, -0.0, 0.0, info.smallest_subnormal, -info.tiny], dtype)
    large, tiny = [info.min, info.max], x[-2:].tolist()
    ramp = [NAN, INF, NAN, 0, info.max, 0, 0, 0, *(0.5 * value for value in tiny)]
    step = [0, 1, NAN, 0, 1, 0, 0.5, 0.5, 0.5, 0.5]
    expected = {
        "identity": [-INF, INF, NAN, *large, x[5], 0, 0, *tiny],
        "relu": [0, INF, NAN, 0, info.max, 0, 0, 0, tiny[0], 0],
        "relu6": [0, 6, NAN, 0, 6, 0, 0, 0, tiny[0], 0],
        **dict.fromkeys(["silu", "gelu_tanh", "hardswish"], ramp),
        "gelu": [0, *ramp[1:]],
        **dict.fromkeys(["sigmoid", "hardsigmoid"], step),
    }
    for name, wanted in expected.items():
        for result in (run(name, x, (1, 1)), activate(x[None], ACTIVATIONS[name])[0]):
            np.testing.assert_allclose(result, wanted, rtol=4 * info.eps, atol=info.smallest_subnormal, err_msg=name)
            assert np.signbit(result[6]) or wanted[4:] != ramp[4:], name  # x f(x) keeps the sign of zero


@pytest.mark.parametrize("dtype", DTYPES)
def test_like_torch(dtype):
    """Within both errors: that of torch's float32 gelu, the largest of its own, is 8e-7 (measured), 8 times eps is 9.5e-7."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    theirs = {
        "relu": f.relu,
        "relu6": f.relu6,
        "silu": f.silu,
        "gelu": f.gelu,
        "gelu_tanh": lambda x: f.gelu(x, approximate="tanh"),
        "hardswish": f.hardswish,
        "sigmoid": torch.sigmoid,
        "hardsigmoid": f.hardsigmoid,
    }
    # Not +infinity, of which torch's float32 gelu makes NaN, nor numbers so large that its hardswish overflows.
    x = np.concatenate([[-INF, NAN, -1e30, 1e30, -0.0], np.linspace(-20, 20, 10001)]).astype(dtype)
    for name, function in theirs.items():
        expected = function(torch.from_numpy(x)).numpy()
        if name == "gelu":
            expected[0] = 0  # the limit at -infinity, where torch gives NaN
        tolerance = MAX_ERROR[name][x.dtype.name] + 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(run(name, x, (3, 2)), expected, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_library_is_called(name, dtype):
    """On no target; and float32 is not divided where the target estimates reciprocals."""
    if not hasattr(activated, "compile"):
        pytest.skip("without the JIT")
    fresh, types = numba.njit(error_model="numpy")(plain(activated)), signature(name, dtype, (3, 2))  # Numba shows no code from disk
    fresh.compile(types)
    code, end, _ = fresh.inspect_asm(types).partition("func_end0")  # what follows are entry points from Python
    assert end
    assert "call" not in code
    assert not (dtype is np.float32 and target_has_avx512dq() and "vdiv" in code)
