"""Element types of ONNX, by the numbers that TensorProto has for them, as NumPy's."""

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from refconv.elements import element

_NAMES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


class NotSupported(Exception):
    """Why an operator that there is cannot do what a node asks for."""


def numpy_type(number):
    """The dtype of an element type; NotSupported for one that there is no arithmetic for."""
    if number not in _NAMES:
        raise NotSupported(f"elements of type {number} of TensorProto; legal: {', '.join(_NAMES.values())}")
    return element("bfloat16").dtype if _NAMES[number] == "bfloat16" else np.dtype(_NAMES[number])


def in_work_type(x):
    """x in the type of sums: halves as float32, all else as it is."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else x


def axis_in(axis, rank):
    """The number of an axis of so many; one below 0 counts from the end. An AxisError, which is a ValueError, where there is none."""
    return normalize_axis_index(int(axis), rank)
