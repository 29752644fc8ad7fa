"""The access loops: what each event does to the hierarchy. Their semantics are those of sim/hierarchy/hierarchy.py."""

from refconv.jit import kernel, routine
from sim.hierarchy.miss_classes import look, shadow_words
from sim.hierarchy.observe import NOBODY, call
from sim.hierarchy.sets import (
    ABSENT,
    ALLOCATE,
    LANES,
    MASK,
    OWN_AT,
    PLRU,
    POLICY,
    SET_STEP,
    SETS,
    START,
    WAYS,
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
from sim.hierarchy.words import (
    CLASSES_AT,
    COUNTS_AT,
    EVENTS_AT,
    EXCLUSIVE,
    FLUSHED,
    GATHERED,
    HIGH,
    INCLUSION,
    INCLUSIVE,
    LEVELS,
    LOAD_MISSES,
    LOADS,
    LOW,
    NO_PLACE,
    PLACES,
    READ,
    SHADOWS_AT,
    SHIFT,
    STORE_MISSES,
    STORES,
    TAG,
    TENSOR_BITS,
    TENSORS,
    WATCHER,
    WRITEBACKS,
    WRITTEN,
    WRITTEN_BY_FLUSH,
    count,
    count_dram,
    geometry,
    place_of,
    tensor_of,
)


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
    """Who watches (sim/hierarchy/observe.py) sees the gathered events before they are run, and may leave fewer."""
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
def flush(state, first, last):
    """Write every dirty line of levels first to last-1 to memory, once, counted at the first level that holds it dirty, and empty those levels.

    Only sets that lines read from memory since the last time may be in are looked at.
    """
    m = pointer(state)
    lines = max(0, m[HIGH] - m[LOW] + 1)
    for level in range(first, last):
        g = geometry(m, level)
        for n in range(min(lines, m[g + SETS])):
            i = set_of(m, g, m[LOW] + n)
            for way in range(0, m[g + WAYS], LANES):
                at = chunk_of(m, g, i, way)
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
