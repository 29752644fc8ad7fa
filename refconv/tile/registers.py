"""Instructions that touch registers only: the same on every machine, so they need no traced twin.

As in instructions.py the Python body is the definition; the LLVM form follows each.
"""

import numpy as np
from llvmlite import ir
from numba import types

from refconv.tile.llvm import elementwise, int32_vector, lane_mask, multiply_add, put, splat, square_root, sum_of_lanes, vector_at
from refconv.tile.machine import implement


def add_row(acc, row):
    """acc[r] + row[0] for every row r (a bias); of a tile of as many rows as acc: + row[r]."""
    return acc + row


def subtract_row(acc, row):
    """acc[r] - row[0] for every row r, or row[r], as in add_row."""
    return acc - row


def multiply_row(acc, row):
    """acc[r] * row[0] for every row r, or row[r], as in add_row."""
    return acc * row


def divide_row(acc, row):
    """acc[r] / row[0] for every row r."""
    return acc / row


def square_roots(tile):
    """The square root of every element."""
    return np.sqrt(tile)


def scaled(tile, factor):
    """Every element times a number."""
    return tile * tile.dtype.type(factor)


def mean_of(tile, count):
    """Every lane of a row: the sum of all its lanes / count; rows of one vector."""
    return np.repeat(tile.sum(axis=1, keepdims=True, dtype=tile.dtype) / tile.dtype.type(count), tile.shape[1], axis=1)


def inverse_deviation(squares, count, eps):
    """Every lane of a row: 1 / sqrt(variance + eps), variance = sum of the row's lanes of squares / count; rows of one vector."""
    kind = squares.dtype.type
    variance = squares.sum(axis=1, keepdims=True, dtype=kind) / kind(count)
    return np.repeat(kind(1) / np.sqrt(variance + kind(eps)), squares.shape[1], axis=1)


def first_columns(tile, columns):
    """The tile with zeros behind its first `columns` columns."""
    return np.where(np.arange(tile.shape[1]) < columns, tile, tile.dtype.type(0))


def divided(tile, count):
    """Every element / count, an integer."""
    return tile / tile.dtype.type(count)


def filled(tile, number):
    """A tile of that shape, every element of it the number."""
    return np.full_like(tile, number)


def larger(tile, other):
    """The larger of each element and its counterpart in a tile of the same shape; NaN where one of them is."""
    return np.maximum(tile, other)


def sum_of_rows(tile):
    """One row: the sum of all. They are added by halves: row i and row i + half, the larger half being the first, down to one row."""
    rows = list(tile)
    while len(rows) > 1:
        half = len(rows) - len(rows) // 2
        rows = [one + other for one, other in zip(rows, rows[half:], strict=False)] + rows[len(rows) - half : half]
    return np.array(rows)


def fused_multiply_add(acc, a, b):
    """acc[r] + a[0] * b[0] for every row r, or a[r] * b[r], as in add_row."""
    return acc + a * b


def gather_diagonals(acc, width):
    """sum_t of the row's vector t, every group of `width` lanes rotated by t: result[q, l] = sum_t acc[q, t, diagonal(l, t)].

    acc has `width` vectors a row; the result has one. The vectors are added pairwise: t and t + half, from the largest half down.
    """
    n = acc.shape[1] // width
    rows = acc.reshape(len(acc), width, n)
    for half, lanes in gather_steps(width, n):
        moved = np.zeros_like(rows[:, half:])
        for lane, source in enumerate(lanes):
            if source < n:
                moved[:, :, lane] = rows[:, half:, source]
        rows = np.concatenate([rows[:, : moved.shape[1]] + moved, rows[:, moved.shape[1] : half]], axis=1)
    return rows[:, 0]


def transpose(tile):
    """result[r, l] = tile[l, r] for a tile of as many rows as lanes, one vector a row."""
    return tile.T.copy()


def interleaved(tile):
    """One row of as many vectors as the tile, of one vector a row, has rows: result[0, l * rows + r] = tile[r, l]."""
    return tile.T.reshape(1, -1).copy()


