"""Operators of ONNX in NumPy: a file a family, one table. They are what a network needs beside convolutions, written to be right first.

An operator is a function of its inputs (None for one that a node leaves out) with a node's attributes as keywords, of an array, or of a tuple
where it has several outputs. It may ask for more by keyword: `opset`, the version of the operators; `outputs`, how many a node has; `out`, an
array to write to, which it need not use.
"""

import functools
import inspect

from refconv.operators import elementwise, move, normalise, products, reduce, resize, windows
from refconv.operators.types import NotSupported

OPERATORS = {
    **elementwise.TABLE,
    **reduce.TABLE,
    **normalise.TABLE,
    **windows.TABLE,
    **move.TABLE,
    **resize.TABLE,
    **products.TABLE,
}
IN_PLACE = elementwise.IN_PLACE

VALUES_NEEDED = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Split", "Squeeze", "Unsqueeze", "TopK", "OneHot"), (1,)),
    **dict.fromkeys(reduce.REDUCTIONS, (1,)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Dropout": (2,),
}
"""The inputs whose values decide the shape of what an operator makes, or where it finds its elements: they must be known before anything runs."""


@functools.cache
def _keywords(op):
    """(names of the attributes and of what else an operator takes by keyword, whether it takes any)."""
    parameters = inspect.signature(OPERATORS[op]).parameters.values()
    named = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    return named, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def bound(op, attributes, opset, outputs):
    """(function of the inputs, whether it takes `out`) of an operator; NotSupported for an attribute that it does not know."""
    named, any_name = _keywords(op)
    strange = [name for name in attributes if name not in named or name in ("opset", "outputs", "out")]
    if strange and not any_name:
        raise NotSupported(f"attribute {strange[0]}")
    more = {name: value for name, value in (("opset", opset), ("outputs", outputs)) if name in named}
    return functools.partial(OPERATORS[op], **attributes, **more), "out" in named
