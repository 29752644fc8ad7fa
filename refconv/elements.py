"""The element types of tensors: how they are stored, and the type sums are kept in.

Half precision is a storage format: float16 and bfloat16 (of ml_dtypes, which need not be installed for anything else) are widened to
float32 as they are loaded and rounded, to the nearest and to even, as they are stored. Compiled kernels see their bits (tile/half.py).
"""

import functools
from typing import NamedTuple

import numba
import numpy as np
from numba import types


class Element(NamedTuple):
    """name: NumPy's or ml_dtypes' name of the type; itemsize: bytes stored; work: dtype of sums and workspace; compiled: of arrays in kernels."""

    name: str
    itemsize: int
    work: np.dtype
    compiled: np.dtype

    @property
    def half(self):
        """Whether it is stored in half the width it is computed in."""
        return self.itemsize < self.work.itemsize

    @property
    def dtype(self):
        """NumPy's dtype; bfloat16 needs ml_dtypes."""
        if self.name != "bfloat16":
            return np.dtype(self.name)
        try:
            import ml_dtypes
        except ImportError:
            raise ImportError("bfloat16 arrays need ml_dtypes: pip install ml_dtypes (the extra half)") from None
        return np.dtype(ml_dtypes.bfloat16)

    @property
    def numba_type(self):
        """Numba's type of a flat array of it as compiled kernels take it: viewed as `compiled`."""
        return types.Array(numba.from_dtype(self.compiled), 1, "C")

    def __str__(self):
        return self.name


_KNOWN = (
    Element("float32", 4, np.dtype(np.float32), np.dtype(np.float32)),
    Element("float64", 8, np.dtype(np.float64), np.dtype(np.float64)),
    Element("float16", 2, np.dtype(np.float32), np.dtype(np.uint16)),
    Element("bfloat16", 2, np.dtype(np.float32), np.dtype(np.int16)),
)
ELEMENTS = {known.name: known for known in _KNOWN}
LEGAL = f"{', '.join(list(ELEMENTS)[:-1])} or {list(ELEMENTS)[-1]}"


def element(dtype):
    """The Element of a dtype, or of the name of one; ValueError for any other."""
    try:
        known = _element(dtype)
    except (TypeError, ValueError):
        known = None
    if known is None:
        raise ValueError(f"dtype = {dtype!r}: must be {LEGAL}")
    return known


@functools.lru_cache
def _element(dtype):
    if isinstance(dtype, Element):
        return dtype
    if isinstance(dtype, str) and dtype in ELEMENTS:  # "bfloat16" means something also where ml_dtypes is not imported
        return ELEMENTS[dtype]
    known = np.dtype(dtype)
    return ELEMENTS.get(known.name) if dtype is not None and known.isnative else None
