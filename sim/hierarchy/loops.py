"""The access loops: what each event does to the hierarchy. Their semantics are those of sim/hierarchy/hierarchy.py.

Three loops for levels of one line size; sim/hierarchy/long_lines.py has the one for line sizes that differ. `general` and `shared` are known when
a loop is compiled: what a loop does not need is no part of it.
"""

from refconv.jit import kernel, routine
from sim.hierarchy.miss_classes import CLASSES, classify
from sim.hierarchy.observe import call_hook
from sim.hierarchy.sets import (
    ABSENT,
    LANES,
    PLRU,
    chunk_of,
    clear,
    dirty_ones,
    find,
    in_order,
    install,
    lowest,
    move_to_front,
    push,
    set_of,
    take_out,
    touch,
    way_at,
)
from sim.hierarchy.words import (
    FLUSHED,
    HEADER,
    KINDS,
    LEVEL,
    LOAD_MISSES,
    LOADS,
    NO_PLACE,
    READ,
    STORE_MISSES,
    STORES,
    TAG,
    TENSOR_BITS,
    WRITEBACKS,
    WRITTEN,
    WRITTEN_BY_FLUSH,
    claim,
    count,
    count_memory,
    count_owned,
    level_at,
    place_of,
    pointer,
    tensor_of,
    words_at,
)
from sim.machine.level import INCLUSIONS

NINE, INCLUSIVE, EXCLUSIVE = map(INCLUSIONS.index, ("nine", "inclusive", "exclusive"))


@routine
def count_access(m, level, tag, tensor, kind, general):
    """A load or store (kind) comes to a level."""
    count(m, level, tensor, kind)
    if general and m[HEADER.places] != 0:
        g = level_at(m, level)
        classes = m[HEADER.classes_at] + (level * m[HEADER.tensors] + tensor) * CLASSES
        number, capacity = place_of(m, tag) >> m[g + LEVEL.line_shift], m[g + LEVEL.sets] * m[g + LEVEL.ways]
        classify(words_at(m[g + LEVEL.twin]), capacity, number, kind == LOADS or m[g + LEVEL.allocate] != 0, m, classes)


@routine
def back_invalidate(m, level, tag):
    """Take a line that `level` has driven out from the levels above, a dirty copy being stored down to `level`; returns the tag."""
    dirty, changed, tensor = tag & 1, 0, tensor_of(m, tag)
    for above in range(level):
        g = level_at(m, above)
        i = set_of(m, g, place_of(m, tag))
        way = find(m, g, i, tag | 1, in_order(m, g))
        if way != ABSENT:
            changed |= take_out(m, g, i, way) & 1
        if changed:
            count(m, above, tensor, WRITEBACKS)
            count_access(m, above + 1, tag, tensor, STORES, True)
    return tag | dirty | changed


@routine
def evict(m, level, tag, general, shared):
    """`level` has driven out a tag: store it to the levels below, as far as that drives out further ones that have to be stored."""
    levels, exclusive = m[HEADER.levels], general and m[HEADER.inclusion] == EXCLUSIVE
    while tag & 1 or (exclusive and tag != 0 and level + 1 < levels):
        tensor = tensor_of(m, tag)
        count(m, level, tensor, WRITEBACKS)
        level += 1
        if shared and level == m[HEADER.private]:
            claim(m, tag)
        if level == levels:
            if shared:
                count_owned(m, tag, WRITTEN, 1)
            else:
                count_memory(m, tensor, WRITTEN, 1)
            return
        count_access(m, level, tag, tensor, STORES, general)
        g = level_at(m, level)
        i = set_of(m, g, place_of(m, tag))
        way = find(m, g, i, tag | 1, not general or in_order(m, g))
        if not general:
            if way != ABSENT:
                move_to_front(m, g, i, way, 1)
                return
            count(m, level, tensor, STORE_MISSES)
            tag = push(m, g, i, tag)
        elif way != ABSENT:
            touch(m, g, i, way, m[g + LEVEL.write_back])
            if m[g + LEVEL.write_back]:
                return
        else:
            count(m, level, tensor, STORE_MISSES)
            if m[g + LEVEL.allocate]:
                if m[g + LEVEL.write_back]:
                    tag = install(m, g, i, tag)
                else:
                    install(m, g, i, tag & ~1)  # it drives out nothing dirty


