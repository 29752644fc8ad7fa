"""Instructions that touch registers only: the same on every machine, so they need no traced twin.

As in instructions.py the Python body is the definition; the LLVM form follows each.
"""

from refconv.tile.llvm import elementwise, multiply_add, vector_at
from refconv.tile.machine import implement


def add_row(acc, row):
    """acc[r] + row[0] for every row r (a bias)."""
    return acc + row


def fused_multiply_add(acc, a, b):
    """acc[r] + a[0] * b[0] for every row r."""
    return acc + a * b


@implement(add_row)
def _add_row(typing_context, acc, row):
    def codegen(context, builder, signature, args):
        tile = signature.args[0]
        return elementwise(builder, tile, args[0], lambda value, r, v: builder.fadd(value, vector_at(builder, args[1], v)))

    return acc(acc, row), codegen


@implement(fused_multiply_add)
def _fused_multiply_add(typing_context, acc, a, b):
    def codegen(context, builder, signature, args):
        tile = signature.args[0]

        def step(value, r, v):
            return multiply_add(builder, vector_at(builder, args[1], v), vector_at(builder, args[2], v), value)

        return elementwise(builder, tile, args[0], step)

    return acc(acc, a, b), codegen
