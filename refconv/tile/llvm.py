"""Helpers for writing LLVM vector code, shared by the instructions."""

from llvmlite import ir
from numba.core import cgutils

from refconv import host
from refconv.tile.half import INT32, MARK, narrow, widen


def int32_vector(values):
    """A constant vector of 32-bit integers (shuffle masks)."""
    return ir.Constant(ir.VectorType(INT32, len(values)), values)


def multiply_add(builder, a, b, c):
    """a * b + c by llvm.fmuladd: one FMA where the target has it, else a multiply and an add (llvm.fma would call libm)."""
    kind = a.type
    suffix = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
    name = f"llvm.fmuladd.v{kind.count}{suffix}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [a, b, c])


def sum_of_lanes(builder, vector):
    """The sum of all lanes, added by halves."""
    count = vector.type.count
    while count > 1:
        count //= 2
        lanes = int32_vector([i % count + count for i in range(vector.type.count)])
        vector = builder.fadd(vector, builder.shuffle_vector(vector, vector, lanes))
    return builder.extract_element(vector, ir.Constant(INT32, 0))


def square_root(builder, value):
    """The square root of a scalar, or of every lane of a vector."""
    element, lanes = (value.type.element, f"v{value.type.count}") if isinstance(value.type, ir.VectorType) else (value.type, "")
    suffix = f"{lanes}{'f32' if isinstance(element, ir.FloatType) else 'f64'}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(value.type, [value.type]), f"llvm.sqrt.{suffix}")
    return builder.call(function, [value])


def vector_at(builder, tile, k):
    """Register k of a tile value."""
    return builder.extract_value(tile, k)


def repeated(builder, count, value, step):
    """The value after `count` turns of value = step(index, value)."""
    kept = cgutils.alloca_once_value(builder, value)
    with cgutils.for_range(builder, count) as loop:
        builder.store(step(loop.index, builder.load(kept)), kept)
    return builder.load(kept)


def put(builder, tile, vector, k):
    """The tile value with register k replaced."""
    return builder.insert_value(tile, vector, k)


def elementwise(builder, tile_type, tile, step):
    """The tile with step(register, row, vector) instead of each register."""
    for r in range(tile_type.rows):
        for v in range(tile_type.vectors):
            k = r * tile_type.vectors + v
            tile = put(builder, tile, step(vector_at(builder, tile, k), r, v), k)
    return tile


def splat(builder, scalar, lanes):
    """A vector with every lane equal to the scalar."""
    kind = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, undefined, int32_vector([0] * lanes))


def advance(builder, pointer, stride, count):
    """pointer + stride * count, count being a compile-time integer."""
    return builder.gep(pointer, [builder.mul(stride, ir.Constant(stride.type, count))])


def element_pointer(context, builder, buffer_type, buffer, index):
    """The address of element `index` of a flat array; that of a half is marked by its type."""
    data = context.make_array(buffer_type)(context, builder, buffer).data
    if buffer_type.dtype in MARK:
        data = builder.bitcast(data, MARK[buffer_type.dtype].as_pointer())
    return builder.gep(data, [index])


def opaque(builder, pointer):
    """The same address, but the compiler does not see how it was computed.

    If it does, LLVM takes the address of a pixel apart, (row * width + column + i) * pitch, and multiplies again for each of the 16 pixels of
    a slide, at every row: a strip of 14 pixels of a 3x3 depthwise convolution then took 240 cycles from L1 instead of 89, of which 63 are
    multiply-adds.
    """
    kind = ir.FunctionType(pointer.type, [pointer.type])
    return builder.call(ir.InlineAsm(kind, "", "=r,0", side_effect=False), [pointer])


def opaque_vector(builder, vector):
    """The same vector, but the compiler does not see that it is. Additions that end both sides of a branch it makes one behind it, and keeps what
    they read on the stack until then."""
    if not host.is_x86():
        return vector
    return builder.call(ir.InlineAsm(ir.FunctionType(vector.type, [vector.type]), "", "=v,0", side_effect=False), [vector])


BYTES = {"half": 2, "i16": 2, "float": 4, "double": 8}
"""Bytes of an element, by the name of its LLVM type."""


