"""The cache hierarchy: its semantics, its words (sim/hierarchy/words.py), and the call of the loop that runs events through it.

Semantics, for set-associative levels, each with a policy (sim/hierarchy/sets.py) and a way to write:
- A load hit, and a store hit, is a use of its line. A load miss loads the line from the next level, then installs it.
- A store at a level that writes back makes its line dirty there; a level that writes through stores it to the next level as well.
- A store miss at a level that allocates loads the line, as a load does, then stores; at one that does not, the store goes on to the next level.
- A line driven out is stored to the next level if it is dirty. It is whole: a level that allocates installs it without reading it from below.
- NINE (neither inclusive nor exclusive): levels do nothing else to each other. Inclusive: a line driven out of a level leaves those above it,
  too; a dirty copy there is stored to the next level, and on to that level, before it goes. Exclusive: a line is in one level only. A
  hit below the first level moves it there, dirty as it was; a line driven out moves down, clean or dirty, and out of the last one to memory if dirty.
- A level's lines are as long as those of the level above it, or longer. What a level loads or stores is a line of its own: at a level whose
  lines are longer it is an access to the line that it is a part of. A part that is stored is not the whole line, which on a miss is loaded
  first; so such a level has to write back and to allocate. Inclusive: a line driven out takes all its parts from the levels above. Exclusive:
  a line cannot move into one of another size, so that all have to be alike.
- What a level stores to the next is counted as its write-backs, for whatever reason, a line each; memory counts them as written.
- An access that straddles lines touches each of them: one event a line.
- At the end `flush` writes every dirty line to memory once, counted at the first level that holds it dirty; a line that is a part of a longer
  one, held by a level below that writes back, is written as a part of that and counted there. Those bytes are counted apart from evictions.
There is no prefetcher, and addresses are used as they are (no paging).
"""

import functools

import numpy as np
from numba import types
from numba.extending import intrinsic

from refconv.jit import kernel
from sim.hierarchy.long_lines import long_lines_loop
from sim.hierarchy.loops import flush, general_loop, plain_loop, plain_shared_loop
from sim.hierarchy.miss_classes import CLASSES, twin_words
from sim.hierarchy.observe import NOBODY
from sim.hierarchy.sets import LANES
from sim.hierarchy.words import (
    CHUNK,
    HEADER,
    HEADER_WORDS,
    KINDS,
    LEVEL,
    LEVEL_WORDS,
    MEMORY_KINDS,
    MOST_EVENTS,
    NO_PLACE,
    WORDS,
    Header,
    LevelWords,
    pointer,
)
from sim.machine.level import INCLUSIONS, POLICIES, Cache

LARGE_TAGS = 1 << 17
"""A level of more tags (1 MiB of them) keeps the first chunks of all sets side by side, then the next of all sets, and so on: a layer that
fits touches neighbouring places."""


