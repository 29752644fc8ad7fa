"""Conversions between orders of axes, and instructions that meet registers alone: compiled against their definitions."""

import numpy as np
import pytest
from test_instructions import DTYPES, both, data

from refconv import host
from refconv.elements import element
from refconv.jit import kernel
from refconv.ops.convert import copy_transposed
from refconv.parts.copy import ONE
from refconv.static import Static
from refconv.tile import add_row, fused_multiply_add, interleaved, load, multiply_row, store, transpose
from refconv.tile.instructions import lanes
from refconv.tile.registers import first_columns, mean_of, subtract_row


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 17, 40), (3, 49, 31), (1, 16, 7), (2, 3, 50), (1, 1, 1), (1, 100, 64)])
def test_copy_transposed(dtype, shape):
    source, target = data(shape, dtype), np.full((shape[0], shape[2], shape[1]), 9, dtype)
    copy_transposed(source, target)
    np.testing.assert_array_equal(target, source.transpose(0, 2, 1))


@kernel
def transposing(x, out, rows):
    n = lanes(x)
    store(out, 0, n, transpose(load(rows, ONE, x, 0, n, n)), n, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(dtype):
    n = host.target().lanes(element(dtype).work.itemsize)
    both(transposing, [np.arange(n * n, dtype=dtype), np.zeros(n * n, dtype)], Static(n))


@kernel
def keeping(x, out, rows, vectors, columns):
    n = vectors * lanes(x)
    store(out, 0, n, first_columns(load(rows, vectors, x, 0, n, n), columns), n, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_columns(dtype):
    n = 2 * host.target().lanes(np.dtype(dtype).itemsize)
    x = data(3 * n, dtype)
    for columns in (-1, 0, 1, n // 2, n - 1, n, n + 1):
        result = both(keeping, [x, np.zeros(3 * n, dtype)], Static(3), Static(2), columns)[1].reshape(3, n)
        np.testing.assert_array_equal(result, np.where(np.arange(n) < columns, x.reshape(3, n), 0))


@kernel
def meeting(x, out, rows):
    n = lanes(x)
    one, other = load(rows, ONE, x, 0, n, n), load(rows, ONE, x, n, n, n)
    mean = mean_of(fused_multiply_add(multiply_row(one, other), one, other), 4)
    store(out, 0, n, add_row(subtract_row(mean, one), other), n, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_meet_rows(dtype):
    """Of two tiles of as many rows: row r meets row r."""
    n = host.target().lanes(np.dtype(dtype).itemsize)
    x = data(4 * n, dtype)
    result = both(meeting, [x, np.zeros(3 * n, dtype)], Static(3))[1].reshape(3, n)
    one, other = x[: 3 * n].reshape(3, n), x[n:].reshape(3, n)
    np.testing.assert_array_equal(result, (2 * one * other).sum(axis=1, keepdims=True) / 4 - one + other)


@kernel
def interleaving(x, out, rows):
    n = lanes(x)
    store(out, 0, 0, interleaved(load(rows, ONE, x, 0, n, n)), rows * n, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 3])
def test_interleaved(dtype, rows):
    n = host.target().lanes(element(dtype).work.itemsize)
    x = np.arange(rows * n, dtype=dtype)
    result = both(interleaving, [x, np.zeros(rows * n, dtype)], Static(rows))[1]
    np.testing.assert_array_equal(result.reshape(n, rows), x.reshape(rows, n).T)