@routine
def fetch(m, first, tag, general, shared):
    """The line misses level `first`: load it from where it is into that level, with the dirty bit of `tag`, and into every level between."""
    level, levels, exclusive = first + 1, m[HEADER.levels], general and m[HEADER.inclusion] == EXCLUSIVE
    place, tensor = place_of(m, tag), tensor_of(m, tag)
    while level < levels:
        count_access(m, level, tag, tensor, LOADS, general)
        g = level_at(m, level)
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
        count_memory(m, tensor, READ, 1)
        m[HEADER.lowest], m[HEADER.highest] = min(m[HEADER.lowest], place), max(m[HEADER.highest], place)
    for at in range(first if exclusive else level - 1, first - 1, -1):
        g = level_at(m, at)
        new = tag if at == first else tag & ~1
        if general:
            victim = install(m, g, set_of(m, g, place), new)
            if m[HEADER.inclusion] == INCLUSIVE and victim != 0:
                victim = back_invalidate(m, at, victim)
        else:
            victim = push(m, g, set_of(m, g, place), new)
        evict(m, at, victim, general, shared)


@routine
def load(m, tag):
    """A load arrives at the first level."""
    tensor = tensor_of(m, tag)
    count_access(m, 0, tag, tensor, LOADS, True)
    g = level_at(m, 0)
    i = set_of(m, g, place_of(m, tag))
    way = find(m, g, i, tag | 1, in_order(m, g))
    if way != ABSENT:
        touch(m, g, i, way, 0)
    else:
        count(m, 0, tensor, LOAD_MISSES)
        fetch(m, 0, tag, True, True)


@routine
def store(m, tag):
    """A store arrives at the first level, and goes on until a level that writes back has it."""
    tensor = tensor_of(m, tag)
    for level in range(m[HEADER.levels]):
        if level == m[HEADER.private]:
            claim(m, tag)
        count_access(m, level, tag, tensor, STORES, True)
        g = level_at(m, level)
        i = set_of(m, g, place_of(m, tag))
        way = find(m, g, i, tag | 1, in_order(m, g))
        if way == ABSENT:
            count(m, level, tensor, STORE_MISSES)
            if m[g + LEVEL.allocate]:
                fetch(m, level, tag, True, True)
                way = find(m, g, i, tag | 1, in_order(m, g))
        if way != ABSENT:
            touch(m, g, i, way, m[g + LEVEL.write_back])
            if m[g + LEVEL.write_back]:
                return
        count(m, level, tensor, WRITEBACKS)
    count_memory(m, tensor, WRITTEN, 1)


@routine
def plain_events(m, shared):
    """Run the events where every level is LRU, write-back and write-allocate, and the hierarchy is NINE."""
    call_hook(m)
    g, counts, shift = level_at(m, 0), m[HEADER.counts_at], TENSOR_BITS - m[HEADER.unit_shift] + 1
    mask, start, step = m[g + LEVEL.mask], m[g + LEVEL.tags_at], m[g + LEVEL.set_step]
    for e in range(m[HEADER.events_at], m[HEADER.events_at] + m[HEADER.gathered]):
        tag = m[e] + TAG
        write = tag & 1
        kind = counts + (m[e] >> shift) * KINDS + write
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
            fetch(m, 0, tag, False, shared)
    m[HEADER.gathered] = 0


@kernel
def plain_loop(m):
    """The access loop of one core on LRU, write-back, write-allocate levels that are NINE."""
    plain_events(m, False)


@kernel
def plain_shared_loop(m):
    """The same for one of several cores, which share levels."""
    plain_events(m, True)


