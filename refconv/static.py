"""Numbers that the compiler knows: their values are part of a Numba type, so each value gets code of its own.

    Static(7)          an integer
    @static_record     a NamedTuple of Statics that is one operand: Tile(rows, vectors, tail)

A static record takes no room in a call and may stand inside another tuple. Compiled code reads its fields, and any property of it that is
an integer or another static record.
"""

from numba import types
from numba.core.imputils import lower_cast, lower_constant, lower_getattr_generic
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox


class Static(int):
    """An int whose value is part of its Numba type: a kernel is compiled separately for each value it meets."""

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


class StaticRecordType(types.Type):
    """Numba's view of a static record, which it carries as `record`."""

    def __init__(self, record):
        self.record = record
        super().__init__(name=f"{type(record).__name__}{list(map(int, record))}")


def static_record(cls):
    """Class decorator of a NamedTuple all of whose fields are integers: an instance is one operand, known to the compiler as a whole."""
    typeof_impl.register(cls)(lambda record, context: StaticRecordType(record))
    return cls


def _type_of(value):
    return StaticRecordType(value) if isinstance(value, tuple) else StaticType(int(value))


@typeof_impl.register(Static)
def _typeof_static(value, context):
    return StaticType(int(value))


@infer_getattr
class _StaticRecordAttributes(AttributeTemplate):
    key = StaticRecordType

    def generic_resolve(self, record_type, name):
        return _type_of(getattr(record_type.record, name))


@lower_getattr_generic(StaticRecordType)
def _static_record_attribute(context, builder, record_type, value, name):
    return context.get_dummy_value()


for _type in (StaticType, StaticRecordType):
    register_model(_type)(models.OpaqueModel)

    @unbox(_type)
    def _unbox(numba_type, value, c):
        return NativeValue(c.context.get_dummy_value())

    @lower_constant(_type)
    def _constant(context, builder, numba_type, value):
        return context.get_dummy_value()


@lower_cast(StaticType, types.Integer)
def _static_to_integer(context, builder, from_type, to_type, value):
    return context.get_constant(to_type, from_type.value)
