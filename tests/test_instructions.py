"""Each instruction: compiled on arrays against its plain Python definition, for every tile shape and ragged end, every element type."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16

from refconv import host
from refconv.elements import element
from refconv.jit import compiled, kernel, plain
from refconv.parts.copy import ONE, copy, fill
from refconv.plan import flat
from refconv.static import Static
from refconv.tile import (
    add_from,
    add_row,
    fused_multiply_add,
    gather_diagonals,
    load,
    outer,
    outer_sum,
    slide,
    spread,
    store,
    sum_runs,
    zero,
)
from refconv.tile.instructions import lanes, slide_schedule
from refconv.tile.operands import Ahead, Below, View, Weights
from refconv.tile.registers import divide_row, square_roots
from refconv.tiling.shapes import DepthwiseStrip

DTYPES = [np.float32, np.float64, np.float16, bfloat16]
DTYPE = st.sampled_from(DTYPES)


def both(function, arrays, *numbers):
    """Run a kernel compiled and plain on copies of the arrays; the arrays must come out alike. Returns them."""
    dtype = arrays[0].dtype
    signature = (
        *[flat(dtype)] * len(arrays),
        *[numba.typeof(n) if isinstance(n, Static | tuple | None) else numba.types.intp for n in numbers],
    )
    mine, defined = [a.copy() for a in arrays], [a.copy() for a in arrays]
    compiled(function, signature)(*[a.view(element(dtype).compiled) for a in mine], *numbers)
    plain(function)(*defined, *numbers)
    for a, b in zip(mine, defined, strict=True):
        np.testing.assert_array_equal(a, b)
    return mine


def data(size, dtype, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, size).astype(dtype)


@kernel
def move(x, out, rows, vectors, at, stride, columns, first_row, width):
    tile = load(rows, vectors, x, at, stride, columns)
    store(out, at, stride, tile, width, first_row)


@kernel
def add_and_store(x, out, rows, vectors, at, stride, columns, first_row):
    tile = load(rows, vectors, x, 0, 1, vectors * lanes(x))
    store(out, at, stride, add_from(tile, x, at, stride, columns, first_row), columns, first_row)


@given(DTYPE, st.sampled_from([(1, 1), (14, 2), (2, 4)]), st.integers(-1, 70), st.integers(0, 3), st.integers(0, 5))
def test_add_from_touches_what_a_store_does(dtype, shape, columns, first_row, at):
    """Rows from the first on, columns that exist: the buffer of addends ends where the last does."""
    rows, vectors = shape
    whole = vectors * host.target().lanes(element(dtype).work.itemsize)
    columns = min(columns, whole)
    size = max(at + (rows - 1) * (max(columns, 1) + 3) + max(columns, 1), rows - 1 + whole)
    both(add_and_store, [data(size, dtype), np.full(size, 9, dtype)], Static(rows), Static(vectors), at, max(columns, 1) + 3, columns, first_row)


@given(DTYPE, st.sampled_from([(1, 1), (3, 2), (14, 2), (2, 4)]), st.integers(-1, 70), st.integers(0, 3), st.integers(-1, 70), st.integers(0, 5))
def test_load_and_store_touch_only_their_columns(dtype, shape, columns, first_row, width, at):
    """Ragged loads give zeros, ragged stores leave the rest; buffers end where the last column does."""
    rows, vectors = shape
    whole = vectors * host.target().lanes(element(dtype).work.itemsize)
    reach = max(min(columns, whole), min(width, whole), 1)
    size = at + (rows - 1) * (reach + 3) + reach
    both(
        move,
        [data(size, dtype), np.full(size, 9, dtype)],
        Static(rows),
        Static(vectors),
        at,
        reach + 3,
        min(columns, whole),
        first_row,
        min(width, whole),
    )


@kernel
def converting(x, out, elements):
    copy(out, 0, x, 0, elements)


def converted(values, dtype):
    """The values copied to an array of another type by compiled instructions."""
    out = np.empty(len(values), dtype)
    entry = compiled(converting, (flat(values.dtype), flat(dtype), numba.types.intp))
    entry(values.view(element(values.dtype).compiled), out.view(element(dtype).compiled), len(values))
    return out


@pytest.mark.parametrize("dtype", [np.float16, bfloat16])
def test_every_half_is_widened_as_its_own_library_does(dtype):
    halves = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    np.testing.assert_array_equal(converted(halves, np.float32), halves.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, bfloat16])
def test_floats_are_rounded_to_halves_as_their_own_library_does(dtype):
    """Every half, its neighbours, the middle to the next and that middle's neighbours: ties go to even, overflow to infinity, NaN stays."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
    bits = halves.view(np.uint32)
    step = np.uint32(1 << (16 if dtype is bfloat16 else 13))
    near = [bits + np.uint32(offset) for offset in (0, 1, step // 2 - 1, step // 2, step // 2 + 1, step - 1)]
    tiny = np.random.default_rng(0).uniform(-1e-4, 1e-4, 1 << 16).astype(np.float32)  # subnormal float16
    floats = np.concatenate([*(group.view(np.float32) for group in near), tiny])
    normal = ~(abs(floats) < np.finfo(np.float32).tiny) | (floats == 0)  # AVX512_BF16 makes zeros of subnormal floats
    with np.errstate(over="ignore", invalid="ignore"):
        expected = floats.astype(dtype)
    result = converted(floats, dtype)
    chosen = normal if dtype is bfloat16 else np.full(len(floats), True)
    np.testing.assert_array_equal(result[chosen].astype(np.float32), expected[chosen].astype(np.float32))
    np.testing.assert_array_equal(np.signbit(result[chosen]), np.signbit(expected[chosen]))


@kernel
def multiply(x, w, out, rows, vectors, x_stride, w_stride):
    n = lanes(w)
    acc = load(rows, vectors, out, 0, vectors * n, vectors * n)
    for i in range(3):
        acc = outer(acc, x, i, x_stride, w, i * n, w_stride)
    store(out, 0, vectors * n, add_row(fused_multiply_add(acc, load(ONE, vectors, w, 0, 0, vectors * n), load(ONE, vectors, w, n, 0, vectors * n)),
                                       load(ONE, vectors, w, 0, 0, vectors * n)), vectors * n, 0)  # fmt: skip


@given(DTYPE, st.sampled_from([(1, 1), (7, 3), (14, 2), (6, 4)]), st.integers(3, 9))
def test_outer_add_row_and_multiply_add(dtype, shape, x_stride):
    rows, vectors = shape
    n = host.target().lanes(element(dtype).work.itemsize)
    arrays = [data(rows * x_stride + 3, dtype), data((vectors + 3) * 4 * n, dtype, 1), data(rows * vectors * n, dtype, 2)]
    both(multiply, arrays, Static(rows), Static(vectors), x_stride, 3 * n)


@kernel
def summed(x, w, out, rows, vectors, x_stride, w_stride, steps, step):
    n = lanes(w)
    acc = load(rows, vectors, out, 0, vectors * n, vectors * n)
    acc = outer_sum(acc, View(x, 0, x_stride), Weights(w, 0, w_stride), steps, Ahead(w, 0, step, ONE))
    store(out, 0, vectors * n, acc, vectors * n, 0)


SUMMED = [(1, 1), (1, 4), (3, 4), (4, 3), (7, 2), (14, 1), (14, 2), (7, 4), (28, 1), (2, 4)]


@given(DTYPE, st.sampled_from(SUMMED), st.integers(0, 9), st.integers(0, 3), st.sampled_from([Static(0), 5]))
def test_outer_sum(dtype, shape, steps, gap, step):
    """For numbers of steps below, at and beyond a turn of the loop; with and without a prefetch."""
    rows, vectors = shape
    n = host.target().lanes(element(dtype).work.itemsize)
    x_stride, w_stride = steps + gap, (steps + gap) * n
    x, w = data((rows - 1) * x_stride + max(1, steps), dtype), data((vectors - 1) * w_stride + max(1, steps) * n, dtype, 1)
    both(summed, [x, w, data(rows * vectors * n, dtype, 2)], Static(rows), Static(vectors), x_stride, w_stride, steps, step)


@kernel
def slid(x, w, out, strip, x_at, pixel_stride, columns, first, last):
    n = lanes(w)
    acc = load(strip.rows, ONE, out, 0, n, n)
    store(out, 0, n, slide(acc, strip, View(x, x_at, pixel_stride), columns, first, last, Weights(w, 0, n), None), n, 0)


@settings(max_examples=80)
@given(DTYPE, st.sampled_from([(1, 1, 1), (7, 3, 1), (14, 7, 1), (6, 5, 2), (9, 1, 1)]), st.integers(1, 40), st.integers(-2, 8), st.integers(0, 40))
def test_slide_clips_pixels_and_columns(dtype, shape, columns, first, length):
    rows, taps, stride = shape
    n = host.target().lanes(element(dtype).work.itemsize)
    pixels, columns = (rows - 1) * stride + taps, min(columns, n)
    last = min(first + length, pixels)
    low = max(first, 0)
    size = max(0, last - low) * columns  # the buffer holds just the pixels inside: any other access would be out of bounds
    x = data(max(size, 1), dtype)
    both(
        slid,
        [x, data(taps * n, dtype, 1), data(rows * n, dtype, 2)],
        DepthwiseStrip(*map(Static, shape)),
        -low * columns,
        columns,
        None if columns == n and (taps == 1 or (first < taps and last > pixels - taps)) else columns,
        first,
        last,
    )


@kernel
def slid_down(x, w, out, strip, pixel_stride, columns, first, last, below):
    n = lanes(w)
    acc = slide(load(strip.rows, ONE, out, 0, n, n), strip, View(x, 0, pixel_stride), columns, first, last, Weights(w, 0, None), below)
    store(out, 0, n, acc, n, 0)


@settings(max_examples=30)
@given(
    st.sampled_from([np.float32, np.float16]),
    st.sampled_from([(7, 3, 1), (3, 7, 2)]),
    st.integers(1, 4),
    st.sampled_from(["whole", "edge", "some"]),
    st.integers(0, 9),
)
def test_slide_goes_down_rows_of_pixels_and_of_taps(dtype, shape, count, form, gap):
    """Side by side, a row's taps behind the last's, or with a gap; inside, at the border, with a part of a vector."""
    rows, taps, stride = shape
    n, pixels = host.target().lanes(element(dtype).work.itemsize), (rows - 1) * stride + taps
    first, last, columns = {"whole": (None, None, None), "edge": (taps - 1, pixels - taps + 1, None), "some": (1, pixels, n - 1)}[form]
    below = Below(count, pixels * n + gap, taps * n + gap if gap % 2 else None)
    x, w = data((count - 1) * below.pixels + pixels * n, dtype), data(count * (taps * n + gap), dtype, 1)
    out = both(slid_down, [x, w, data(rows * n, dtype, 2)], DepthwiseStrip(*map(Static, shape)), n, columns, first, last, below)[2]
    by_rows = data(rows * n, dtype, 2).reshape(rows, n).astype(np.float64)
    for r in range(count):
        for q in range(rows):
            for s in range(taps):
                i, at = q * stride + s, r * (below.taps or taps * n) + s * n
                if first is None or first <= i < last:
                    some = slice(0, columns)
                    by_rows[q, some] += x[r * below.pixels + i * n :][:n][some].astype(np.float64) * w[at : at + n][some].astype(np.float64)
    np.testing.assert_array_equal(out.reshape(rows, n).astype(np.float64), by_rows.astype(dtype).astype(np.float64))


@kernel
def diagonals(x, w, out, strip, width, pixel_stride, columns, first, last):
    n = lanes(w)
    pixels = View(x, -first * pixel_stride, pixel_stride)
    acc = slide(zero(strip.rows, width, out), strip, pixels, columns, first, last, Weights(w, 0, width * n), None)
    store(out, 0, n, gather_diagonals(acc, width), n, 0)


@given(DTYPE, st.sampled_from([(1, 1, 1), (3, 8, 3), (2, 3, 2), (4, 2, 3), (1, 5, 1)]), st.integers(1, 16), st.integers(0, 2), st.integers(0, 6))
def test_slide_of_several_vectors_and_gather_diagonals(dtype, shape, columns, first, length):
    """The buffer holds just the pixels inside, so that a load outside would be out of bounds."""
    rows, width, taps = shape
    n = host.target().lanes(element(dtype).work.itemsize)
    width, columns = min(width, n), min(columns, n)
    last = min(first + length, rows + taps - 1)
    x = data(max(1, (last - first) * columns), dtype)
    both(
        diagonals,
        [x, data(taps * width * n, dtype, 1), np.zeros(rows * n, dtype)],
        DepthwiseStrip(Static(rows), Static(taps), ONE),
        Static(width),
        columns,
        columns,
        first,
        last,
    )


@pytest.mark.parametrize(("width", "n"), [(8, 16), (3, 16), (2, 4), (5, 8), (1, 4)])
def test_gather_diagonals_is_the_sum_it_says(width, n):
    acc = data(2 * width * n, np.float64).reshape(2, width * n)
    result = gather_diagonals(acc, width)
    for lane in range(n // width * width):
        diagonal = [acc[:, t * n + lane // width * width + (lane % width + t) % width] for t in range(width)]
        np.testing.assert_array_equal(result[:, lane], sum(diagonal))


@kernel
def spreading(x, out, inputs, outputs, columns):
    spread(out, 0, lanes(out), load(ONE, ONE, x, 0, 0, columns), inputs, outputs)


SPREAD = [(1, 1), (1, 2), (3, 5), (5, 3), (4, 4), (2, 8), (7, 1), (1, 16), (16, 16)]
"""Channels in and out of a group, each compiled anew for each type."""


@given(DTYPE, st.sampled_from(SPREAD), st.integers(1, 16))
def test_spread(dtype, group, columns):
    inputs, outputs = group
    n = host.target().lanes(element(dtype).work.itemsize)
    inputs, outputs, columns = min(inputs, n), min(outputs, n), min(columns, n)
    result = both(spreading, [data(n, dtype), np.zeros(inputs * n, dtype)], Static(inputs), Static(outputs), columns)[1]
    x = data(n, dtype)
    for lane in range(n // max(inputs, outputs) * outputs):
        group = lane // outputs
        wanted = [x[group * inputs + j] if group * inputs + j < columns else 0 for j in range(inputs)]
        assert result.reshape(inputs, n)[:, lane].tolist() == wanted


@kernel
def summing(x, out, rows, vectors, width):
    n = lanes(x)
    store(out, 0, n, sum_runs(load(rows, vectors, x, 0, vectors * n, vectors * n), width), n, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (1, 3), (1, 5), (1, 6), (1, 7), (1, 12), "lanes", "one less", "pairs"])
def test_sum_runs(dtype, shape):
    """Runs of as many elements as there are registers, and of whole registers; with real numbers too, so that the order of the sums counts."""
    n = host.target().lanes(element(dtype).work.itemsize)
    rows, vectors, width = {"lanes": (n, 1, n), "one less": (n - 1, 1, n), "pairs": (n // 2, 2, n)}.get(shape) or (1, shape[1], shape[1])
    if width > n:
        return
    numbers = Static(rows), Static(vectors), Static(width)
    both(summing, [np.random.default_rng(0).standard_normal(rows * vectors * n).astype(dtype), np.zeros(n, dtype)], *numbers)
    x = data(rows * vectors * n, dtype)
    result = both(summing, [x, np.zeros(n, dtype)], *numbers)[1]
    wanted = x.astype(np.float64)[: len(x) // width * width].reshape(-1, width).sum(1)
    np.testing.assert_array_equal(result[: len(wanted)].astype(np.float64), wanted)


@kernel
def copying(x, out, at, elements):
    fill(out, 0, at)
    copy(out, at, x, 1, elements)


@given(DTYPE, st.integers(0, 50), st.integers(0, 40))
def test_copy_and_fill(dtype, elements, at):
    both(copying, [data(elements + 1, dtype), np.full(at + elements, 9, dtype)], at, elements)


def test_schedule_meets_every_row_and_tap_once():
    for rows, taps, stride in ((1, 1, 1), (5, 3, 2), (4, 7, 1)):
        pairs = [pair for _, meetings in slide_schedule(rows, taps, stride) for pair in meetings]
        assert sorted(pairs) == [(q, s) for q in range(rows) for s in range(taps)]


def test_target_is_what_the_environment_asks_for():
    """The suite runs under other targets too (test_other_targets.py): then lanes and registers must be theirs."""
    import os

    wanted = {"haswell": (32, 16), "x86-64": (16, 16), "skylake-avx512": (64, 32), "znver4": (64, 32)}
    name = os.environ.get("NUMBA_CPU_NAME")
    if name not in wanted:
        pytest.skip("the host's own target")
    assert host.vector_unit() == wanted[name]


@kernel
def root_and_divide(x, out, rows, vectors, stride):
    tile = square_roots(load(rows, vectors, x, 0, stride, stride))
    store(out, 0, stride, divide_row(tile, load(ONE, vectors, x, 0, stride, stride)), stride, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_square_roots_and_divide_row(dtype):
    """Both are rounded once by IEEE, so to the same bits everywhere."""
    stride = 2 * host.target().lanes(element(dtype).work.itemsize)
    x = (1 + np.abs(data(3 * stride, dtype).astype(np.float32))).astype(dtype)
    _, made = both(root_and_divide, [x, np.zeros_like(x)], Static(3), Static(2), stride)
    assert len(np.unique(made.astype(np.float64))) > 5
