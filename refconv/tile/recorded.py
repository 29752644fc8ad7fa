"""Arrays that record which elements are loaded and stored: run a kernel's plain Python source on them and look.

x = Recorded(np.arange(12, dtype=np.float32)); plain(kernel)(x, ...); x.loads[5]   # how often element 5 was read
"""

import numpy as np


class Recorded:
    """A flat array with counts of loads and stores of each element; what lies outside raises IndexError, also where NumPy would wrap."""

    def __init__(self, values):
        self.values = np.ascontiguousarray(values).reshape(-1)
        self.loads, self.stores = np.zeros(len(self.values), np.int64), np.zeros(len(self.values), np.int64)

    @property
    def dtype(self):
        """The element type."""
        return self.values.dtype

    def __len__(self):
        return len(self.values)

    def _checked(self, key):
        first, last = (key.start, key.stop) if isinstance(key, slice) else (key, key + 1)
        if not 0 <= first <= last <= len(self.values) or (isinstance(key, slice) and key.step is not None):
            raise IndexError(f"elements {first} to {last} of a buffer of {len(self.values)}")
        return key

    def __getitem__(self, key):
        self.loads[self._checked(key)] += 1
        return self.values[key]

    def __setitem__(self, key, value):
        self.stores[self._checked(key)] += 1
        self.values[key] = value
