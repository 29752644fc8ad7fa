"""One simulated run: buffers in memory, a cache hierarchy under them, and what kernels called on them have moved."""

import functools

import numba
import numpy as np

from refconv.plan import compiled
from sim.cache import WATCHER, WRITTEN, Hierarchy, run
from sim.nontemporal import NONTEMPORAL, TEMPORAL, WriteCombining, check_stores
from sim.trace import Trace
from sim.watch import NOBODY, Watcher


@functools.lru_cache(maxsize=8)
def _idle(levels, line_bytes, tensors):
    """Hierarchies of this geometry that no run is using: their pages are mapped already, which takes longer than a small layer."""
    return []


class Run:
    """Traced buffers [(name, elements, itemsize)], side by side on a machine with empty caches. `buffers` are they, in order.

    stores: how buffers named "output" are stored, of sim.nontemporal.STORES.
    """

    def __init__(self, machine, buffers, stores=TEMPORAL):
        check_stores(stores)
        geometry = tuple((level.sets, level.ways) for level in machine.levels), machine.line_bytes, len(buffers)
        self._pool = _idle(*geometry)
        try:
            self._hierarchy = self._pool.pop()
        except IndexError:
            self._hierarchy = Hierarchy(*geometry)
        outputs = [i for i, (name, *_) in enumerate(buffers) if name == "output"]
        self._combining = WriteCombining(outputs, len(buffers), machine.line_bytes) if stores == NONTEMPORAL else None
        self._watcher = Watcher(self._hierarchy, buffers, machine.line_bytes, self._combining and self._combining.take)
        self._hierarchy.state[WATCHER] = self._watcher.address
        self.trace = Trace(self._hierarchy, machine.vector_bytes)
        self.buffers = [self.trace.buffer(*buffer) for buffer in buffers]
        self._seen = np.zeros_like(self._hierarchy.counts), np.zeros_like(self._hierarchy.dram)

    def call(self, function, *arguments):
        """Call a kernel on traced buffers; what it moves is counted by the next `moved`."""
        compiled_for(function, arguments)(*arguments)

    def moved(self, last=False):
        """(counts, dram) in lines, of sim.cache, since this was asked before. last: dirty lines are flushed and counted, the run is over."""
        if last:
            self._hierarchy.finish()
        else:
            run(self._hierarchy.state)
        self._watcher.check()
        now = self._hierarchy.counts.copy(), self._hierarchy.dram.copy()
        if self._combining:
            now[1][:, WRITTEN] += self._combining.written
        moved = tuple(after - before for after, before in zip(now, self._seen, strict=True))
        self._seen = now
        if last:
            self._hierarchy.reset()
            self._hierarchy.state[WATCHER] = NOBODY
            self._pool.append(self._hierarchy)
        return moved


def compiled_for(function, arguments):
    """A kernel compiled for the types of these arguments."""
    return compiled(function, tuple(numba.typeof(argument) for argument in arguments))
