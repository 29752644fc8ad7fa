"""Several cores: each runs its share of a kernel's units on levels of its own, above levels that all share.

The split is the one `refconv` computes with on as many threads: contiguous shares of the units, a workspace each. The cores take turns in
accessing their caches, a turn being the accesses that a traced buffer gathers (sim.state.CHUNK and a few): the same order each time. Nothing keeps
the private levels coherent: units store elements of their own, and a line at the seam of two units, which both store, is written by both.
"""

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from refconv.jit import Part
from sim.hierarchy.hierarchy import Hierarchy, run
from sim.hierarchy.loops import flush
from sim.hierarchy.observe import NOBODY
from sim.hierarchy.words import HIGH, LOW, NO_PLACE, WATCHER
from sim.trace.run import compiled_for
from sim.trace.traced import Trace

PRIVATE = 2
"""Levels that a core has of its own, the nearest, unless told otherwise."""
MOST_CORES = 256


class Turns:
    """Whose turn it is: each core's in order, those that are done left out."""

    def __init__(self, cores):
        self._condition, self._waiting, self._now = threading.Condition(), list(range(cores)), 0

    def take(self, core):
        """Wait for the turn of a core."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting[self._now] == core)

    def give(self, done=False):
        """End the turn that is; done: this core will take no other."""
        with self._condition:
            if done:
                del self._waiting[self._now]
            else:
                self._now += 1
            self._now = self._now % len(self._waiting) if self._waiting else 0
            self._condition.notify_all()


class Core:
    """One core's hierarchy and buffers. Its events are run in its turns only."""

    def __init__(self, number, turns, machine, buffers, first, private):
        self.number, self._turns, self._has_turn = number, turns, False
        self.hierarchy = Hierarchy(tuple(level.cache for level in machine.levels), machine.line_bytes, len(buffers), machine.inclusion)
        if first is not None:
            self.hierarchy.share(first.hierarchy, private)
        self._function = ctypes.CFUNCTYPE(None)(self._next_turn)
        self.hierarchy.state[WATCHER] = ctypes.cast(self._function, ctypes.c_void_p).value
        trace = Trace(self.hierarchy, machine.vector_bytes)
        self.buffers = [trace.buffer(*buffer) for buffer in buffers]

    def _next_turn(self):
        if self._has_turn:
            self._turns.give()
        self._turns.take(self.number)
        self._has_turn = True

    def run(self, function, *arguments):
        """Call a kernel on this core's buffers, to its last event."""
        try:
            compiled_for(function, arguments)(*arguments)
            self._next_turn()
            self.hierarchy.state[WATCHER] = NOBODY
            run(self.hierarchy.state)
        finally:
            if not self._has_turn:
                self._turns.take(self.number)
            self._turns.give(done=True)


def check_cores(cores, private, machine):
    """ValueError unless a machine can be simulated with that many cores, that many of its levels being each core's own."""
    if isinstance(cores, bool) or not isinstance(cores, int) or not 1 <= cores <= MOST_CORES:
        raise ValueError(f"cores = {cores!r}: must be an integer from 1 to {MOST_CORES}")
    if isinstance(private, bool) or not isinstance(private, int) or private < 1:
        raise ValueError(f"private = {private!r}: must be an integer from 1, the levels that a core has of its own")
    if cores > 1 and machine.inclusion != "nine":
        raise ValueError(f"cores = {cores}: must be 1 where the hierarchy is {machine.inclusion}: only nine levels can be shared")


def run_on_cores(row, problem, tiling, operands, buffers, machine, cores, private=PRIVATE):
    """Run a kernel of refconv's tables on several cores; [(counts, dram) of each core], in lines as of sim.cache.Hierarchy.

    buffers: [(name, elements, itemsize)], of which the first `operands` are those of the kernel, the others its workspace for all cores. Dirty
    lines are flushed at the end: each core's own first, then what is shared, counted with the first core.
    """
    units, turns = row.units(problem, tiling), Turns(cores)
    made = []
    for number in range(cores):
        made.append(Core(number, turns, machine, buffers, made[0] if made else None, private))
    calls = []
    for core in made:
        part = Part(core.number, cores, core.number * units // cores, (core.number + 1) * units // cores)
        (*inputs, out), work = core.buffers[:operands], core.buffers[operands:]
        buffers_of_work = type(row.workspace(problem, tiling, 1, False))._make(work)
        calls.append((row.run, row.operands._make(inputs), out, buffers_of_work, problem, tiling, part))
    compiled_for(calls[0][0], calls[0][1:])
    with ThreadPoolExecutor(cores) as pool:
        for done in [pool.submit(core.run, *call) for core, call in zip(made, calls, strict=True)]:
            done.result()
    _flush([core.hierarchy for core in made], private, len(machine.levels))
    return [(core.hierarchy.counts.copy(), core.hierarchy.dram.copy()) for core in made]


def _flush(hierarchies, private, levels):
    """A line read from memory by one core may be dirty in another: all look where any has been."""
    low, high = min(h.state[LOW] for h in hierarchies), max(h.state[HIGH] for h in hierarchies)
    parts = [(h, 0, min(private, levels)) for h in hierarchies] + [(hierarchies[0], private, levels)]
    for hierarchy, first, last in parts:
        hierarchy.state[LOW], hierarchy.state[HIGH] = low, high
        flush(hierarchy.state, first, last)
    assert all(h.state[LOW] == NO_PLACE for h in hierarchies)


def summed(results):
    """(counts, dram) of all cores together."""
    return tuple(np.sum([result[i] for result in results], axis=0) for i in range(2))