@kernel
def general_loop(m):
    """The access loop of every other hierarchy of one line size."""
    call_hook(m)
    for e in range(m[HEADER.events_at], m[HEADER.events_at] + m[HEADER.gathered]):
        tag = (m[e] | 1) + TAG - 1
        if m[e] & 1:
            store(m, tag)
        else:
            load(m, tag)
    m[HEADER.gathered] = 0


@routine
def written_later(m, level, tag):
    """A dirty line of `level` is written to memory: its copies below are clean from now on.

    Returns whether it is not written by itself but as a part of a longer line, held by the first level below that has those and writes back.
    """
    own = m[level_at(m, level) + LEVEL.line_shift]
    for below in range(level + 1, m[HEADER.levels]):
        g = level_at(m, below)
        shift = m[g + LEVEL.line_shift]
        key = line_of(tag, shift) | 1
        i = set_of(m, g, place_of(m, key) >> shift)
        way = find(m, g, i, key, in_order(m, g))
        if way != ABSENT:
            if shift == own:
                m[way_at(m, g, i, way)] &= ~1
            elif m[g + LEVEL.write_back]:
                m[way_at(m, g, i, way)] |= 1
                if level < m[HEADER.private] <= below:
                    claim(m, tag)
                return True
    return False


@routine
def line_of(tag, shift):
    """The clean tag of the line of 1 << shift units that the line of a tag is, or is a part of."""
    return ((tag - TAG) >> 1 + shift << 1 + shift) + TAG


@kernel
def flush(words, first, last):
    """Write every dirty line of levels first to last-1 to memory, once, and empty those levels: sim/hierarchy/hierarchy.py says what is counted.

    Only sets that lines read from memory since the last time may be in are looked at.
    """
    m = pointer(words)
    for level in range(first, last):
        g = level_at(m, level)
        shift = m[g + LEVEL.line_shift]
        start = m[HEADER.lowest] >> shift
        for n in range(min(max(0, (m[HEADER.highest] >> shift) - start + 1), m[g + LEVEL.sets])):
            i = set_of(m, g, start + n)
            for way in range(0, m[g + LEVEL.ways], LANES):
                at = chunk_of(m, g, i, way)
                if in_order(m, g) and m[at] == 0:
                    break
                dirty = dirty_ones(m, at)
                while dirty != 0:
                    tag = m[at + lowest(dirty)]
                    if not written_later(m, level, tag):
                        count(m, level, tensor_of(m, tag), FLUSHED)
                        if level < m[HEADER.private]:
                            count_memory(m, tensor_of(m, tag), WRITTEN_BY_FLUSH, 1 << shift)
                        else:
                            count_owned(m, tag, WRITTEN_BY_FLUSH, 1 << shift)
                    dirty &= dirty - 1
                clear(m, at)
            if m[g + LEVEL.policy] == PLRU:
                m[m[g + LEVEL.policy_at] + i] = 0
    m[HEADER.lowest], m[HEADER.highest] = NO_PLACE, -1


@kernel
def hand_over(words, first, units, tensor):
    """The units of memory from place `first` on are a tensor's from now on: what levels hold of them, dirty or not, is counted as its.

    Nothing moves. first, units: of whole lines of the last level; the tensor must lie there, so that its tags are those of the same places.
    """
    m = pointer(words)
    bits = TENSOR_BITS - m[HEADER.unit_shift] + 1
    for level in range(m[HEADER.levels]):
        g = level_at(m, level)
        shift = m[g + LEVEL.line_shift]
        for n in range(min(units >> shift, m[g + LEVEL.sets])):
            i = set_of(m, g, (first >> shift) + n)
            for way in range(m[g + LEVEL.ways]):
                at = way_at(m, g, i, way)
                tag = m[at]
                if tag != 0 and first <= place_of(m, tag) < first + units:
                    m[at] = (tensor << bits) + ((tag - TAG) & (1 << bits) - 1) + TAG
