"""Several cores: each runs its part of a kernel's units on levels of its own, above levels that all share.

The split is the one `refconv` computes with on as many threads: contiguous parts of the units, a workspace each. The cores take turns in
accessing their caches, a turn being the accesses that a traced buffer gathers (sim.hierarchy.words.CHUNK and a few): the same order each time.
Nothing keeps the private levels coherent: units store elements of their own, and a line at the seam of two units, which both store, is written
by both.
"""

import threading

PRIVATE = 2
"""Levels that a core has of its own, the nearest, unless told otherwise."""
MOST_CORES = 256


class Turns:
    """Whose turn it is: each core's in order, those that are done left out."""

    def __init__(self, cores):
        self._condition, self._waiting, self._now, self._has_turn = threading.Condition(), list(range(cores)), 0, [False] * cores

    def next_turn(self, core):
        """A core has something to run: its turn, if it has one, ends, and it waits for the next."""
        if self._has_turn[core]:
            self._end(core, done=False)
        self._wait(core)

    def done(self, core):
        """A core will take no turn any more."""
        if not self._has_turn[core]:
            self._wait(core)
        self._end(core, done=True)

    def _wait(self, core):
        with self._condition:
            self._condition.wait_for(lambda: self._waiting[self._now] == core)
        self._has_turn[core] = True

    def _end(self, core, done):
        with self._condition:
            self._has_turn[core] = False
            if done:
                del self._waiting[self._now]
            else:
                self._now += 1
            self._now = self._now % len(self._waiting) if self._waiting else 0
            self._condition.notify_all()


def check_cores(cores, private, machine):
    """ValueError unless a machine can be simulated with that many cores, that many of its levels being each core's own."""
    if isinstance(cores, bool) or not isinstance(cores, int) or not 1 <= cores <= MOST_CORES:
        raise ValueError(f"cores = {cores!r}: must be an integer from 1 to {MOST_CORES}")
    if isinstance(private, bool) or not isinstance(private, int) or private < 1:
        raise ValueError(f"private = {private!r}: must be an integer from 1, the levels that a core has of its own")
    if cores > 1 and machine.inclusion != "nine":
        raise ValueError(f"cores = {cores}: must be 1 where the hierarchy is {machine.inclusion}: only nine levels can be shared")
