"""The two Numba types under every kernel: integers known when the kernel is compiled, and the register tile.

A tile is R rows of V vectors held in registers (SSA values of LLVM vector type). In plain Python it is an ndarray of shape
(R, V * lanes).
"""

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_cast, lower_constant
from numba.core.typeconv import Conversion
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox

LLVM_ELEMENT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class Static(int):
    """An int whose value is part of its Numba type: a kernel is compiled anew for each value it meets."""

    def __repr__(self):
        return str(int(self))


class StaticType(types.Type):
    """Numba's view of a Static; converts to an ordinary integer wherever one is wanted."""

    def __init__(self, value):
        self.value = value
        super().__init__(name=f"Static[{value}]")

    def can_convert_to(self, context, other):
        """Convertible to intp only, so that arithmetic with it has one meaning."""
        return Conversion.safe if other == types.intp else None


register_model(StaticType)(models.OpaqueModel)


@typeof_impl.register(Static)
def _typeof_static(value, context):
    return StaticType(int(value))


@unbox(StaticType)
def _unbox_static(numba_type, value, c):
    return NativeValue(c.context.get_dummy_value())


@lower_cast(StaticType, types.Integer)
def _static_to_integer(context, builder, from_type, to_type, value):
    return context.get_constant(to_type, from_type.value)


class TileType(types.Type):
    """rows x vectors registers of `lanes` elements of a float type."""

    def __init__(self, dtype, rows, vectors, lanes):
        self.dtype, self.rows, self.vectors, self.lanes = dtype, rows, vectors, lanes
        super().__init__(name=f"Tile[{dtype}, {rows} x {vectors} x {lanes}]")

    def with_shape(self, rows, vectors):
        """The same element type and lanes in another shape."""
        return TileType(self.dtype, rows, vectors, self.lanes)

    @property
    def vector(self):
        """The LLVM type of one vector."""
        return ir.VectorType(LLVM_ELEMENT[self.dtype], self.lanes)


@register_model(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, ir.ArrayType(tile.vector, tile.rows * tile.vectors))


@lower_constant(StaticType)
def _static_constant(context, builder, numba_type, value):
    return context.get_dummy_value()
