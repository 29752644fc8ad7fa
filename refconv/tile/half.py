"""Half precision in memory, float32 in registers: 16-bit floats as compiled code sees them, and their conversions.

Numba knows neither type on CPUs. Compiled kernels take a float16 array as its bits in uint16, a bfloat16 array as its bits in int16, so
that the type of the array tells which; in LLVM the element is a `half` or an i16, so that the type of a pointer does. Where the target has no
instruction for a conversion it is a few integer ones, so that no library is called.
"""

import functools

from llvmlite import ir
from numba import types

from refconv import host

HALF, BITS, INT32, FLOAT = ir.HalfType(), ir.IntType(16), ir.IntType(32), ir.FloatType()


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for: only what the one conversion below needs."""

    def _to_string(self):
        return "bfloat"


MARK = {types.uint16: HALF, types.int16: BITS}
"""The LLVM type that marks an element, for the Numba type that holds its bits."""


@functools.cache
def target_rounds_to(half):
    """Whether the compiler's target has an instruction to round floats to LLVM type "half" or "bfloat": else LLVM emits a call to a library."""
    emitted = host.assembly(f"define <4 x {half}> @f(<4 x float> %a) {{\n %r = fptrunc <4 x float> %a to <4 x {half}>\n ret <4 x {half}> %r\n}}")
    return "__" not in emitted


def widen(builder, value, kind):
    """A stored scalar or vector as `kind` (float, or a vector of them): itself where it is one already."""
    if value.type == kind:
        return value
    ints, number = _of(kind, INT32), _constant(kind)
    if _element(value.type) == BITS:  # bfloat16: the upper half of a float
        return builder.bitcast(builder.shl(builder.zext(value, ints), number(16)), kind)
    if target_rounds_to("half"):
        return builder.fpext(value, kind)
    bits = builder.zext(builder.bitcast(value, _of(kind, BITS)), ints)
    magnitude = builder.and_(bits, number(0x7FFF))
    # Exponent and fraction in a float's place, times 2^(127 - 15): exact, and subnormal numbers come out normal.
    scaled = builder.fmul(builder.bitcast(builder.shl(magnitude, number(13)), kind), builder.bitcast(number((127 + 127 - 15) << 23), kind))
    infinite = builder.select(builder.icmp_unsigned(">=", magnitude, number(0x7C00)), number(0x7F800000), number(0))
    sign = builder.shl(builder.and_(bits, number(0x8000)), number(16))
    return builder.bitcast(builder.or_(builder.or_(builder.bitcast(scaled, ints), infinite), sign), kind)


def narrow(builder, value, element):
    """A float scalar or vector as the stored element type, rounded to the nearest, ties to even: itself where it is of that type already.

    Subnormal floats (below 1.2e-38) become zeros in bfloat16 where the CPU's own instruction makes them so (AVX512_BF16).
    """
    kind = value.type
    if _element(kind) == element:
        return value
    if element == HALF and target_rounds_to("half"):
        return builder.fptrunc(value, _of(kind, HALF))
    if element == BITS and target_rounds_to("bfloat"):
        return builder.bitcast(builder.fptrunc(value, _of(kind, _BFloat())), _of(kind, BITS))
    ints, number = _of(kind, INT32), _constant(kind)
    bits = builder.bitcast(value, ints)
    if element == BITS:
        odd = builder.and_(builder.lshr(bits, number(16)), number(1))
        nearest = builder.add(builder.add(bits, number(0x7FFF)), odd)  # half of the last place kept, less one where it is even
        quiet = builder.or_(bits, number(0x400000))
        stored = builder.select(builder.fcmp_unordered("uno", value, value), quiet, nearest)
        return builder.trunc(builder.lshr(stored, number(16)), _of(kind, BITS))
    sign, magnitude = builder.and_(bits, number(0x80000000)), builder.and_(bits, number(0x7FFFFFFF))
    odd = builder.and_(builder.lshr(magnitude, number(13)), number(1))
    normal = builder.lshr(builder.add(builder.sub(magnitude, number(((127 - 15) << 23) - 0xFFF)), odd), number(13))
    # Below 2^-14: added to the float whose last place is 2^-24, the smallest float16, the sum is rounded by the addition itself.
    magic = number((127 - 24 + 23) << 23)
    tiny = builder.sub(builder.bitcast(builder.fadd(builder.bitcast(magnitude, kind), builder.bitcast(magic, kind)), ints), magic)
    rounded = builder.select(builder.icmp_unsigned("<", magnitude, number((127 - 14) << 23)), tiny, normal)
    rounded = builder.select(builder.icmp_unsigned(">=", magnitude, number((127 + 16) << 23)), number(0x7C00), rounded)
    rounded = builder.select(builder.icmp_unsigned(">", magnitude, number(0x7F800000)), number(0x7E00), rounded)
    stored = builder.trunc(builder.or_(rounded, builder.lshr(sign, number(16))), _of(kind, BITS))
    return builder.bitcast(stored, _of(kind, HALF))


def _element(kind):
    return kind.element if isinstance(kind, ir.VectorType) else kind


def _of(kind, element):
    """The type of `kind`'s shape with another element."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _constant(kind):
    """A function that makes a 32-bit integer constant of `kind`'s shape."""
    if isinstance(kind, ir.VectorType):
        return lambda value: ir.Constant(_of(kind, INT32), [value] * kind.count)
    return lambda value: ir.Constant(INT32, value)
