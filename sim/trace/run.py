"""One simulated run: buffers in memory, a cache hierarchy under them for each core, and what kernels called on them have moved."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from refconv.jit import compiled, part_of
from refconv.recent import Recent
from refconv.static import Static
from sim.hierarchy.hierarchy import Hierarchy, flush_cores, run
from sim.hierarchy.loops import hand_over
from sim.hierarchy.observe import Hook, observer_of
from sim.hierarchy.words import TENSOR_BITS, WRITTEN, units_of, whole_lines
from sim.trace.cores import PRIVATE, Turns, check_cores
from sim.trace.nontemporal import NONTEMPORAL, TEMPORAL, WriteCombining, check_stores
from sim.trace.traced import Trace, Traced

MOST_PLACES = 1 << 27
"""Lines times levels whose misses can be classified, 24 bytes each; lines that cores can share, 8 bytes each."""


@functools.lru_cache(maxsize=8)
def _idle(caches, line_bytes, tensors, inclusion, places):
    """Hierarchies of this geometry that no run is using: their pages are mapped already, which takes longer than a small layer."""
    return []


class Core:
    """One core of a run: a hierarchy, the buffers as it accesses them, and what is done with its events before they are run.

    outputs: numbers of the buffers that are stored past the caches; turn: see sim/hierarchy/observe.py.
    """

    def __init__(self, hierarchy, machine, buffers, overlaid, outputs, turn, observe):
        self.hierarchy = hierarchy
        self._combining = WriteCombining(outputs, len(buffers) + len(overlaid), machine.line_bytes) if outputs else None
        self.hook = Hook(hierarchy, turn, self._combining and self._combining.take, observe)
        trace = Trace(hierarchy, machine.vector_bytes, machine.levels[-1].line_bytes)
        self.buffers = [trace.buffer(*buffer) for buffer in buffers]
        self.buffers += [trace.overlay(self.buffers[0], *buffer) for buffer in overlaid]
        self._seen = [np.zeros_like(counters) for counters in self._counters()]

    def _counters(self):
        return self.hierarchy.counts, self.hierarchy.dram, self.hierarchy.classes

    def moved(self):
        """[counts, dram, classes], as of Hierarchy, since this was asked before."""
        now = [counters.copy() for counters in self._counters()]
        if self._combining:
            now[1][:, WRITTEN] += self._combining.written
        moved = [after - before for after, before in zip(now, self._seen, strict=True)]
        self._seen = now
        return moved


class Run:
    """Traced buffers [(name, elements, itemsize)], side by side in the memory of a machine whose caches are empty; `buffers` has them in order.

    overlaid: [(name, elements, itemsize, at)] of buffers that lie in the memory of the first, from its byte `at` on, a line of the last level;
    `buffers` has them after the others. Those that lie in one place at different times take turns by `hand_over`.
    stores: how buffers named "output" are stored, of sim.trace.nontemporal.STORES. classify: `classes` are then the misses, as of Hierarchy, of
    what `moved` has last returned. cores, private: so many cores, each with the first `private` levels of its own (sim/trace/cores.py);
    `per_core` are then the counts of each, [(counts, dram), ...]. A core's DRAM bytes written are those that it has stored, whoever drove them
    out of a level that is shared; what it reads first is there for the others. ValueError says what is illegal, also of a run that is over.
    """

    def __init__(self, machine, buffers, stores=TEMPORAL, classify=False, cores=1, private=PRIVATE, overlaid=()):
        check_stores(stores)
        check_cores(cores, private, machine)
        places = units_of(buffers, machine.line_bytes, machine.levels[-1].line_bytes) + 1
        if classify and places * len(machine.levels) > MOST_PLACES:
            raise ValueError(f"buffers of {places} lines: must be at most {MOST_PLACES // len(machine.levels)} where misses are classified")
        if cores > 1 and places > MOST_PLACES:
            raise ValueError(f"buffers of {places} lines: must be at most {MOST_PLACES} on several cores")
        geometry = machine.caches, machine.line_bytes, len(buffers) + len(overlaid), machine.inclusion, places if classify else 0
        self._pool = _idle(*geometry) if cores == 1 else None
        hierarchies = [self._pool.pop() if self._pool else Hierarchy(*geometry) for _ in range(cores)]
        if cores > 1:
            owners = np.zeros(-(-places // machine.caches[-1].units), np.int64)
            for hierarchy in hierarchies:
                hierarchy.join(hierarchies[0], private, owners)
        outputs = [i for i, (name, *_) in enumerate(buffers) if name == "output"] if stores == NONTEMPORAL else []
        observe, self._turns = observer_of([*buffers, *(buffer[:3] for buffer in overlaid)], machine.line_bytes), None
        turns = [functools.partial(self._next_turn, i) if cores > 1 else None for i in range(cores)]
        self._longest = machine.levels[-1].line_bytes
        self._cores = [Core(h, machine, buffers, overlaid, outputs, turn, observe) for h, turn in zip(hierarchies, turns, strict=True)]
        self.buffers, self.classes, self.per_core = self._cores[0].buffers, None, None

    def _next_turn(self, core):
        if self._turns:
            self._turns.next_turn(core)

    def _check_open(self):
        if not self._cores:
            raise ValueError("this run is over: moved(last=True) has been asked; legal: a new Run")

    def call(self, function, *arguments):
        """Call a kernel on `buffers`, on one core; what it moves is counted by the next `moved`."""
        self._check_open()
        if len(self._cores) > 1:
            raise ValueError(f"a run on {len(self._cores)} cores: must be called by call_split, which says what each of them does")
        self._check_own(self._cores[0], arguments)
        compiled_for(function, arguments)(*arguments)

    def stream(self, events):
        """Access lines, events as of sim/hierarchy/words.py, on one core: what no kernel does. The next `moved` counts them."""
        self._check_open()
        if len(self._cores) > 1:
            raise ValueError(f"a run on {len(self._cores)} cores: must be of one core to be streamed")
        hierarchy = self._cores[0].hierarchy
        run(hierarchy.words)
        hierarchy.access(events >> 1, events & 1)

    def hand_over(self, number):
        """The memory of buffer `number` is its own from now on: what caches still hold of a buffer that lay there is counted as its."""
        self._check_open()
        for core in self._cores:
            run(core.hierarchy.words)
            buffer, line = core.buffers[number], core.hierarchy.line_bytes
            units = whole_lines(buffer.size * int(buffer.itemsize), self._longest) // line
            hand_over(core.hierarchy.words, (buffer.address & (1 << TENSOR_BITS) - 1) // line, units, number)

    def call_split(self, function, arguments, units):
        """Call a kernel of refconv's tables, its units in contiguous parts, one for each core.

        arguments: a function of a core's buffers, like `buffers`, that returns the kernel's arguments up to its tiling.
        """
        self._check_open()
        n = len(self._cores)
        calls = [(*arguments(core.buffers), part_of(i, n, units)) for i, core in enumerate(self._cores)]
        if n == 1:
            self.call(function, *calls[0])
            return
        for core, call in zip(self._cores, calls, strict=True):
            self._check_own(core, call)
        entry, self._turns = compiled_for(function, calls[0]), Turns(n)
        try:
            with ThreadPoolExecutor(n) as pool:
                for done in [pool.submit(self._run_part, i, entry, call) for i, call in enumerate(calls)]:
                    done.result()
        finally:
            self._turns = None

    def _run_part(self, core, entry, call):
        """What one core does, to its last event."""
        try:
            entry(*call)
            run(self._cores[core].hierarchy.words)
        finally:
            self._turns.done(core)

    def _check_own(self, core, arguments):
        """ValueError for a buffer of another run: it holds the address of that run's words, which its accesses would change, or which are gone."""
        for argument in arguments:
            if isinstance(argument, Traced):
                if argument.words != core.hierarchy.words.ctypes.data:
                    raise ValueError("a traced buffer of another run or core: must be one of this run's `buffers`")
            elif isinstance(argument, tuple):
                self._check_own(core, argument)

    def moved(self, last=False):
        """(counts, dram), as of Hierarchy, since this was asked before. last: dirty lines are flushed and counted, the run is over."""
        self._check_open()
        cores, hierarchies = self._cores, [core.hierarchy for core in self._cores]
        for hierarchy in hierarchies:
            run(hierarchy.words)
        if last:
            self._cores = ()
            flush_cores(hierarchies)
        for core in cores:
            core.hook.check()
        moved = [core.moved() for core in cores]
        self.per_core = [(counts, dram) for counts, dram, _ in moved]
        counts, dram, self.classes = (sum(of_kind) for of_kind in zip(*moved, strict=True))
        if last and self._pool is not None:
            cores[0].hook.remove()
            cores[0].hierarchy.reset()
            self._pool.append(cores[0].hierarchy)
        return counts, dram


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
