"""The cache hierarchy: its semantics, its state (words: sim/hierarchy/words.py), and the call of the loop that runs events through it
(sim/hierarchy/loops.py).

Semantics, for set-associative levels of one line size, each with a policy (sim/hierarchy/sets.py) and a way to write:
- A load hit, and a store hit, is a use of its line. A load miss loads the line from the next level, then installs it.
- A store at a level that writes back makes its line dirty there; a level that writes through stores it to the next level as well.
- A store miss at a level that allocates loads the line, as a load does, then stores; at one that does not, the store goes on to the next level.
- A line driven out is stored to the next level if it is dirty. It is whole: a level that allocates installs it without reading it from below.
- NINE (neither inclusive nor exclusive): levels do nothing else to each other. Inclusive: a line driven out of a level leaves those above it,
  too; a dirty copy there is stored to the next level, and on to that level, before it goes. Exclusive: a line is in one level only. A
  hit below the first level moves it there, dirty as it was; a line driven out moves down, clean or dirty, and out of the last one to memory if dirty.
- What a level stores to the next is counted as its write-backs, for whatever reason, a line each; memory counts them as written.
- An access that straddles lines touches each of them: one event a line.
- At the end `flush` writes every dirty line to memory once; those bytes are counted apart from evictions.
There is no prefetcher, and addresses are used as they are (no paging).
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from refconv.jit import kernel
from sim.hierarchy.loops import flush, general_loop, plain_loop
from sim.hierarchy.miss_classes import shadow_words
from sim.hierarchy.observe import NOBODY
from sim.hierarchy.sets import GEOMETRY, LANES, OWN_AT, POLICIES, START, WORDS, pointer
from sim.hierarchy.words import CHUNK, EVENTS_AT, GATHERED, HEADER, INCLUSIONS, LOOP, MOST_EVENTS, NO_PLACE

LARGE_TAGS = 1 << 17
"""A level of more tags (1 MiB of them) keeps the first chunks of all sets side by side, then the next of all sets, and so on: a layer that
fits touches neighbouring places."""


class Cache(NamedTuple):
    """A level as the hierarchy knows it; see the module's semantics. seed: of a random policy."""

    sets: int
    ways: int
    policy: str = "lru"
    write_back: bool = True
    allocate: bool = True
    seed: int = 0

    @property
    def tags(self):
        """Words that its tags take in the state: its ways in whole chunks."""
        return self.sets * -(-self.ways // LANES) * LANES

    @property
    def own_words(self):
        """Words that its policy keeps."""
        return {"plru": self.sets, "random": 1}.get(self.policy, 0)


class Hierarchy:
    """Caches [(sets, ways, ...), ...] as of Cache, nearest first, empty; all lines of line_bytes; counters for `tensors` tensors.

    state: what the compiled loop works on. counts: lines, (levels, tensors, 6), of LOADS ... FLUSHED; dram: lines, (tensors, 3), of READ,
    WRITTEN (evicted or written through) and WRITTEN_BY_FLUSH; classes: misses, (levels, tensors, 2), of FIRST and FULL
    (sim/hierarchy/miss_classes.py), where lines in memory are numbered below `places`, else 0: views of the state.
    """

    def __init__(self, levels, line_bytes, tensors, inclusion="nine", places=0):
        caches = [Cache(*level) for level in levels]
        n = len(caches)
        counts_at = len(HEADER) + GEOMETRY * n
        dram_at = counts_at + n * tensors * 6
        own_at = dram_at + tensors * 3
        classes_at = own_at + sum(cache.own_words for cache in caches)
        shadows_at = classes_at + n * tensors * 2
        events_at = _aligned(shadows_at + (n * shadow_words(places) if places else 0))
        tags_at = events_at + _aligned(CHUNK + MOST_EVENTS)
        words = tags_at + sum(cache.tags for cache in caches)
        room = np.zeros(words + LANES, np.int64)  # zero pages: a set that no line maps to costs nothing
        first = -room.ctypes.data // 8 % LANES
        self.state = room[first : first + words]
        self.line_bytes, self._caches = line_bytes, caches
        plain = not places and inclusion == "nine" and all(cache[2:5] == ("lru", True, True) for cache in caches)
        header = n, tensors, line_bytes.bit_length() - 1, 0, events_at, len(HEADER), counts_at, dram_at, tags_at
        self.state[: len(HEADER)] = *header, loop_address(plain), NOBODY, INCLUSIONS[inclusion], NO_PLACE, -1, places, classes_at, shadows_at
        for level, cache in enumerate(caches):
            mask = cache.sets - 1 if cache.sets & (cache.sets - 1) == 0 else -1
            steps = (LANES, LANES * cache.sets) if cache.tags > LARGE_TAGS else (cache.tags // cache.sets, LANES)
            words = tags_at, cache.sets, mask, cache.ways, *steps, POLICIES[cache.policy], cache.write_back, cache.allocate, own_at
            at = len(HEADER) + GEOMETRY * level
            self.state[at : at + len(words)] = words
            tags_at, own_at = tags_at + cache.tags, own_at + cache.own_words
        self.counts = self.state[counts_at:dram_at].reshape(n, tensors, 6)
        self.dram = self.state[dram_at : dram_at + tensors * 3].reshape(tensors, 3)
        self.classes = self.state[classes_at:shadows_at].reshape(n, tensors, 2)
        self._shadows = self.state[shadows_at:events_at]
        self.reset()

    def reset(self):
        """Counters back to zero, random levels to their seeds, no line seen yet. The caches are not touched: a finished run has emptied them."""
        self.counts[...], self.dram[...], self.classes[...], self._shadows[...] = 0, 0, 0, 0
        for level, cache in enumerate(self._caches):
            if cache.policy == "random":
                self.state[self.state[len(HEADER) + GEOMETRY * level + OWN_AT]] = cache.seed

    def access(self, lines, writes):
        """Run accesses: line numbers (tensor bits included) and 0 or 1 for load or store."""
        events = np.asarray(lines, np.int64) << 1 | np.asarray(writes, np.int64)
        at = self.state[EVENTS_AT]
        for first in range(0, len(events), CHUNK):
            chunk = events[first : first + CHUNK]
            self.state[at : at + len(chunk)] = chunk
            self.state[GATHERED] = len(chunk)
            run(self.state)

    def share(self, other, first):
        """The levels from `first` on become those of `other`, a hierarchy of the same caches: one set of tags, counted by whoever accesses it."""
        words = (other.state.ctypes.data - self.state.ctypes.data) // 8
        for level in range(first, len(self._caches)):
            for what in (START, OWN_AT):
                at = len(HEADER) + GEOMETRY * level + what
                self.state[at] = other.state[at] + words  # the other's place, seen from here

    def gathered(self):
        """The events that the next `run` takes: a view of the state."""
        at = self.state[EVENTS_AT]
        return self.state[at : at + self.state[GATHERED]]

    def keep(self, events):
        """Of those, only that many, from the first on, are run."""
        self.state[GATHERED] = events

    def finish(self):
        """Run the events still gathered, then write every dirty line to memory; the caches are empty afterwards."""
        run(self.state)
        flush(self.state, 0, len(self._caches))


def _aligned(words):
    return -(-words // LANES) * LANES


@functools.cache
def loop_address(plain):
    """The address of the access loop: `plain` for hierarchies that are LRU, write-back, write-allocate and NINE throughout, else the general one.

    An address is data: a traced kernel calls the loop its state names, is not compiled anew for another one, and links neither.
    """
    function, signature = plain_loop if plain else general_loop, (WORDS,)
    function.compile(signature)
    made = function.overloads[signature]
    return made.library.get_pointer_to_function(made.fndesc.llvm_func_name)


@intrinsic
def call_loop(typing_context, address, m):
    """Call a compiled function of the state by its address."""

    def codegen(context, builder, signature, args):
        convention = context.call_conv
        function = builder.inttoptr(args[0], convention.get_function_type(types.none, (WORDS,)).as_pointer())
        convention.call_function(builder, function, types.none, (WORDS,), [args[1]])
        return context.get_dummy_value()

    return types.none(types.int64, WORDS), codegen


@kernel
def run(m):
    """Send the gathered events through the hierarchy."""
    call_loop(m[LOOP], pointer(m))
