"""The instructions on NumPy arrays: each becomes straight-line LLVM vector code on registers."""

from llvmlite import ir
from numba import types

from refconv import host
from refconv.static import StaticType
from refconv.tile import instructions as op
from refconv.tile import x86, x86_slide
from refconv.tile.half import MARK
from refconv.tile.llvm import (
    advance,
    element_pointer,
    int32_vector,
    lane_mask,
    load_if,
    load_masked,
    load_scalar,
    load_some,
    load_vector,
    multiply_add,
    opaque,
    opaque_vector,
    prefetch_line,
    put,
    repeated,
    splat,
    store_masked,
    store_some,
    store_vector,
    vector_at,
)
from refconv.tile.machine import implement
from refconv.tile.types import TileType


def _sums(buffer):
    """The Numba type that elements of a buffer type are computed in."""
    return types.float32 if buffer.dtype in MARK else buffer.dtype


def _lanes_of(buffer):
    return host.target().lanes(_sums(buffer).bitwidth // 8)


def _tile_of(buffer, rows, vectors):
    """The tile type for elements of a buffer type on this host."""
    return TileType(_sums(buffer), rows, vectors, _lanes_of(buffer))


def _is_array(buffer):
    return isinstance(buffer, types.Array)


@implement(op.lanes)
def _lanes(typing_context, buffer):
    if _is_array(buffer):
        n = _lanes_of(buffer)
        return types.intp(buffer), lambda context, builder, signature, args: context.get_constant(types.intp, n)


@implement(op.length)
def _length(typing_context, buffer):
    if _is_array(buffer):
        return types.intp(buffer), lambda context, builder, signature, args: context.make_array(buffer)(context, builder, args[0]).nitems


NEAR_ROWS = 4
"""Rows of a tile stored from one base: 1, 2 and 3 times their distance are addresses that take no instruction. Left to itself, LLVM moves a pointer
to each row along with the loop: a strip of one vector of 16 pixels took 40 cycles more."""


def zero_code(tile):
    """Code for a tile of zeros: shared with the traced machine, whose tiles hold no data."""
    return lambda context, builder, signature, args: ir.Constant(context.get_value_type(tile), None)


@implement(op.zero)
def _zero(typing_context, rows, vectors, like):
    if _is_array(like):
        tile = _tile_of(like, rows.value, vectors.value)
        return tile(rows, vectors, like), zero_code(tile)


def _masks_are_instructions(buffer):
    """Whether the target loads and stores some lanes of a vector at once: with AVX2 and AVX-512, but for halves. Elsewhere: a chain of branches."""
    return host.vector_unit()[0] > 16 and buffer.dtype not in MARK


def _left(builder, tile, columns):
    """Columns from each vector of a row on."""
    return [builder.sub(columns, ir.Constant(columns.type, v * tile.lanes)) for v in range(tile.vectors)]


def _full(builder, tile, columns):
    """Whether all vectors of a row are whole."""
    return builder.icmp_signed(">=", columns, ir.Constant(columns.type, tile.vectors * tile.lanes))


def _either(builder, *sides):
    """The registers that one of two blocks has made; sides: (registers, block)."""
    merged = []
    for pair in zip(*(registers for registers, _ in sides), strict=True):
        merged.append(builder.phi(pair[0].type))
        for vector, (_, block) in zip(pair, sides, strict=True):
            merged[-1].add_incoming(vector, block)
    return merged


def _tile(builder, tile, registers):
    """The tile value with all its registers replaced."""
    for k, vector in enumerate(registers):
        tile = put(builder, tile, vector, k)
    return tile


@implement(op.load)
def _load(typing_context, rows, vectors, x, at, row_stride, columns):
    if not _is_array(x):
        return None
    tile = _tile_of(x, rows.value, vectors.value)

    def codegen(context, builder, signature, args):
        _, _, x_v, at_v, stride, columns_v = args
        pointer, left = element_pointer(context, builder, x, x_v, at_v), _left(builder, tile, columns_v)

        def loaded(load):
            """The registers, each load(address, vector of its row)."""
            rows = [advance(builder, pointer, stride, r) for r in range(tile.rows)]
            return [load(builder.gep(row, [ir.Constant(at_v.type, v * tile.lanes)]), v) for row in rows for v in range(tile.vectors)]

        if tile.rows * tile.vectors == 1 or not _masks_are_instructions(x):
            registers = loaded(lambda here, v: load_some(builder, here, tile.vector, left[v]))
        else:
            with builder.if_else(_full(builder, tile, columns_v), likely=True) as (whole, part):
                with whole:  # one comparison a tile instead of one a vector
                    of_whole, whole_block = loaded(lambda here, v: load_vector(builder, here, tile.vector)), builder.block
                with part:
                    masks = [lane_mask(builder, count, tile.lanes) for count in left]
                    of_part, part_block = loaded(lambda here, v: load_masked(builder, here, tile.vector, masks[v])), builder.block
            registers = _either(builder, (of_whole, whole_block), (of_part, part_block))
        return _tile(builder, ir.Constant(context.get_value_type(tile), None), registers)

    return tile(rows, vectors, x, types.intp, types.intp, types.intp), codegen


def _rows_at(builder, pointer, stride, rows):
    """Yield (row, where it begins) for the rows of a tile in memory (see NEAR_ROWS)."""
    for r in range(rows):
        if r > 0 and r % NEAR_ROWS == 0:
            pointer = opaque(builder, advance(builder, pointer, stride, NEAR_ROWS))
        yield r, advance(builder, pointer, stride, r % NEAR_ROWS)


@implement(op.add_from)
def _add_from(typing_context, acc, x, at, row_stride, columns, first_row):
    if not _is_array(x):
        return None

    def codegen(context, builder, signature, args):
        acc_v, x_v, at_v, stride, columns_v, first = args
        pointer = opaque(builder, element_pointer(context, builder, x, x_v, at_v))
        sums = [vector_at(builder, acc_v, k) for k in range(acc.rows * acc.vectors)]

        def added(load):
            """The sums, to each of which load(row, vector of the row, address) has been added."""
            return [
                builder.fadd(sums[r * acc.vectors + v], load(r, v, builder.gep(row, [ir.Constant(at_v.type, v * acc.lanes)])))
                for r, row in _rows_at(builder, pointer, stride, acc.rows)
                for v in range(acc.vectors)
            ]

        every = builder.icmp_signed("<=", first, ir.Constant(first.type, 0))
        with builder.if_else(builder.and_(every, _full(builder, acc, columns_v)), likely=True) as (whole, part):
            with whole:  # as in a store; of whole vectors an addition reads its operand itself, so that no register is taken for it
                of_whole = [opaque_vector(builder, vector) for vector in added(lambda r, v, here: load_vector(builder, here, acc.vector))]
                whole_block = builder.block
            with part:
                masks = [lane_mask(builder, count, acc.lanes) for count in _left(builder, acc, columns_v)]
                new = [builder.icmp_signed(">=", ir.Constant(first.type, r), first) for r in range(acc.rows)]
                none = ir.Constant(masks[0].type, None)
                of_part = added(lambda r, v, here: load_masked(builder, here, acc.vector, builder.select(new[r], masks[v], none)))
                part_block = builder.block
        return _tile(builder, acc_v, _either(builder, (of_whole, whole_block), (of_part, part_block)))

    return acc(acc, x, types.intp, types.intp, types.intp, types.intp), codegen


@implement(op.store)
def _store(typing_context, out, at, row_stride, tile, columns, first_row):
    if not _is_array(out):
        return None

    def codegen(context, builder, signature, args):
        out_v, at_v, stride, tile_v, columns_v, first = args
        pointer = opaque(builder, element_pointer(context, builder, out, out_v, at_v))

        def put_row(put_vector, r, row):
            for v in range(tile.vectors):
                put_vector(builder.gep(row, [ir.Constant(at_v.type, v * tile.lanes)]), vector_at(builder, tile_v, r * tile.vectors + v), v)

        every = builder.icmp_signed("<=", first, ir.Constant(first.type, 0))
        with builder.if_else(builder.and_(every, _full(builder, tile, columns_v)), likely=True) as (whole, part):
            with whole:  # two comparisons a tile instead of one or two a vector
                for r, row in _rows_at(builder, pointer, stride, tile.rows):
                    put_row(lambda here, vector, v: store_vector(builder, vector, here), r, row)
            with part:
                left = _left(builder, tile, columns_v)
                if _masks_are_instructions(out):
                    masks = [lane_mask(builder, count, tile.lanes) for count in left]
                    put_some = lambda here, vector, v: store_masked(builder, here, vector, masks[v])
                else:
                    put_some = lambda here, vector, v: store_some(builder, here, vector, left[v])
                for r, row in _rows_at(builder, pointer, stride, tile.rows):
                    with builder.if_then(builder.icmp_signed(">=", ir.Constant(first.type, r), first), likely=True):
                        put_row(put_some, r, row)
        return context.get_dummy_value()

    return types.none(out, types.intp, types.intp, tile, types.intp, types.intp), codegen


@implement(op.prefetch)
def _prefetch(typing_context, buffer, at, level):
    if not _is_array(buffer):
        return None

    def codegen(context, builder, signature, args):
        prefetch_line(builder, element_pointer(context, builder, buffer, *args[:2]), level.value)
        return context.get_dummy_value()

    return types.none(buffer, types.intp, level), codegen


@implement(op.outer)
def _outer(typing_context, acc, x, x_at, x_row_stride, w, w_at, w_vector_stride):
    if not _is_array(x):
        return None

    def codegen(context, builder, signature, args):
        acc_v, x_v, x_i, x_stride, w_v, w_i, w_stride = args
        w_p = element_pointer(context, builder, w, w_v, w_i)
        x_p = element_pointer(context, builder, x, x_v, x_i)
        return _outer_step(builder, acc, acc_v, x_p, x_stride, w_p, w_stride)

    return acc(acc, x, types.intp, types.intp, w, types.intp, types.intp), codegen


def _outer_step(builder, acc, acc_v, x_p, x_stride, w_p, w_stride):
    weights = [load_vector(builder, advance(builder, w_p, w_stride, v), acc.vector) for v in range(acc.vectors)]
    for r in range(acc.rows):
        pixel = splat(builder, load_scalar(builder, advance(builder, x_p, x_stride, r), acc.vector.element), acc.lanes)
        for v in range(acc.vectors):
            k = r * acc.vectors + v
            acc_v = put(builder, acc_v, multiply_add(builder, pixel, weights[v], vector_at(builder, acc_v, k)), k)
    return acc_v


@implement(op.outer_sum)
def _outer_sum(typing_context, acc, pixels, weights, steps, ahead):
    x, w = pixels[0], weights[0]
    if not _is_array(x):
        return None
    unit, prefetches = x86.unit_for(acc), ahead != types.none and ahead[2] != StaticType(0)

    def codegen(context, builder, signature, args):
        acc_v, pixels_v, weights_v, steps_v, ahead_v = args
        x_v, x_i, pitch = _fields(context, builder, pixels, pixels_v)
        w_v, w_i, stride = _fields(context, builder, weights, weights_v)
        x_p, w_p = element_pointer(context, builder, x, x_v, x_i), element_pointer(context, builder, w, w_v, w_i)
        place = level = stride_ahead = None
        if prefetches:
            p_v, p_i, stride_ahead = _fields(context, builder, ahead[:3], ahead_v)
            place, level = element_pointer(context, builder, ahead[0], p_v, p_i), ahead[3].value
        if unit is not None and x_p.type.pointee == w_p.type.pointee == acc.vector.element:
            return x86.outer_sum_code(builder, unit, acc, acc_v, (x_p, pitch), (w_p, stride), steps_v, prefetches and (level, place, stride_ahead))

        def step(i, sums):
            here = builder.gep(x_p, [i]), builder.gep(w_p, [builder.mul(i, ir.Constant(steps_v.type, acc.lanes))])
            if prefetches:
                prefetch_line(builder, builder.gep(place, [builder.mul(i, stride_ahead)]), level)
            return _outer_step(builder, acc, sums, here[0], pitch, here[1], stride)

        return repeated(builder, steps_v, acc_v, step)

    return acc(acc, pixels, weights, types.intp, ahead), codegen


def _slide_one(builder, acc, acc_v, schedule, weights, load_pixel, within):
    """slide with one vector a row: weights stay in registers; a pixel of the border is branched around."""
    for i, meetings in schedule:
        rows = list(dict.fromkeys(q for q, _ in meetings))
        inside = within(i)
        kept, skipped = {q: vector_at(builder, acc_v, q) for q in rows}, builder.block
        with builder.if_then(inside, likely=True):
            pixel, sums = load_pixel(i), dict(kept)
            for q, s in meetings:
                sums[q] = multiply_add(builder, pixel, weights[s], sums[q])
            taken = builder.block
        merged = {q: builder.phi(acc.vector) for q in rows}
        for q, phi in merged.items():
            phi.add_incoming(kept[q], skipped)
            phi.add_incoming(sums[q], taken)
            acc_v = put(builder, acc_v, phi, q)
    return acc_v


def _fields(context, builder, record, value):
    """(buffer, position, stride) of a View or Weights in registers."""
    buffer, *numbers = (builder.extract_value(value, i) for i in range(3))
    return buffer, *(context.cast(builder, number, kind, types.intp) for number, kind in zip(numbers, list(record)[1:], strict=True))


def _optional(builder, record, value, i):
    """Field i of a record in registers, or None where it is absent."""
    return None if record[i] == types.none else builder.extract_value(value, i)


@implement(op.slide)
def _slide(typing_context, acc, strip, pixels, columns, first_pixel, last_pixel, taps, below):
    if not _is_array(pixels[0]):
        return None
    n_taps, n_stride = int(strip.record.taps), int(strip.record.stride)
    whole, full, unit = first_pixel == types.none, columns == types.none, x86_slide.unit_for(acc, n_taps, n_stride)

    def codegen(context, builder, signature, args):
        acc_v, _, pixels_v, columns_v, first, last, taps_v, below_v = args
        x_v, x_i, pixel_step = _fields(context, builder, pixels, pixels_v)
        w_v, w_i, tap_step = (builder.extract_value(taps_v, 0), builder.extract_value(taps_v, 1), _optional(builder, taps, taps_v, 2))
        w_p, x_p = element_pointer(context, builder, taps[0], w_v, w_i), element_pointer(context, builder, pixels[0], x_v, x_i)
        down = None if below == types.none else [builder.extract_value(below_v, i) for i in range(2)] + [_optional(builder, below, below_v, 2)]
        if unit is not None and x_p.type.pointee == w_p.type.pointee == acc.vector.element:
            border = None if whole else (None if full else columns_v, first, last)
            return x86_slide.slide_code(builder, unit, acc, acc_v, (n_taps, n_stride), (x_p, pixel_step), (w_p, tap_step), border, down)
        if full:
            columns_v = context.get_constant(types.intp, acc.lanes)
        if whole:
            first, last = (context.get_constant(types.intp, number) for number in (0, 1 << 30))
        load_pixel = lambda x_p, i: load_some(builder, advance(builder, x_p, pixel_step, i), acc.vector, columns_v)
        within = lambda i: builder.and_(
            builder.icmp_signed("<=", first, ir.Constant(first.type, i)), builder.icmp_signed("<", ir.Constant(first.type, i), last)
        )
        schedule = op.slide_schedule(acc.rows, n_taps, n_stride)
        if tap_step is None:
            tap_step = ir.Constant(w_i.type, acc.vectors * acc.lanes)
        vector = lambda p, v: load_vector(builder, builder.gep(p, [ir.Constant(w_i.type, v * acc.lanes)]), acc.vector)

        def row(sums, x_p, w_p):
            x_p, tap = opaque(builder, x_p), lambda s, v: vector(advance(builder, w_p, tap_step, s), v)
            if acc.vectors == 1:
                return _slide_one(builder, acc, sums, schedule, [tap(s, 0) for s in range(n_taps)], lambda i: load_pixel(x_p, i), within)
            kept = {i: load_if(builder, within(i), lambda i=i: load_pixel(x_p, i), acc.vector) for i, _ in schedule}
            for s in range(n_taps):
                for v in range(acc.vectors):
                    weight = tap(s, v)
                    for q in range(acc.rows):
                        k = q * acc.vectors + v
                        sums = put(builder, sums, multiply_add(builder, kept[q * n_stride + s], weight, vector_at(builder, sums, k)), k)
            return sums

        if down is None:
            return row(acc_v, x_p, w_p)
        count, to_pixels, to_taps = down
        to_taps = builder.mul(tap_step, ir.Constant(w_i.type, n_taps)) if to_taps is None else to_taps
        at = lambda p, r, step: builder.gep(p, [builder.mul(r, step)])
        return repeated(builder, count, acc_v, lambda r, sums: row(sums, at(x_p, r, to_pixels), at(w_p, r, to_taps)))

    place = types.none if whole else types.intp
    return acc(acc, strip, pixels, types.none if full else types.intp, place, place, taps, below), codegen


@implement(op.spread)
def _spread(typing_context, strip, at, input_stride, pixel, inputs, outputs):
    if not _is_array(strip):
        return None

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