def _stored(builder, pointer, kind):
    """(the pointer to a vector of `kind`'s lanes as they are stored, the bytes such an access may rely on: an element's)."""
    stored = ir.VectorType(pointer.type.pointee, kind.count)
    return builder.bitcast(pointer, stored.as_pointer()), BYTES[str(stored.element)]


def load_scalar(builder, pointer, element):
    """One element, as the float type `element`."""
    return widen(builder, builder.load(pointer), element)


def load_vector(builder, pointer, kind):
    """A whole vector."""
    place, align = _stored(builder, pointer, kind)
    return widen(builder, builder.load(place, align=align), kind)


def store_vector(builder, value, pointer):
    """A whole vector."""
    place, align = _stored(builder, pointer, value.type)
    builder.store(narrow(builder, value, pointer.type.pointee), place, align=align)


def lane_mask(builder, count, lanes):
    """Whether each lane is below `count`: a vector of bits."""
    index = ir.Constant(ir.VectorType(count.type, lanes), list(range(lanes)))
    return builder.icmp_signed("<", index, splat(builder, count, lanes))


def _masked(builder, name, result, args):
    pointer = next(a.type for a in args if isinstance(a.type, ir.PointerType))
    suffix = {"half": "f16", "i16": "i16", "float": "f32", "double": "f64"}[str(pointer.pointee.element)]
    full_name = f"llvm.masked.{name}.v{pointer.pointee.count}{suffix}.p0"
    function_type = ir.FunctionType(result, [pointer if isinstance(a.type, ir.PointerType) else a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, full_name), args)


def load_masked(builder, pointer, kind, mask):
    """The lanes whose bits are set in a mask, zeros elsewhere; what is not loaded is not touched."""
    place, align = _stored(builder, pointer, kind)
    stored = place.type.pointee
    return widen(builder, _masked(builder, "load", stored, [place, ir.Constant(INT32, align), mask, ir.Constant(stored, None)]), kind)


def load_some(builder, pointer, kind, count):
    """The first `count` lanes (a runtime integer; any value is legal), zeros after them; what is not loaded is not touched.

    A whole vector takes the plain load: a masked one is a chain of branches where the target has no masks (SSE, NEON).
    """
    full = builder.icmp_signed(">=", count, ir.Constant(count.type, kind.count))
    with builder.if_else(full, likely=True) as (whole, part):
        with whole:
            a, a_block = load_vector(builder, pointer, kind), builder.block
        with part:
            b = load_masked(builder, pointer, kind, lane_mask(builder, count, kind.count))
            b_block = builder.block
    value = builder.phi(kind)
    value.add_incoming(a, a_block)
    value.add_incoming(b, b_block)
    return value


def prefetch_line(builder, pointer, level):
    """llvm.prefetch of the line at a pointer, for reading, into the cache of a level."""
    byte_pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [byte_pointer.type, INT32, INT32, INT32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [byte_pointer, *(ir.Constant(INT32, i) for i in (0, 4 - level, 1))])  # read, locality, data


def load_if(builder, condition, load, kind):
    """load() where the condition holds, zeros elsewhere."""
    before = builder.block
    with builder.if_then(condition, likely=True):
        value = load()
        after = builder.block
    result = builder.phi(kind)
    result.add_incoming(ir.Constant(kind, None), before)
    result.add_incoming(value, after)
    return result


def store_masked(builder, pointer, value, mask):
    """The lanes whose bits are set in a mask."""
    place, align = _stored(builder, pointer, value.type)
    stored = narrow(builder, value, pointer.type.pointee)
    _masked(builder, "store", ir.VoidType(), [stored, place, ir.Constant(INT32, align), mask])


def store_some(builder, pointer, value, count):
    """Store the first `count` lanes, as load_some loads them."""
    kind = value.type
    full = builder.icmp_signed(">=", count, ir.Constant(count.type, kind.count))
    with builder.if_else(full, likely=True) as (whole, part):
        with whole:
            store_vector(builder, value, pointer)
        with part:
            store_masked(builder, pointer, value, lane_mask(builder, count, kind.count))
