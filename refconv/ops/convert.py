"""Between NCHW and NHWC: each image is a matrix (channels x pixels) to be transposed.

Tiles of lanes x lanes are transposed in registers: lanes loads, log2(lanes) * lanes shuffles and lanes stores of whole vectors, where a plain
loop moves single elements, one of its two sides a cache line apart (measured, float32: NHWC to NCHW takes a fifth of the time of NumPy's
copy or less, NCHW to NHWC about half).
"""

import functools

import numba

from refconv import host
from refconv.elements import element
from refconv.frames import NativeCall
from refconv.jit import compiled, kernel, native, plain
from refconv.parts.operands import ONE
from refconv.plan import flat
from refconv.static import Static
from refconv.tile import lanes, load, store, transpose


@kernel
def transpose_matrices(x, out, count, rows, columns, tile_rows):
    """out[i, c, r] = x[i, r, c] for `count` matrices, flat arrays; tile_rows = lanes.

    The last tiles overlap their neighbours and store the same values again. Matrices with fewer than lanes rows or columns: single elements.
    """
    n = lanes(x)
    for i in range(count):
        base = i * rows * columns
        if rows < n or columns < n:
            for c in range(columns):
                for r in range(rows):
                    out[base + c * rows + r] = x[base + r * columns + c]
            continue
        for r_next in range(0, rows, n):
            r = min(r_next, rows - n)
            for c_next in range(0, columns, n):
                c = min(c_next, columns - n)
                tile = load(tile_rows, ONE, x, base + r * columns + c, columns, n)
                store(out, base + c * rows + r, rows, transpose(tile), n, 0)


def copy_transposed(source, target):
    """target[i, c, r] = source[i, r, c] for contiguous (count, rows, columns) and (count, columns, rows) arrays of one dtype."""
    stored, sizes = element(source.dtype), source.shape
    entry, source, target = _entry(stored), source.reshape(-1), target.reshape(-1)
    if entry is not plain(transpose_matrices):
        source, target = source.view(stored.compiled), target.view(stored.compiled)
    entry(source, target, *sizes, _tile_rows(stored))


def ready(dtype):
    """Compile copy_transposed for a dtype, or read it from disk, ahead of its first call."""
    _entry(element(dtype))


def transposing(source, target, sizes, stored):
    """copy_transposed as a NativeCall, for tensors of an Element: flat arrays or frames.Given; sizes: (count, rows, columns) of the source."""
    return NativeCall(*native(transpose_matrices, _signature(stored)), (source, target, *sizes, _tile_rows(stored)))


def _tile_rows(stored):
    return Static(host.target().lanes(stored.work.itemsize))


def _signature(stored):
    array, integer = flat(stored), numba.types.intp
    return array, array, integer, integer, integer, numba.typeof(_tile_rows(stored))


@functools.cache
def _entry(stored):
    """The compiled kernel for an Element."""
    return compiled(transpose_matrices, _signature(stored))
