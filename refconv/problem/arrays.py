"""What is taken for an array of an element type, and what is not."""

import numpy as np
from numpy.ma import MaskedArray

from refconv.elements import LEGAL, element


def check_array(name, value):
    """TypeError unless the value is a NumPy array of an element type, without a mask."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} of type {type(value).__name__}: must be a NumPy array of {LEGAL}")
    check_unmasked(name, value)
    _check_element(name, value)


def check_unmasked(name, value):
    """TypeError for a masked array: the mask would be lost."""
    if isinstance(value, MaskedArray):
        raise TypeError(f"{name} is a masked array: must be an array without a mask, which would be lost ({name}.filled(0) puts 0 where it masks)")


def as_array(name, value):
    """The value as a NumPy array of an element type; TypeError names the argument where it is none and cannot be read as one."""
    array = read_array(name, value)
    _check_element(name, array)
    return array


def read_array(name, value):
    """The value as a NumPy array of any type; TypeError names the argument where it has a mask or cannot be read."""
    if type(value) is np.ndarray:
        return value
    check_unmasked(name, value)
    try:
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # whatever its __array__ raises: a torch tensor that requires gradients has a RuntimeError
        reason = str(error).partition("\n")[0]
        raise TypeError(f"{name} of type {type(value).__name__}: cannot be read as an array: {reason}") from error


def _check_element(name, array):
    try:
        element(array.dtype)
    except ValueError:
        raise TypeError(f"{name} of dtype {array.dtype}: must be {LEGAL}") from None
