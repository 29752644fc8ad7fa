"""The loops of a kernel as data: what its docstring says, for whoever counts what loops move without running them.

A loop walks one dimension of a convolution in steps; the loops of a kernel, outer to inner, end in the turn of its register tile.
"""

from typing import NamedTuple

DIMENSIONS = {
    "N": "images",
    "G": "groups",
    "K": "output channels of a group",
    "C": "input channels of a group",
    "P": "output rows",
    "Q": "output columns",
    "R": "kernel rows",
    "S": "kernel columns",
}
"""The dimensions of a convolution that loops walk, by their letter."""


class Loop(NamedTuple):
    """A loop over a dimension of DIMENSIONS in steps of `tile` indices, the last one possibly shorter."""

    dim: str
    tile: int

    def __str__(self):
        return f"{self.dim}/{self.tile}"


class KernelLoops(NamedTuple):
    """The loops of a kernel over a Conv2d or PartialConv2d, outer to inner: all units of work in order, on one thread. What no loop cuts is whole.

    The innermost turn is a step of the register tile: `products` vectors of multiply-adds, for which it loads `loads` vectors of weights or
    inputs, or inputs that are splat into vectors.
    """

    problem: object
    loops: tuple
    products: int
    loads: int


def kernel_loops(problem, loops, products, loads):
    """The KernelLoops of (dimension, tile) pairs."""
    return KernelLoops(problem, tuple(Loop(dim, int(tile)) for dim, tile in loops), products, loads)
