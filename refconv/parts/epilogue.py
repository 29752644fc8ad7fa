"""What becomes of sums as they are stored: the one definition for all kernels.

    out = outer(inner(sum + bias) + residual)

In this order, each step rounded to the type of sums: in float32 and float64 the bits are those of separate passes over the tensors. Halves are
rounded once, as they are stored, where separate passes would round them after every step.
"""

from typing import Any, NamedTuple

from refconv.jit import routine
from refconv.parts.operands import ONE
from refconv.problem.activations import IDENTITY
from refconv.tile.activations import activate
from refconv.tile.instructions import add_from, length, load, store
from refconv.tile.operands import Place, moved
from refconv.tile.registers import add_row


class Epilogue(NamedTuple):
    """bias: the Place of the first channel's, or None; residual: a flat buffer that lies as the output does, or None; either may be empty, which
    adds nothing (parts/operands.py says when which). inner, outer: codes of activations."""

    bias: Any
    residual: Any
    inner: Any
    outer: Any


@routine
def layer_epilogue(operands):
    """The Epilogue of a layer, from channel 0 on, among its kernel's operands."""
    return Epilogue(Place(operands.bias, 0), operands.residual, operands.activations.inner, operands.activations.outer)


@routine
def inside_block(bias, activation):
    """The Epilogue activation(sum + bias) of a layer inside a block, or of its output, whose residual the sums begin with."""
    return Epilogue(bias, None, IDENTITY, activation)


@routine
def without_bias(epilogue):
    """The Epilogue of sums that have their bias, or need none."""
    return Epilogue(None, epilogue.residual, epilogue.inner, epilogue.outer)


@routine
def from_channel(epilogue, k):
    """The Epilogue of a block of channels, of which the first is k; the residual is found by the place that is written."""
    return Epilogue(moved(epilogue.bias, k), epilogue.residual, epilogue.inner, epilogue.outer)


@routine
def with_bias(acc, bias, columns, vectors):
    """acc + the bias of its channels, a Place, of which `columns` exist; None, or an empty buffer, adds nothing."""
    if bias is not None:  # noqa: SIM102  the compiler decides a test that stands alone, and leaves out what depends on it
        if length(bias.buffer) > 0:
            acc = add_row(acc, load(ONE, vectors, bias.buffer, bias.at, 0, columns))
    return acc


@routine
def _with_residual(acc, residual, to, columns, first_row):
    """acc + the residual of what is stored at the View `to`."""
    if residual is not None:  # noqa: SIM102  as in with_bias
        if length(residual) > 0:
            acc = add_from(acc, residual, to.at, to.pitch, columns, first_row)
    return acc


@routine
def store_sums(to, acc, columns, first_row, epilogue, vectors):
    """Store a tile of sums, of so many vectors a row, as the pixels of the View `to`: rows from first_row on, `columns` channels, after their
    Epilogue. An element of the residual is read just before the one in its place is stored, once."""
    acc = activate(with_bias(acc, epilogue.bias, columns, vectors), epilogue.inner)
    acc = activate(_with_residual(acc, epilogue.residual, to, columns, first_row), epilogue.outer)
    store(to.buffer, to.at, to.pitch, acc, columns, first_row)
