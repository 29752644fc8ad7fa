"""One simulated run: buffers in memory, a cache hierarchy under them, and what kernels called on them have moved."""

import functools

import numba
import numpy as np

from refconv.plan import compiled
from refconv.recent import Recent
from refconv.static import Static
from sim.hierarchy.hierarchy import Hierarchy, run
from sim.hierarchy.observe import NOBODY, Watcher
from sim.hierarchy.words import WATCHER, WRITTEN
from sim.trace.nontemporal import NONTEMPORAL, TEMPORAL, WriteCombining, check_stores
from sim.trace.traced import Trace

MOST_PLACES = 1 << 27
"""Lines times levels whose misses can be classified: 24 bytes each."""


@functools.lru_cache(maxsize=8)
def _idle(levels, line_bytes, tensors, inclusion, places):
    """Hierarchies of this geometry that no run is using: their pages are mapped already, which takes longer than a small layer."""
    return []


class Run:
    """Traced buffers [(name, elements, itemsize)], side by side on a machine with empty caches. `buffers` are they, in order.

    stores: how buffers named "output" are stored, of sim.nontemporal.STORES. classify: `classes` are then the misses, as of
    sim.cache.Hierarchy, of what `moved` has last returned.
    """

    def __init__(self, machine, buffers, stores=TEMPORAL, classify=False):
        check_stores(stores)
        line = machine.line_bytes
        places = sum(-(-elements * itemsize // line) for _, elements, itemsize in buffers) + 1 if classify else 0
        if places * len(machine.levels) > MOST_PLACES:
            raise ValueError(f"buffers of {places} lines: must be at most {MOST_PLACES // len(machine.levels)} where misses are classified")
        geometry = tuple(level.cache for level in machine.levels), line, len(buffers), machine.inclusion, places
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
        self._seen = [np.zeros_like(counters) for counters in self._counters()]
        self.classes = None

    def _counters(self):
        return self._hierarchy.counts, self._hierarchy.dram, self._hierarchy.classes

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
        now = [counters.copy() for counters in self._counters()]
        if self._combining:
            now[1][:, WRITTEN] += self._combining.written
        *moved, self.classes = (after - before for after, before in zip(now, self._seen, strict=True))
        self._seen = now
        if last:
            self._hierarchy.reset()
            self._hierarchy.state[WATCHER] = NOBODY
            self._pool.append(self._hierarchy)
        return tuple(moved)


_COMPILED = Recent(512)


def compiled_for(function, arguments):
    """A kernel compiled for the types of these arguments. Numba takes longer to find those than a small layer to run: they are remembered."""
    key = function, *map(_kind, arguments)
    return _COMPILED.get(key) or _COMPILED.keep(key, compiled(function, tuple(numba.typeof(argument) for argument in arguments)))


def _kind(argument):
    """What tells the Numba type of an argument of a kernel apart from others."""
    if isinstance(argument, Static):
        return Static, int(argument)
    if isinstance(argument, tuple):
        return type(argument), *map(_kind, argument)
    return type(argument) if type(argument) is int else numba.typeof(argument)
