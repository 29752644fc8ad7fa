"""The cache hierarchy: its state, and ONE loop that runs a chunk of accesses through it.

Semantics, for set-associative levels of one line size, each with a policy (sim/sets.py) and a way to write:
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

from refconv.jit import kernel, routine
from sim.sets import (
    ABSENT,
    ALLOCATE,
    GEOMETRY,
    LANES,
    MASK,
    OWN_AT,
    PLRU,
    POLICIES,
    POLICY,
    SET_STEP,
    SETS,
    START,
    WAYS,
    WORDS,
    WRITE_BACK,
    chunk_of,
    clear,
    dirty_ones,
    find,
    in_order,
    install,
    lowest,
    move_to_front,
    pointer,
    push,
    set_of,
    take_out,
    touch,
    way_at,
)
from sim.shadow import look, shadow_words
from sim.watch import NOBODY, call

TENSOR_BITS = 40
"""An address is tensor << TENSOR_BITS | place in memory: the line tells the tensor it belongs to, the place its set."""
LOADS, STORES, LOAD_MISSES, STORE_MISSES, WRITEBACKS, FLUSHED = range(6)
READ, WRITTEN, WRITTEN_BY_FLUSH = range(3)
CHUNK = 1 << 15
"""Events gathered before they are run through the caches: 256 KiB, so that they stay in the real L2."""
MOST_EVENTS = 1 << 14
"""More than one instruction notes: a tile has at most 28 rows of 4 vectors of 32 elements."""
INCLUSIONS = {"nine": 0, "inclusive": 1, "exclusive": 2}
NINE, INCLUSIVE, EXCLUSIVE = INCLUSIONS.values()

# The state is one flat int64 array, so that a traced buffer is one pointer wide: a header, the levels' geometry, the counters, what
# policies keep, the events, the tags. An event is line << 1 | is_store; a tag two more, so that 0 is none.
HEADER = range(17)
LEVELS, TENSORS, SHIFT, GATHERED, EVENTS_AT, LEVELS_AT, COUNTS_AT, DRAM_AT, TAGS_AT, LOOP, WATCHER, INCLUSION, LOW, HIGH, *_SHADOW = HEADER
PLACES, CLASSES_AT, SHADOWS_AT = _SHADOW
TAG = 2
LARGE_TAGS = 1 << 17
"""A level of more tags (1 MiB of them) keeps the first chunks of all sets side by side, then the next of all sets, and so on: a layer that
fits touches neighbouring places."""
NO_PLACE = 1 << 62


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
    WRITTEN (evicted or written through) and WRITTEN_BY_FLUSH; classes: misses, (levels, tensors, 2), of FIRST and FULL (sim/shadow.py), where
    lines in memory are numbered below `places`, else 0: views of the state.
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
        flush(self.state)


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


@routine
def geometry(m, level):
    """Where in the state the words of a level are."""
    return m[LEVELS_AT] + GEOMETRY * level


@routine
def tensor_of(m, tag):
    """The tensor that the line of a tag belongs to."""
    return tag - TAG >> TENSOR_BITS - m[SHIFT] + 1


@routine
def place_of(m, tag):
    """The line number in memory of a tag, without tensor bits."""
    return (tag - TAG >> 1) & (1 << TENSOR_BITS - m[SHIFT]) - 1


@routine
def count(m, level, tensor, kind):
    """One more line in a counter of a level."""
    m[m[COUNTS_AT] + (level * m[TENSORS] + tensor) * 6 + kind] += 1


@routine
def count_dram(m, tensor, kind):
    """One more line read from or written to memory."""
    m[m[DRAM_AT] + tensor * 3 + kind] += 1


@routine
def arrive(m, level, tag, tensor, kind, general):
    """A load or store (kind) comes to a level."""
    count(m, level, tensor, kind)
    if general and m[PLACES] != 0:
        g = geometry(m, level)
        at, classes = m[SHADOWS_AT] + level * shadow_words(m[PLACES]), m[CLASSES_AT] + (level * m[TENSORS] + tensor) * 2
        look(m, at, m[PLACES], m[g + SETS] * m[g + WAYS], place_of(m, tag), kind == LOADS or m[g + ALLOCATE] != 0, classes)


@routine
def back_invalidate(m, level, tag):
    """Take a line that `level` has driven out from the levels above, a dirty copy being stored down to `level`; returns the tag."""
    dirty, changed, tensor = tag & 1, 0, tensor_of(m, tag)
    for above in range(level):
        g = geometry(m, above)
        i = set_of(m, g, place_of(m, tag))
        way = find(m, g, i, tag | 1, in_order(m, g))
        if way != ABSENT:
            changed |= take_out(m, g, i, way) & 1
        if changed:
            count(m, above, tensor, WRITEBACKS)
            arrive(m, above + 1, tag, tensor, STORES, True)
    return tag | dirty | changed


@routine
def evict(m, level, tag, general):
    """`level` has driven out a tag: store it to the levels below, as far as that drives out further ones that have to be stored."""
    levels, exclusive = m[LEVELS], general and m[INCLUSION] == EXCLUSIVE
    while tag & 1 or (exclusive and tag != 0 and level + 1 < levels):
        tensor = tensor_of(m, tag)
        count(m, level, tensor, WRITEBACKS)
        level += 1
        if level == levels:
            count_dram(m, tensor, WRITTEN)
            return
        arrive(m, level, tag, tensor, STORES, general)
        g = geometry(m, level)
        i = set_of(m, g, place_of(m, tag))
        way = find(m, g, i, tag | 1, not general or in_order(m, g))
        if not general:
            if way != ABSENT:
                move_to_front(m, g, i, way, 1)
                return
            count(m, level, tensor, STORE_MISSES)
            tag = push(m, g, i, tag)
        elif way != ABSENT:
            touch(m, g, i, way, m[g + WRITE_BACK])
            if m[g + WRITE_BACK]:
                return
        else:
            count(m, level, tensor, STORE_MISSES)
            if m[g + ALLOCATE]:
                if m[g + WRITE_BACK]:
                    tag = install(m, g, i, tag)
                else:
                    install(m, g, i, tag & ~1)  # it drives out nothing dirty


@routine
def fetch(m, first, tag, general):
    """The line misses level `first`: load it from where it is into that level, with the dirty bit of `tag`, and into every level between."""
    level, levels, exclusive = first + 1, m[LEVELS], general and m[INCLUSION] == EXCLUSIVE
    place, tensor = place_of(m, tag), tensor_of(m, tag)
    while level < levels:
        arrive(m, level, tag, tensor, LOADS, general)
        g = geometry(m, level)
        i = set_of(m, g, place)
        way = find(m, g, i, tag | 1, not general or in_order(m, g))
        if way != ABSENT:
            if not general:
                move_to_front(m, g, i, way, 0)
            elif exclusive:
                tag |= take_out(m, g, i, way)
            else:
                touch(m, g, i, way, 0)
            break
        count(m, level, tensor, LOAD_MISSES)
        level += 1
    if level == levels:
        count_dram(m, tensor, READ)
        m[LOW], m[HIGH] = min(m[LOW], place), max(m[HIGH], place)
    for at in range(first if exclusive else level - 1, first - 1, -1):
        g = geometry(m, at)
        new = tag if at == first else tag & ~1
        if general:
            victim = install(m, g, set_of(m, g, place), new)
            if m[INCLUSION] == INCLUSIVE and victim != 0:
                victim = back_invalidate(m, at, victim)
        else:
            victim = push(m, g, set_of(m, g, place), new)
        evict(m, at, victim, general)


@routine
def load(m, tag):
    """A load arrives at the first level."""
    tensor = tensor_of(m, tag)
    arrive(m, 0, tag, tensor, LOADS, True)
    g = geometry(m, 0)
    i = set_of(m, g, place_of(m, tag))
    way = find(m, g, i, tag | 1, in_order(m, g))
    if way != ABSENT:
        touch(m, g, i, way, 0)
    else:
        count(m, 0, tensor, LOAD_MISSES)
        fetch(m, 0, tag, True)


@routine
def store(m, tag):
    """A store arrives at the first level, and goes on until a level that writes back has it."""
    tensor = tensor_of(m, tag)
    for level in range(m[LEVELS]):
        arrive(m, level, tag, tensor, STORES, True)
        g = geometry(m, level)
        i = set_of(m, g, place_of(m, tag))
        way = find(m, g, i, tag | 1, in_order(m, g))
        if way == ABSENT:
            count(m, level, tensor, STORE_MISSES)
            if m[g + ALLOCATE]:
                fetch(m, level, tag, True)
                way = find(m, g, i, tag | 1, in_order(m, g))
        if way != ABSENT:
            touch(m, g, i, way, m[g + WRITE_BACK])
            if m[g + WRITE_BACK]:
                return
        count(m, level, tensor, WRITEBACKS)
    count_dram(m, tensor, WRITTEN)


@routine
def show(m):
    """Who watches (sim/watch.py) sees the gathered events before they are run, and may leave fewer."""
    if m[WATCHER] != NOBODY:
        call(m[WATCHER])


@kernel
def plain_loop(m):
    """The access loop of hierarchies of which every level is LRU, write-back and write-allocate, and that are NINE."""
    show(m)
    g, counts, shift = geometry(m, 0), m[COUNTS_AT], TENSOR_BITS - m[SHIFT] + 1
    mask, start, step = m[g + MASK], m[g + START], m[g + SET_STEP]
    for e in range(m[EVENTS_AT], m[EVENTS_AT] + m[GATHERED]):
        tag = m[e] + TAG
        write = tag & 1
        kind = counts + (m[e] >> shift) * 6 + write
        m[kind + LOADS] += 1
        i = (m[e] >> 1) & mask if mask >= 0 else set_of(m, g, place_of(m, tag))
        newest = m[start + i * step]
        if newest | 1 == tag | 1:
            if newest < tag:
                m[start + i * step] = tag
            continue
        way = find(m, g, i, tag | 1, True)
        if way != ABSENT:
            move_to_front(m, g, i, way, write)
        else:
            m[kind + LOAD_MISSES] += 1
            fetch(m, 0, tag, False)
    m[GATHERED] = 0


@kernel
def general_loop(m):
    """The access loop of every other hierarchy."""
    show(m)
    for e in range(m[EVENTS_AT], m[EVENTS_AT] + m[GATHERED]):
        tag = (m[e] | 1) + TAG - 1
        if m[e] & 1:
            store(m, tag)
        else:
            load(m, tag)
    m[GATHERED] = 0


@routine
def clean(m, level, tag):
    """Make a line clean in the levels from `level` on."""
    for below in range(level, m[LEVELS]):
        g = geometry(m, below)
        i = set_of(m, g, place_of(m, tag))
        way = find(m, g, i, tag | 1, in_order(m, g))
        if way != ABSENT:
            m[way_at(m, g, i, way)] &= ~1


@kernel
def flush(state):
    """Write every dirty line to memory, once, counted at the first level that holds it dirty, and empty all levels.

    Only sets that lines read from memory since the last time may be in are looked at.
    """
    m = pointer(state)
    lines = max(0, m[HIGH] - m[LOW] + 1)
    for level in range(m[LEVELS]):
        g = geometry(m, level)
        for n in range(min(lines, m[g + SETS])):
            i = set_of(m, g, m[LOW] + n)
            for first in range(0, m[g + WAYS], LANES):
                at = chunk_of(m, g, i, first)
                if in_order(m, g) and m[at] == 0:
                    break
                dirty = dirty_ones(m, at)
                while dirty != 0:
                    tag = m[at + lowest(dirty)]
                    tensor = tensor_of(m, tag)
                    count(m, level, tensor, FLUSHED)
                    count_dram(m, tensor, WRITTEN_BY_FLUSH)
                    clean(m, level + 1, tag)
                    dirty &= dirty - 1
                clear(m, at)
            if m[g + POLICY] == PLRU:
                m[m[g + OWN_AT] + i] = 0
    m[LOW], m[HIGH] = NO_PLACE, -1