class Hierarchy:
    """Caches [(sets, ways, ...), ...] as of sim.machine.level.Cache, nearest first, empty; counters for `tensors` tensors.

    line_bytes: of the first level's lines, the units of the trace. words: what compiled code works on. Views of them, int64: counts, (levels,
    tensors, 6), of COUNTERS; dram: units, (tensors, 3), of MEMORY_COUNTERS; classes: misses, (levels, tensors, 2), of FIRST and FULL
    (sim/hierarchy/miss_classes.py), where units in memory are numbered below `places`, else 0.
    """

    def __init__(self, levels, line_bytes, tensors, inclusion="nine", places=0):
        self._caches, self.line_bytes, n = [Cache(*level) for level in levels], line_bytes, len(levels)
        policies = [policy_words(cache) for cache in self._caches]
        twins = [twin_words(-(-places // cache.units)) if places else 0 for cache in self._caches]
        sizes = {
            "header": HEADER_WORDS,
            "levels": LEVEL_WORDS * n,
            "counts": n * tensors * KINDS,
            "memory": tensors * MEMORY_KINDS,
            "classes": n * tensors * CLASSES,
            "policies": sum(policies),
            "twins": sum(twins),
            "events": CHUNK + MOST_EVENTS,
            "tags": sum(cache.tags for cache in self._caches),
        }
        at, words = {}, 0
        for name, size in sizes.items():
            at[name], words = words, words + -(-size // LANES) * LANES
        room = np.zeros(words + LANES, np.int64)  # zero pages: a set that no line maps to costs nothing
        first = -room.ctypes.data // 8 % LANES
        self.words = room[first : first + words]
        self.words[: len(HEADER)] = Header(
            levels=n,
            tensors=tensors,
            unit_shift=_log2(line_bytes),
            longest_shift=_log2(self._caches[-1].units),
            inclusion=INCLUSIONS.index(inclusion),
            loop=loop_address(self._loop(inclusion, places)),
            hook=NOBODY,
            gathered=0,
            events_at=at["events"],
            levels_at=at["levels"],
            counts_at=at["counts"],
            memory_at=at["memory"],
            classes_at=at["classes"],
            tags_at=at["tags"],
            places=places,
            lowest=NO_PLACE,
            highest=-1,
            private=n,
            own_address=self.words.ctypes.data,
            owners=0,
        )
        tags_at, policy_at, twin_at = at["tags"], at["policies"], at["twins"]
        for level, cache in enumerate(self._caches):
            self._words_of(level)[:] = LevelWords(
                tags_at=tags_at,
                sets=cache.sets,
                mask=cache.sets - 1 if cache.sets & (cache.sets - 1) == 0 else -1,
                ways=cache.ways,
                set_step=LANES if cache.tags > LARGE_TAGS else cache.tags // cache.sets,
                chunk_step=LANES * cache.sets if cache.tags > LARGE_TAGS else LANES,
                policy=POLICIES.index(cache.policy),
                write_back=cache.write_back,
                allocate=cache.allocate,
                policy_at=policy_at,
                twin=self.words.ctypes.data + 8 * twin_at,
                line_shift=_log2(cache.units),
            )
            tags_at, policy_at, twin_at = tags_at + cache.tags, policy_at + policies[level], twin_at + twins[level]
        view = lambda name: self.words[at[name] : at[name] + sizes[name]]
        self.counts, self.dram = view("counts").reshape(n, tensors, KINDS), view("memory").reshape(tensors, MEMORY_KINDS)
        self.classes, self._twins, self._lower = view("classes").reshape(n, tensors, CLASSES), view("twins"), None
        self.reset()

    def _loop(self, inclusion, places, shared=False):
        """The access loop that does no more than these caches need."""
        if any(cache.units > 1 for cache in self._caches):
            return long_lines_loop
        if places or inclusion != "nine" or any(cache[2:5] != ("lru", True, True) for cache in self._caches):
            return general_loop
        return plain_shared_loop if shared else plain_loop

    def _words_of(self, level):
        at = self.words[HEADER.levels_at] + LEVEL_WORDS * level
        return self.words[at : at + LEVEL_WORDS]

    def reset(self):
        """Counters back to zero, random levels to their seeds, no line seen yet. The caches are not touched: a finished run has emptied them."""
        self.counts[...], self.dram[...], self.classes[...], self._twins[...] = 0, 0, 0, 0
        for level, cache in enumerate(self._caches):
            if cache.policy == "random":
                self.words[self._words_of(level)[LEVEL.policy_at]] = cache.seed

    def access(self, lines, writes):
        """Run accesses: line numbers (tensor bits included) and 0 or 1 for load or store."""
        events = np.asarray(lines, np.int64) << 1 | np.asarray(writes, np.int64)
        at = self.words[HEADER.events_at]
        for first in range(0, len(events), CHUNK):
            chunk = events[first : first + CHUNK]
            self.words[at : at + len(chunk)] = chunk
            self.words[HEADER.gathered] = len(chunk)
            run(self.words)

    def join(self, first, private, owners):
        """Make this the hierarchy of one of several cores, which share the levels from `private` on: those of `first`, which has the same caches.

        Each core counts what it accesses; but bytes written to memory from a shared level are counted by the core that last stored in that line,
        which owners, int64, zero, as many as there are lines of the last level in memory, keeps for all cores.
        """
        private = min(private, len(self._caches))
        distance = (first.words.ctypes.data - self.words.ctypes.data) // 8
        for level in range(private, len(self._caches)):
            own, other = self._words_of(level), first._words_of(level)
            own[LEVEL.tags_at], own[LEVEL.policy_at] = other[LEVEL.tags_at] + distance, other[LEVEL.policy_at] + distance  # seen from here
            own[LEVEL.twin] = other[LEVEL.twin]
        loop = self._loop(INCLUSIONS[self.words[HEADER.inclusion]], self.words[HEADER.places], shared=True)
        self.words[HEADER.loop], self.words[HEADER.private], self.words[HEADER.owners] = loop_address(loop), private, owners.ctypes.data
        self._lower = first, owners  # kept alive

    def gathered(self):
        """The events that the next `run` takes: a view of the words."""
        at = self.words[HEADER.events_at]
        return self.words[at : at + self.words[HEADER.gathered]]

    def keep(self, events):
        """Of the gathered events keep only the first, `events` of them."""
        self.words[HEADER.gathered] = events

    def finish(self):
        """Run the events still gathered, then write every dirty line to memory; the caches are empty afterwards."""
        run(self.words)
        flush(self.words, 0, len(self._caches))


def flush_cores(hierarchies):
    """Write every dirty line of hierarchies that have joined the first to memory: each core's own levels first, then those they share.

    A line read from memory by one core may be dirty in another: all are searched wherever any has read.
    """
    low, high = min(h.words[HEADER.lowest] for h in hierarchies), max(h.words[HEADER.highest] for h in hierarchies)
    levels, private = (hierarchies[0].words[word] for word in (HEADER.levels, HEADER.private))
    for hierarchy, first, last in [(h, 0, private) for h in hierarchies] + [(hierarchies[0], private, levels)]:
        hierarchy.words[HEADER.lowest], hierarchy.words[HEADER.highest] = low, high
        flush(hierarchy.words, first, last)


def policy_words(cache):
    """Words that a Cache's policy keeps."""
    return {"plru": cache.sets, "random": 1}.get(cache.policy, 0)


def _log2(power):
    return power.bit_length() - 1


@functools.cache
def loop_address(loop):
    """The address of an access loop.

    An address is data: a traced kernel calls the loop that its hierarchy's words name, is not compiled again for another, and linked with none.
    """
    signature = (WORDS,)
    loop.compile(signature)
    made = loop.overloads[signature]
    return made.library.get_pointer_to_function(made.fndesc.llvm_func_name)


@intrinsic
def call_loop(typing_context, address, m):
    """Call a compiled function of the words by its address."""

    def codegen(context, builder, signature, args):
        convention = context.call_conv
        function = builder.inttoptr(args[0], convention.get_function_type(types.none, (WORDS,)).as_pointer())
        convention.call_function(builder, function, types.none, (WORDS,), [args[1]])
        return context.get_dummy_value()

    return types.none(types.int64, WORDS), codegen


@kernel
def run(words):
    """Send the gathered events through the hierarchy."""
    m = pointer(words)
    call_loop(m[HEADER.loop], m)
