"""Several cores on private levels above shared ones, written anew as lists of lines; a layer and a machine for them, and each core's events."""

import itertools

import accounts
import numpy as np

from refconv.elements import element
from refconv.jit import Part
from refconv.problem.conv import Conv2d
from sim.account.layer import Cores, scheduled
from sim.hierarchy.hierarchy import Hierarchy
from sim.hierarchy.observe import Hook
from sim.machine.record import load_machine, make_level
from sim.trace.run import compiled_for
from sim.trace.traced import Trace

LEVELS = (make_level("L1", "4KiB", 4, 64), make_level("L2", "16KiB", 4, 64), make_level("L3", "128KiB", 8, 64))
MACHINE = load_machine("zen4")._replace(levels=LEVELS)
PROBLEM = Conv2d(2, 160, 17, 19, 72, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1)


class Model:
    """LRU, write-back, write-allocate caches as lists, private ones above shared ones: what sim/trace/cores.py says, written anew."""

    def __init__(self, levels, private, cores):
        self.levels, self.private = levels, private
        shared = [[[] for _ in range(level.sets)] for level in levels[private:]]
        self.sets = [[[[] for _ in range(level.sets)] for level in levels[:private]] + shared for _ in range(cores)]
        self.read, self.written = [0] * cores, [0] * cores

    def _at(self, core, level, line):
        return self.sets[core][level][line % self.levels[level].sets]

    def access(self, core, line, write, level=0, whole=False):
        """whole: a line written back from above, which needs no read."""
        if level == len(self.levels):
            if write:
                self.written[core] += 1
            else:
                self.read[core] += 1
            return
        ways = self._at(core, level, line)
        dirty = write
        if any(held == line for held, _ in ways):
            dirty |= next(d for held, d in ways if held == line)
            ways[:] = [(held, d) for held, d in ways if held != line]
            ways.insert(0, (line, dirty))
            return
        if not whole:
            self.access(core, line, False, level + 1)
        ways.insert(0, (line, dirty))
        if len(ways) > self.levels[level].ways:
            old, was_dirty = ways.pop()
            if was_dirty:
                self.access(core, old, True, level + 1, whole=True)

    def dirty(self):
        """Lines that are dirty anywhere, a private copy counted for each core that has one."""
        private = sum(len({line for sets in own[: self.private] for ways in sets for line, d in ways if d}) for own in self.sets)
        mine = {line for own in self.sets for sets in own[: self.private] for ways in sets for line, d in ways if d}
        return private + len({line for sets in self.sets[0][self.private :] for ways in sets for line, d in ways if d} - mine)


def traces(problem, tiling, cores):
    """Every core's events: its share of the units with a workspace of its own, and how many each turn takes."""
    made, schedule = [], scheduled("pointwise", problem, MACHINE, element("float32"), tiling, cores=cores)
    (call,) = schedule.calls
    buffers = list(schedule.buffers.values())
    for core in range(cores):
        turns = []
        hierarchy = Hierarchy([(1, 1)], 64, len(buffers))
        trace = Trace(hierarchy, MACHINE.vector_bytes)
        laid = [trace.buffer(*buffer) for buffer in buffers]
        hook = Hook(hierarchy, observe=lambda events, turns=turns: turns.append(events.copy()))
        share = core * call.units // cores, (core + 1) * call.units // cores
        arguments = (*call.arguments(laid), Part(core, cores, *share))
        compiled_for(call.kernel.run, arguments)(*arguments)
        hierarchy.finish()
        hook.check()
        made.append(turns)
    return made


def simulated(cores, private):
    """(account, every core's events by turn) of the layer on the machine, in units so small that each core has several turns."""
    tiling = scheduled("pointwise", PROBLEM, MACHINE, element("float32"), cores=cores).calls[0].tiling
    tiling = tiling._replace(pixels=8 * int(tiling.tile.rows))
    return accounts.simulate("pointwise", PROBLEM, MACHINE, tiling, cores=Cores(cores, private)), traces(PROBLEM, tiling, cores)


def feed(model, turns):
    """Give a model the events, a turn of each core after another."""
    for around in itertools.zip_longest(*turns, fillvalue=()):
        for core, events in enumerate(around):
            for event in np.asarray(events, np.int64).tolist():
                model.access(core, event >> 1 & (1 << 34) - 1, bool(event & 1))
