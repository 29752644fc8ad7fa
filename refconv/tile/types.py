"""The Numba type of a register tile.

A tile is R rows of V vectors held in registers (SSA values of LLVM vector type). In plain Python it is an ndarray of shape
(R, V * lanes).
"""

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

LLVM_ELEMENT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


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