def gather_steps(width, lanes):
    """[(half, source lane of each lane), ...]: what gather_diagonals adds to vector t from vector t + half, width down to 1.

    Lanes past the last whole group take lane `lanes`: zero.
    """
    steps, count = [], width
    while count > 1:
        half = count - count // 2
        whole = lanes // width * width
        steps.append((half, [i // width * width + (i % width + half) % width if i < whole else lanes for i in range(lanes)]))
        count = half
    return steps


def _beside(acc, row, r, v):
    """The number of the register of `row` that meets the vector v of row r of acc: of its only row, or of its row r."""
    return v if row.rows == 1 else r * acc.vectors + v


@implement(add_row)
def _add_row(typing_context, acc, row):
    def codegen(context, builder, signature, args):
        tile = signature.args[0]
        return elementwise(builder, tile, args[0], lambda value, r, v: builder.fadd(value, vector_at(builder, args[1], _beside(acc, row, r, v))))

    return acc(acc, row), codegen


@implement(subtract_row)
def _subtract_row(typing_context, acc, row):
    def codegen(context, builder, signature, args):
        return elementwise(builder, acc, args[0], lambda value, r, v: builder.fsub(value, vector_at(builder, args[1], _beside(acc, row, r, v))))

    return acc(acc, row), codegen


@implement(multiply_row)
def _multiply_row(typing_context, acc, row):
    def codegen(context, builder, signature, args):
        return elementwise(builder, acc, args[0], lambda value, r, v: builder.fmul(value, vector_at(builder, args[1], _beside(acc, row, r, v))))

    return acc(acc, row), codegen


@implement(divide_row)
def _divide_row(typing_context, acc, row):
    def codegen(context, builder, signature, args):
        return elementwise(builder, acc, args[0], lambda value, r, v: builder.fdiv(value, vector_at(builder, args[1], v)))

    return acc(acc, row), codegen


@implement(square_roots)
def _square_roots(typing_context, tile):
    def codegen(context, builder, signature, args):
        return elementwise(builder, tile, args[0], lambda value, r, v: square_root(builder, value))

    return tile(tile), codegen


@implement(scaled)
def _scaled(typing_context, tile, factor):
    def codegen(context, builder, signature, args):
        kind = tile.vector.element
        number = args[1] if kind == args[1].type else builder.fptrunc(args[1], kind)
        return elementwise(builder, tile, args[0], lambda value, r, v: builder.fmul(value, splat(builder, number, tile.lanes)))

    return tile(tile, types.float64), codegen


@implement(divided)
def _divided(typing_context, tile, count):
    def codegen(context, builder, signature, args):
        number = splat(builder, builder.sitofp(args[1], tile.vector.element), tile.lanes)
        return elementwise(builder, tile, args[0], lambda value, r, v: builder.fdiv(value, number))

    return tile(tile, types.intp), codegen


@implement(filled)
def _filled(typing_context, tile, number):
    def codegen(context, builder, signature, args):
        kind = tile.vector.element
        value = splat(builder, args[1] if kind == args[1].type else builder.fptrunc(args[1], kind), tile.lanes)
        return elementwise(builder, tile, args[0], lambda register, r, v: value)

    return tile(tile, types.float64), codegen


@implement(larger)
def _larger(typing_context, tile, other):
    def codegen(context, builder, signature, args):
        def step(a, r, v):
            b = vector_at(builder, args[1], r * tile.vectors + v)
            of_numbers = builder.select(builder.fcmp_ordered(">", a, b), a, b)  # VMAXPS: b where one is NaN
            return builder.select(builder.fcmp_unordered("uno", a, a), a, of_numbers)

        return elementwise(builder, tile, args[0], step)

    return tile(tile, other), codegen


@implement(sum_of_rows)
def _sum_of_rows(typing_context, tile):
    row = tile.with_shape(1, tile.vectors)

    def codegen(context, builder, signature, args):
        result, rows = ir.Constant(context.get_value_type(row), None), range(tile.rows)
        for v in range(tile.vectors):
            vectors = [vector_at(builder, args[0], r * tile.vectors + v) for r in rows]
            while len(vectors) > 1:
                half = len(vectors) - len(vectors) // 2
                vectors = [builder.fadd(*pair) for pair in zip(vectors, vectors[half:], strict=False)] + vectors[len(vectors) - half : half]
            result = put(builder, result, vectors[0], v)
        return result

    return row(tile), codegen


@implement(mean_of)
def _mean_of(typing_context, tile, count):
    def codegen(context, builder, signature, args):
        count = builder.sitofp(args[1], tile.vector.element)
        mean = lambda row: splat(builder, builder.fdiv(sum_of_lanes(builder, row), count), tile.lanes)
        return elementwise(builder, tile, args[0], lambda row, r, v: mean(row))

    return tile(tile, types.intp), codegen


@implement(inverse_deviation)
def _inverse_deviation(typing_context, squares, count, eps):
    def codegen(context, builder, signature, args):
        squares_v, count_v, eps_v = args
        kind = squares.vector.element
        count, small = builder.sitofp(count_v, kind), eps_v if kind == eps_v.type else builder.fptrunc(eps_v, kind)

        def inverse(row):
            root = square_root(builder, builder.fadd(builder.fdiv(sum_of_lanes(builder, row), count), small))
            return splat(builder, builder.fdiv(ir.Constant(kind, 1.0), root), squares.lanes)

        return elementwise(builder, squares, squares_v, lambda row, r, v: inverse(row))

    return squares(squares, types.intp, types.float64), codegen


@implement(first_columns)
def _first_columns(typing_context, tile, columns):
    def codegen(context, builder, signature, args):
        kept, zeros = args[1], ir.Constant(tile.vector, None)
        left = [builder.sub(kept, ir.Constant(kept.type, v * tile.lanes)) for v in range(tile.vectors)]
        masks = [lane_mask(builder, count, tile.lanes) for count in left]
        return elementwise(builder, tile, args[0], lambda value, r, v: builder.select(masks[v], value, zeros))

    return tile(tile, types.intp), codegen


@implement(fused_multiply_add)
def _fused_multiply_add(typing_context, acc, a, b):
    def codegen(context, builder, signature, args):
        tile = signature.args[0]

        def step(value, r, v):
            one, other = (vector_at(builder, args[1 + i], _beside(acc, factor, r, v)) for i, factor in enumerate((a, b)))
            return multiply_add(builder, one, other, value)

        return elementwise(builder, tile, args[0], step)

    return acc(acc, a, b), codegen


@implement(gather_diagonals)
def _gather_diagonals(typing_context, acc, width):
    tile = acc.with_shape(acc.rows, 1)

    def codegen(context, builder, signature, args):
        zeros, result = ir.Constant(acc.vector, None), ir.Constant(context.get_value_type(tile), None)
        for r in range(acc.rows):
            vectors = [vector_at(builder, args[0], r * acc.vectors + v) for v in range(width.value)]
            for half, lanes in gather_steps(width.value, acc.lanes):
                mask = int32_vector(lanes)
                for t in range(half, len(vectors)):
                    vectors[t - half] = builder.fadd(vectors[t - half], builder.shuffle_vector(vectors[t], zeros, mask))
                vectors = vectors[:half]
            result = put(builder, result, vectors[0], r)
        return result

    return tile(acc, width), codegen


@implement(transpose)
def _transpose(typing_context, tile):
    def codegen(context, builder, signature, args):
        n, (value,) = tile.lanes, args
        rows = [vector_at(builder, value, r) for r in range(n)]
        half = 1
        while half < n:  # swap the off-diagonal half x half blocks of each 2 half x 2 half block
            low = int32_vector([lane if lane & half == 0 else n + lane - half for lane in range(n)])
            high = int32_vector([lane + half if lane & half == 0 else n + lane for lane in range(n)])
            for r in range(n):
                if r & half == 0:
                    a, b = rows[r], rows[r + half]
                    rows[r], rows[r + half] = builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)
            half *= 2
        for r in range(n):
            value = put(builder, value, rows[r], r)
        return value

    if (tile.rows, tile.vectors) == (tile.lanes, 1):
        return tile(tile), codegen


@implement(interleaved)
def _interleaved(typing_context, tile):
    row = tile.with_shape(1, tile.rows)

    def codegen(context, builder, signature, args):
        result, rows, n = ir.Constant(context.get_value_type(row), None), [vector_at(builder, args[0], r) for r in range(tile.rows)], tile.lanes
        for j in range(tile.rows):
            vector, places = rows[0], [divmod(j * n + lane, tile.rows) for lane in range(n)]
            for r in range(1, tile.rows):  # lanes of row r come in, the others stay; those of row 0 are moved with the first
                kept = [at if r == 1 else lane for lane, (at, _) in enumerate(places)]
                lanes = [n + at if of == r else kept[lane] for lane, (at, of) in enumerate(places)]
                vector = builder.shuffle_vector(vector, rows[r], int32_vector(lanes))
            result = put(builder, result, vector, j)
        return result

    if tile.vectors == 1:
        return row(tile), codegen
