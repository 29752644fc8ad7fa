"""How a machine gives an instruction its code: the bridge from a plain Python definition to LLVM.

Numba's `overload` would wrap each instruction in a function of its own, through which a tile of 28 registers travels by
memory unless LLVM inlines it (measured: depthwise 7x7 took 1.5 times as long). `implement` writes the code where the call stands.
"""

from numba.core import types
from numba.core.typing.templates import infer, infer_global, make_intrinsic_template


def implement(instruction):
    """Decorator: the code of `instruction` for some argument types.

    The decorated function takes (typing_context, *argument types) as a numba.extending.intrinsic does, and returns (signature,
    codegen), or None for types that belong to another machine.
    """

    def register(definition):
        template = make_intrinsic_template(instruction, definition, instruction.__name__)
        infer(template)
        infer_global(instruction, types.Function(template))
        return definition

    return register
