"""The access loop where line sizes differ: each level's line is as long as that of the level above it, or longer.

The semantics of sim/hierarchy/hierarchy.py in so many words, as a function that calls itself for the level below: a line written back may be a
part of one that has to be loaded first, which drives out another. The loops for one line size (sim/hierarchy/loops.py) need no such calls.
"""

from refconv.jit import kernel, routine
from sim.hierarchy.loops import INCLUSIVE, count_access, line_of
from sim.hierarchy.observe import call_hook
from sim.hierarchy.sets import ABSENT, find, in_order, install, set_of, take_out, touch, way_at
from sim.hierarchy.words import (
    HEADER,
    LEVEL,
    LOAD_MISSES,
    LOADS,
    READ,
    STORES,
    TAG,
    WRITEBACKS,
    WRITTEN,
    claim,
    count,
    count_memory,
    count_owned,
    level_at,
    place_of,
    tensor_of,
)

WHOLE = 2


@routine
def set_in(m, g, tag):
    """The set of the level at g that the line of a tag, one of the level's own, belongs to."""
    return set_of(m, g, place_of(m, tag) >> m[g + LEVEL.line_shift])


@routine
def take_parts_out(m, level, tag):
    """Take the parts of a line that `level` has driven out from the levels above, dirty ones being stored down to `level`; returns the tag.

    Of an inclusive hierarchy: what a level holds is in every level below it.
    """
    units = 1 << m[level_at(m, level) + LEVEL.line_shift]
    for above in range(level):
        g, below = level_at(m, above), level_at(m, above + 1)
        for unit in range(0, units, 1 << m[g + LEVEL.line_shift]):
            part = (tag | 1) + (unit << 1)
            i = set_in(m, g, part)
            way = find(m, g, i, part, in_order(m, g))
            if way != ABSENT and take_out(m, g, i, way) & 1:
                count(m, above, tensor_of(m, tag), WRITEBACKS)
                count_access(m, above + 1, part, tensor_of(m, tag), STORES, True)
                if above + 1 == level:
                    tag |= 1
                else:
                    whole = line_of(part, m[below + LEVEL.line_shift]) | 1
                    i = set_in(m, below, whole)
                    m[way_at(m, below, i, find(m, below, i, whole, in_order(m, below)))] |= 1
    return tag


@kernel
def access(m, level, tag, kind):
    """A load or store comes to a level, or to memory. tag: of a line of the level above.

    kind: LOADS; STORES, by the processor, of a part of a line; or STORES | WHOLE. The kinds of further calls are computed from it, an int64 as it
    is: Numba compiles a constant as a type of its own, and a function that calls itself with another type cannot be kept on disk.
    """
    stores = kind & STORES
    if level == m[HEADER.private] and stores:
        claim(m, tag)
    if level == m[HEADER.levels]:
        shift = m[HEADER.longest_shift]
        if stores:
            count_owned(m, tag, WRITTEN, 1 << shift)
        else:
            count_memory(m, tensor_of(m, tag), READ, 1 << shift)
            first = place_of(m, tag) >> shift << shift
            m[HEADER.lowest], m[HEADER.highest] = min(m[HEADER.lowest], first), max(m[HEADER.highest], first + (1 << shift) - 1)
        return
    tensor, g = tensor_of(m, tag), level_at(m, level)
    count_access(m, level, tag, tensor, stores, True)
    line, keeps = line_of(tag, m[g + LEVEL.line_shift]), stores & m[g + LEVEL.write_back]
    i = set_in(m, g, line)
    way = find(m, g, i, line | 1, in_order(m, g))
    if way != ABSENT:
        touch(m, g, i, way, keeps)
    else:
        count(m, level, tensor, LOAD_MISSES + stores)
        if not stores or m[g + LEVEL.allocate]:
            if not kind & WHOLE or m[g + LEVEL.line_shift] > m[level_at(m, level - 1) + LEVEL.line_shift]:
                access(m, level + 1, line, kind & LOADS)
            victim = install(m, g, i, line)
            if victim != 0 and m[HEADER.inclusion] == INCLUSIVE:
                victim = take_parts_out(m, level, victim)
            if victim & 1:
                count(m, level, tensor_of(m, victim), WRITEBACKS)
                access(m, level + 1, victim, kind | STORES | WHOLE)
            way = find(m, g, i, line | 1, in_order(m, g))
            if way != ABSENT:
                m[way_at(m, g, i, way)] |= keeps
    if stores and (way == ABSENT or not keeps):
        count(m, level, tensor, WRITEBACKS)
        access(m, level + 1, tag, kind)


@kernel
def long_lines_loop(m):
    """Run the events."""
    call_hook(m)
    first = m[HEADER.levels] * 0  # as an int64: see `access`
    for e in range(m[HEADER.events_at], m[HEADER.events_at] + m[HEADER.gathered]):
        access(m, first, (m[e] | 1) + TAG - 1, m[e] & STORES)
    m[HEADER.gathered] = 0
