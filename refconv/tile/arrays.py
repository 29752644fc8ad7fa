"""The instructions on NumPy arrays: each becomes straight-line LLVM vector code on registers."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from refconv import host
from refconv.tile import instructions as op
from refconv.tile.llvm import (
    advance,
    element_pointer,
    int32_vector,
    load_some,
    load_vector,
    multiply_add,
    put,
    splat,
    store_some,
    store_vector,
    vector_at,
)
from refconv.tile.types import TileType


def _tile_of(array, rows, vectors):
    """The tile type for elements of an array type on this host."""
    return TileType(array.dtype, rows, vectors, host.target().lanes(array.dtype.bitwidth // 8))


def _is_array(buffer):
    return isinstance(buffer, types.Array)


@overload(op.lanes)
def _lanes(buffer):
    if _is_array(buffer):
        n = host.target().lanes(buffer.dtype.bitwidth // 8)
        return lambda buffer: n


@overload(op.length)
def _length(buffer):
    if _is_array(buffer):
        return lambda buffer: len(buffer)


@intrinsic
def zero_tile(typing_context, tile):
    """Zeros of a tile type given as a Numba TypeRef: shared with the traced machine, whose tiles hold no data."""
    kind = tile.instance_type

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(kind), None)

    return kind(tile), codegen


@overload(op.zero)
def _zero(rows, vectors, like):
    if _is_array(like):
        tile = _tile_of(like, rows.value, vectors.value)
        return lambda rows, vectors, like: zero_tile(tile)


@intrinsic
def _load_tile(typing_context, rows, vectors, x, at, row_stride, columns):
    tile = _tile_of(x, rows.value, vectors.value)

    def codegen(context, builder, signature, args):
        _, _, x_v, at_v, stride, columns_v = args
        pointer = element_pointer(context, builder, x, x_v, at_v)
        result = ir.Constant(context.get_value_type(tile), None)
        for r in range(tile.rows):
            row = advance(builder, pointer, stride, r)
            for v in range(tile.vectors):
                here = builder.gep(row, [ir.Constant(at_v.type, v * tile.lanes)])
                left = builder.sub(columns_v, ir.Constant(columns_v.type, v * tile.lanes))
                result = put(builder, result, load_some(builder, here, tile.vector, left), r * tile.vectors + v)
        return result

    return tile(rows, vectors, x, types.intp, types.intp, types.intp), codegen


@overload(op.load)
def _load(rows, vectors, x, at, row_stride, columns):
    if _is_array(x):
        return lambda rows, vectors, x, at, row_stride, columns: _load_tile(rows, vectors, x, at, row_stride, columns)


@intrinsic
def _store_tile(typing_context, out, at, row_stride, tile, columns, first_row):
    def codegen(context, builder, signature, args):
        out_v, at_v, stride, tile_v, columns_v, first = args
        pointer = element_pointer(context, builder, out, out_v, at_v)
        for r in range(tile.rows):
            with builder.if_then(builder.icmp_signed(">=", ir.Constant(first.type, r), first), likely=True):
                row = advance(builder, pointer, stride, r)
                for v in range(tile.vectors):
                    here = builder.gep(row, [ir.Constant(at_v.type, v * tile.lanes)])
                    left = builder.sub(columns_v, ir.Constant(columns_v.type, v * tile.lanes))
                    store_some(builder, here, vector_at(builder, tile_v, r * tile.vectors + v), left)
        return context.get_dummy_value()

    return types.none(out, types.intp, types.intp, tile, types.intp, types.intp), codegen


@overload(op.store)
def _store(out, at, row_stride, tile, columns, first_row):
    if _is_array(out):
        return lambda out, at, row_stride, tile, columns, first_row: _store_tile(out, at, row_stride, tile, columns, first_row)


@intrinsic
def _outer_tile(typing_context, acc, x, x_at, x_row_stride, w, w_at, w_vector_stride):
    def codegen(context, builder, signature, args):
        acc_v, x_v, x_i, x_stride, w_v, w_i, w_stride = args
        w_p = element_pointer(context, builder, w, w_v, w_i)
        x_p = element_pointer(context, builder, x, x_v, x_i)
        weights = [load_vector(builder, advance(builder, w_p, w_stride, v), acc.vector) for v in range(acc.vectors)]
        for r in range(acc.rows):
            pixel = splat(builder, builder.load(advance(builder, x_p, x_stride, r)), acc.lanes)
            for v in range(acc.vectors):
                k = r * acc.vectors + v
                acc_v = put(builder, acc_v, multiply_add(builder, pixel, weights[v], vector_at(builder, acc_v, k)), k)
        return acc_v

    return acc(acc, x, types.intp, types.intp, w, types.intp, types.intp), codegen


@overload(op.outer)
def _outer(acc, x, x_at, x_row_stride, w, w_at, w_vector_stride):
    if _is_array(x):
        return lambda acc, x, x_at, x_row_stride, w, w_at, w_vector_stride: _outer_tile(
            acc, x, x_at, x_row_stride, w, w_at, w_vector_stride
        )


@intrinsic
def _slide_tile(typing_context, acc, taps, stride, x, x_at, pixel_stride, columns, first_pixel, last_pixel, w, w_at, tap_stride):
    n_taps, n_stride = taps.value, stride.value

    def codegen(context, builder, signature, args):
        acc_v, _, _, x_v, x_i, pixel_step, columns_v, first, last, w_v, w_i, tap_step = args
        w_p = element_pointer(context, builder, w, w_v, w_i)
        x_p = element_pointer(context, builder, x, x_v, x_i)
        weights = [load_vector(builder, advance(builder, w_p, tap_step, s), acc.vector) for s in range(n_taps)]
        for i, meetings in op.slide_schedule(acc.rows, n_taps, n_stride):
            here = ir.Constant(first.type, i)
            inside = builder.and_(builder.icmp_signed("<=", first, here), builder.icmp_signed("<", here, last))
            rows = list(dict.fromkeys(q for q, _ in meetings))
            kept, skipped = {q: vector_at(builder, acc_v, q) for q in rows}, builder.block
            with builder.if_then(inside, likely=True):
                pixel, sums = load_some(builder, advance(builder, x_p, pixel_step, i), acc.vector, columns_v), dict(kept)
                for q, s in meetings:
                    sums[q] = multiply_add(builder, pixel, weights[s], sums[q])
                taken = builder.block
            merged = {q: builder.phi(acc.vector) for q in rows}
            for q, phi in merged.items():
                phi.add_incoming(kept[q], skipped)
                phi.add_incoming(sums[q], taken)
                acc_v = put(builder, acc_v, phi, q)
        return acc_v

    ints = [types.intp] * 5
    return acc(acc, taps, stride, x, *ints, w, types.intp, types.intp), codegen


@overload(op.slide)
def _slide(acc, taps, stride, x, x_at, pixel_stride, columns, first_pixel, last_pixel, w, w_at, tap_stride):
    if _is_array(x):
        return lambda acc, taps, stride, x, x_at, pixel_stride, columns, first_pixel, last_pixel, w, w_at, tap_stride: _slide_tile(
            acc, taps, stride, x, x_at, pixel_stride, columns, first_pixel, last_pixel, w, w_at, tap_stride
        )


@intrinsic
def _spread_tile(typing_context, strip, at, input_stride, pixel, inputs, outputs):
    def codegen(context, builder, signature, args):
        strip_v, at_v, stride, pixel_v, _, _ = args
        pointer = element_pointer(context, builder, strip, strip_v, at_v)
        zeros, lanes = ir.Constant(pixel.vector, None), pixel.lanes
        for j in range(inputs.value):
            mask = int32_vector([min(i, lanes) for i in op.spread_lanes(lanes, inputs.value, outputs.value, j)])
            vector = builder.shuffle_vector(vector_at(builder, pixel_v, 0), zeros, mask)  # lane `lanes` is the first of the zeros
            store_vector(builder, vector, advance(builder, pointer, stride, j))
        return context.get_dummy_value()

    return types.none(strip, types.intp, types.intp, pixel, inputs, outputs), codegen


@overload(op.spread)
def _spread(strip, at, input_stride, pixel, inputs, outputs):
    if _is_array(strip):
        return lambda strip, at, input_stride, pixel, inputs, outputs: _spread_tile(strip, at, input_stride, pixel, inputs, outputs)
