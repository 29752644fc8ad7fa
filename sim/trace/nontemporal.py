"""Output stores that bypass the caches: a what-if of the simulator. The kernels of refconv store through the caches.

A non-temporal store gathers the bytes of a line in a write-combining buffer; a buffer is written to memory once another line needs it, the
one used longest ago first. So a line costs one write and no read, unless its stores are so far apart that it takes a buffer more than once:
then a write each time, counted as a whole line although it is a part of one. Lines are those of the first level. No cache
sees the output, and no line of it can be in a cache, since no kernel loads its output.
"""

import numpy as np

from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.words import STORE_MISSES, TENSOR_BITS

STORES = TEMPORAL, NONTEMPORAL = "temporal", "nontemporal"
BUFFERS = 8
"""Write-combining buffers of a core; processors have from 4 to 12."""


class WriteCombining:
    """The buffers of one run; outputs: numbers of those of its `tensors` tensors that are stored past the caches."""

    def __init__(self, outputs, tensors, line_bytes):
        self._outputs, self._bits = list(outputs), TENSOR_BITS - (line_bytes.bit_length() - 1)
        self._buffers = Hierarchy([(1, BUFFERS)], line_bytes, tensors)  # a buffer is a line that is only stored: opened by a store miss

    def take(self, events):
        """Take the outputs' stores out of the events, line << 1 | is_store; returns how many events are left, in front."""
        own = np.isin(events >> self._bits + 1, self._outputs)
        stores = events[own]
        if not (stores & 1).all():
            raise ValueError("stores = 'nontemporal': a kernel that loads its output cannot store it past the caches")
        self._buffers.access(stores >> 1, stores & 1)
        left = events[~own]
        events[: len(left)] = left
        return len(left)

    @property
    def written(self):
        """Lines written to memory of each tensor, those still open included."""
        return self._buffers.counts[0, :, STORE_MISSES]


def check_stores(stores):
    """ValueError unless it is one of STORES."""
    if stores not in STORES:
        raise ValueError(f"stores = {stores!r}: must be {' or '.join(STORES)}")
