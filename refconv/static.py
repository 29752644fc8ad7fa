"""Integers that the compiler knows: a Static's value is part of its Numba type, so each value gets code of its own."""

from numba import types
from numba.core.imputils import lower_cast, lower_constant
from numba.core.typeconv import Conversion
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox


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


@lower_constant(StaticType)
def _static_constant(context, builder, numba_type, value):
    return context.get_dummy_value()
