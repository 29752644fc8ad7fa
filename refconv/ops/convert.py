"""Between NCHW and NHWC: each image is a matrix (channels x pixels) to be transposed.

Tiles of lanes x lanes are transposed in registers: lanes loads, log2(lanes) * lanes shuffles and lanes stores of whole vectors, where a plain
loop moves single elements, one of its two sides a cache line apart (measured, float32: NHWC to NCHW takes a fifth of the time of NumPy's
copy or less, NCHW to NHWC about half). The few channels of a picture do not fill such a tile: a vector of pixels of each is loaded, and they are put
one between the other, FEW * (FEW - 1) shuffles at most.
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
from refconv.tile import interleaved, lanes, load, store, transpose

FEW = 4
"""Rows of a matrix up to which they are put one between the other."""


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


@kernel
def interleave_matrices(x, out, count, rows, columns, few):
    """As transpose_matrices for matrices of so `few` rows, a static number, and of as many columns as lanes or more."""
    n = lanes(x)
    for i in range(count):
        base = i * rows * columns
        for c_next in range(0, columns, n):
            c = min(c_next, columns - n)
            store(out, base + c * rows, 0, interleaved(load(few, ONE, x, base + c, columns, n)), rows * n, 0)


def copy_transposed(source, target):
    """target[i, c, r] = source[i, r, c] for contiguous (count, rows, columns) and (count, columns, rows) arrays of one dtype."""
    transposer(source.dtype, source.shape)(source.reshape(-1), target.reshape(-1))


def transposer(dtype, sizes):
    """A function f(source, target) of flat arrays that copies as copy_transposed; sizes: (count, rows, columns) of the source.

    Its kernel is compiled here, or read from disk.
    """
    stored = element(dtype)
    run, tile_rows = _kernel_for(sizes, stored)
    entry = _entry(stored, run, tile_rows)
    if entry is plain(run) or stored.compiled == stored.dtype:
        return lambda source, target: entry(source, target, *sizes, tile_rows)
    return lambda source, target: entry(source.view(stored.compiled), target.view(stored.compiled), *sizes, tile_rows)


def transposing(source, target, sizes, stored):
    """copy_transposed as a NativeCall, for tensors of an Element: flat arrays or frames.Given; sizes: (count, rows, columns) of the source."""
    run, tile_rows = _kernel_for(sizes, stored)
    return NativeCall(*native(run, _signature(stored, tile_rows)), (source, target, *sizes, tile_rows))


def _kernel_for(sizes, stored):
    """(kernel, its last argument) for matrices of these sizes."""
    (_, rows, columns), n = sizes, host.target().lanes(stored.work.itemsize)
    if 1 < rows <= FEW and rows < n <= columns:
        return interleave_matrices, Static(rows)
    return transpose_matrices, Static(n)


def _signature(stored, tile_rows):
    array, integer = flat(stored), numba.types.intp
    return array, array, integer, integer, integer, numba.typeof(tile_rows)


@functools.cache
def _entry(stored, run, tile_rows):
    """The compiled kernel for an Element."""
    return compiled(run, _signature(stored, tile_rows))
