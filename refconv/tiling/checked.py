"""Tilings that were asked for: plain numbers, legal for their problem, those the compiler must know made Static. And tilings as numbers."""

import functools

from refconv.problem.conv import LARGEST, is_integer
from refconv.static import Static
from refconv.tile.fit import most_rows_of, most_rows_of_slide, product_registers, slide_registers
from refconv.tiling.shapes import DepthwiseStrip, GroupedStrip, IllegalField, SpreadStrip, Tile, require

MAY_BE_ZERO = ("ahead",)


def is_record(value):
    """Whether a value is a NamedTuple."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def normalised(tiling, where=""):
    """The tiling with plain ints, so that equal numbers of other types are told apart before anything is cached.

    TypeError or ValueError names the field that is no record or no integer in range.
    """
    if not is_record(tiling):
        named = f"tiling{where and '.' + where}"
        raise TypeError(f"{named} = {tiling!r}: must be a {'shape of refconv.tiling.shapes' if where else 'tiling, as refconv.tilings yields them'}")
    made = []
    for name, value in zip(tiling._fields, tiling, strict=True):
        inner = f"{where}.{name}" if where else name
        if is_record(value):
            made.append(normalised(value, inner))
            continue
        least = 0 if name in MAY_BE_ZERO else 1
        require(is_integer(value) and least <= value < LARGEST, inner, value, f"an integer from {least} to {LARGEST - 1}")
        made.append(int(value))
    return tiling._make(made)


def checked(wanted, chosen, problem, lanes, target=None):
    """The tiling asked for with its statics made Static, or an error that names the field; `chosen` is the rule's tiling for the problem.

    target: of the call, whose registers must hold the shapes (None: any). That is checked before what follows from a shape, such as its tail: who
    mends that first would be told of the registers next. Where a field is illegal that is still the rule's, the one it follows from is at fault.
    """
    same_records(wanted, chosen, "tiling")
    wanted = normalised(wanted)
    try:
        if target is not None:
            check_registers(wanted, target)
        wanted.check(chosen, problem, lanes)
    except IllegalField as error:
        is_rules = lambda name: field(wanted, name) == field(chosen, name)
        if error.follows is None or is_rules(error.follows) or not is_rules(error.where):
            raise
        at_fault = f"tiling.{error.follows} = {field(wanted, error.follows)}"
        raise ValueError(f"{at_fault} with the rule's {error.where} = {error.value}: {error.where} must be {error.rule}") from None
    return static_as(chosen, wanted)


def field(tiling, name):
    """The number of a tiling that is called "lines", "tile.rows", ..."""
    return functools.reduce(getattr, name.split("."), tiling)


def check_registers(tiling, target):
    """ValueError that names the first tile or strip of a tiling, if there is one, whose sums would not stay in the target's registers; one of a
    single row is legal."""
    for name, shape in zip(tiling._fields, tiling, strict=True):
        if isinstance(shape, Tile):
            held = target.fused, target.memory_operands
            most = most_rows_of(shape.vectors, target.registers, *held)
            taken, width = product_registers(shape.rows, shape.vectors, *held), f"{shape.vectors} vectors"
            what, follows = "the sums of a step and its operands", f"{name}.vectors"
        elif isinstance(shape, DepthwiseStrip | GroupedStrip | SpreadStrip):
            slide = shape.width, shape.taps, shape.stride
            most = max(1, most_rows_of_slide(*slide, target.registers, target.fused))
            taken, width = slide_registers(shape.rows, *slide, target.fused), f"taps {shape.taps}"
            what, follows = "sums, weights and pixels of a slide", f"{name}.taps"
        else:
            continue
        rule = f"at most {most} for {width}: {what} take {taken} vector registers of {target.registers}"
        require(shape.rows <= most, f"{name}.rows", shape.rows, rule, follows)


def same_records(wanted, chosen, where):
    """TypeError unless the records are of the types that the rule's are of."""
    if is_record(chosen):
        if type(wanted) is not type(chosen):
            raise TypeError(f"{where} = {wanted!r}: must be a {type(chosen).__name__}")
        for name, a, b in zip(chosen._fields, wanted, chosen, strict=True):
            same_records(a, b, f"{where}.{name}")


def static_as(like, values):
    """A record of the numbers in `values`, Static where those of `like` are."""
    if is_record(like):
        return type(like)(*map(static_as, like, values))
    return Static(values) if isinstance(like, Static) else int(values)


def _prefix(name):
    """What as_numbers puts before the fields of the shape `name`."""
    return "" if name in ("tile", "strip") else f"{name}_"


def as_numbers(tiling):
    """{name: int} of a tiling: of its only shape the fields' own names, of several expand_rows, project_rows, ..."""
    numbers = {}
    for name, value in zip(tiling._fields, tiling, strict=True):
        if is_record(value):
            prefix = _prefix(name)
            numbers |= {f"{prefix}{field}": int(number) for field, number in zip(value._fields, value, strict=True)}
        else:
            numbers[name] = int(value)
    return numbers


def with_numbers(tiling, numbers):
    """The tiling with those numbers of `as_numbers`; ValueError names one that is missing, unknown, or no integer of plain Python."""
    names = as_numbers(tiling)
    for name in [*names, *numbers]:
        if name not in names or name not in numbers:
            raise ValueError(f"tiling.{name}: {'is missing' if name in names else 'is unknown'}: must have {', '.join(names)}")
        least = 0 if name in MAY_BE_ZERO else 1
        require(type(numbers[name]) is int and least <= numbers[name] < LARGEST, name, numbers[name], f"an integer from {least} to {LARGEST - 1}")
    fields = {}
    for name, value in zip(tiling._fields, tiling, strict=True):
        if is_record(value):
            prefix = _prefix(name)
            fields[name] = type(value)(*(Static(numbers[prefix + field]) for field in value._fields))
        else:
            fields[name] = type(value)(numbers[name])
    return tiling._replace(**fields)
