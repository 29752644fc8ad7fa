"""The instruction set on register tiles: definitions, and their form on NumPy arrays."""

from refconv.tile import arrays as _arrays  # noqa: F401  registers the array machine
from refconv.tile.activations import activate
from refconv.tile.instructions import add_from, lanes, length, load, outer, outer_sum, prefetch, slide, spread, store, zero
from refconv.tile.registers import add_row, fused_multiply_add, gather_diagonals, interleaved, multiply_row, transpose
from refconv.tile.sums import sum_runs

__all__ = [
    "activate",
    "add_from",
    "add_row",
    "fused_multiply_add",
    "gather_diagonals",
    "interleaved",
    "lanes",
    "length",
    "load",
    "multiply_row",
    "outer",
    "outer_sum",
    "prefetch",
    "slide",
    "spread",
    "store",
    "sum_runs",
    "transpose",
    "zero",
]
