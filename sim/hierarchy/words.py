"""The words that compiled code keeps a hierarchy in, where each of them is, and the counters among them.

They are one flat int64 array, so that a traced buffer is one pointer wide: a Header, a LevelWords for each level, the counters, what policies
keep, what miss classes need (sim/hierarchy/miss_classes.py), the events to be run next, and the tags (sim/hierarchy/sets.py).

Lines are numbered in units, lines of the first level: a line of a level whose lines are longer has the number of its first unit. An event is
unit << 1 | is_store; a tag is two more (TAG), so that 0 is none, and its lowest bit says whether the line is dirty.
"""

from typing import NamedTuple

from numba import types
from numba.extending import intrinsic

from refconv.jit import routine

TENSOR_BITS = 40
"""An address is tensor << TENSOR_BITS | place in memory: the line tells the tensor it belongs to, the place its set."""
TAG = 2
CHUNK = 1 << 15
"""Events gathered before they are run through the caches: 256 KiB, so that they stay in the real L2."""
MOST_EVENTS = 1 << 14
"""More events than any one instruction notes: a tile has at most 28 rows of 4 vectors of 32 lines."""
NO_PLACE = 1 << 62

COUNTERS = ("loads", "stores", "load_misses", "store_misses", "writebacks", "flushed")
"""What is counted for each level and tensor, in accesses or lines of that level, in this order."""
LOADS, STORES, LOAD_MISSES, STORE_MISSES, WRITEBACKS, FLUSHED = range(len(COUNTERS))
MEMORY_COUNTERS = ("read", "written", "written_by_flush")
"""What is counted for memory and each tensor, in units; written: evicted from the last level, or written through it."""
READ, WRITTEN, WRITTEN_BY_FLUSH = range(len(MEMORY_COUNTERS))
assert (LOADS, STORES, STORE_MISSES) == (0, 1, LOAD_MISSES + 1), "an event's bit is added to LOADS and LOAD_MISSES, or is STORES"
KINDS, MEMORY_KINDS = len(COUNTERS), len(MEMORY_COUNTERS)


class Header(NamedTuple):
    """The first words. Places of other words are counted from the first; `own_address` and `owners` are addresses, 0 without other cores."""

    levels: int
    tensors: int
    unit_shift: int  # log2 of the bytes of a unit
    longest_shift: int  # log2 of the units in a line of the last level, the longest
    inclusion: int  # of sim.machine.level.INCLUSIONS, by number
    loop: int  # address of the access loop
    hook: int  # address of what is called before events are run (sim/hierarchy/observe.py)
    gathered: int  # events that are run next
    events_at: int
    levels_at: int
    counts_at: int
    memory_at: int
    classes_at: int
    tags_at: int
    places: int  # units in memory where misses are classified, else 0
    lowest: int  # places of the lowest and highest unit read from memory since the last flush
    highest: int
    private: int  # levels of this core's own
    own_address: int
    owners: int  # a word for each line of the last level: own_address of the core that last stored it in a shared level


class LevelWords(NamedTuple):
    """The words of one level."""

    tags_at: int
    sets: int
    mask: int  # sets - 1 where that masks a line number, else -1
    ways: int
    set_step: int  # words from the tags of one set to those of the next
    chunk_step: int  # words from one chunk of a set's tags to the next
    policy: int  # of sim.machine.level.POLICIES, by number
    write_back: int
    allocate: int  # whether a store miss loads the line
    policy_at: int  # what the policy keeps: tree bits, a word a set; the last draw
    twin: int  # address of the fully associative level beside it, where misses are classified (sim/hierarchy/miss_classes.py)
    line_shift: int  # log2 of the units in a line


HEADER = Header(*range(len(Header._fields)))
LEVEL = LevelWords(*range(len(LevelWords._fields)))
"""Where a word is, by its name: m[HEADER.tensors], m[level_at(m, 0) + LEVEL.ways]."""
HEADER_WORDS, LEVEL_WORDS = len(HEADER), len(LEVEL)

WORDS = types.CPointer(types.int64)
"""The words as compiled code takes them: nothing of a pointer is counted or checked, which costs more than a look at a set."""


def whole_lines(size_bytes, line_bytes):
    """Bytes of the lines of a buffer that begins on one."""
    return -(-size_bytes // line_bytes) * line_bytes


def units_of(buffers, line_bytes, longest_line_bytes):
    """Units, of line_bytes, that buffers [(name, elements, itemsize)] take, each from a line of the last level on (sim/trace/traced.py)."""
    return sum(whole_lines(elements * itemsize, longest_line_bytes) for _, elements, itemsize in buffers) // line_bytes


@intrinsic
def pointer(typing_context, m):
    """The address of an int64 array as WORDS."""

    def codegen(context, builder, signature, args):
        return context.make_array(m)(context, builder, args[0]).data

    return WORDS(m), codegen


@intrinsic
def words_at(typing_context, address):
    """The words at an address."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(WORDS))

    return WORDS(types.int64), codegen


@routine
def level_at(m, level):
    """Where the LevelWords of a level are."""
    return m[HEADER.levels_at] + LEVEL_WORDS * level


@routine
def tensor_of(m, tag):
    """The tensor that the line of a tag belongs to."""
    return tag - TAG >> TENSOR_BITS - m[HEADER.unit_shift] + 1


@routine
def place_of(m, tag):
    """The place in memory of the line of a tag, in units: its number without tensor bits."""
    return (tag - TAG >> 1) & (1 << TENSOR_BITS - m[HEADER.unit_shift]) - 1


@routine
def count(m, level, tensor, kind):
    """One more access or line in a counter of a level."""
    m[m[HEADER.counts_at] + (level * m[HEADER.tensors] + tensor) * KINDS + kind] += 1


@routine
def count_memory(m, tensor, kind, units):
    """Units read from or written to memory."""
    m[m[HEADER.memory_at] + tensor * MEMORY_KINDS + kind] += units


@routine
def claim(m, tag):
    """This core has stored a line in a level that all cores share: when the line is written to memory, the bytes are this core's."""
    if m[HEADER.owners] != 0:
        words_at(m[HEADER.owners])[place_of(m, tag) >> m[HEADER.longest_shift]] = m[HEADER.own_address]


@routine
def count_owned(m, tag, kind, units):
    """Units written to memory from a shared level: counted by the core that last stored the line there."""
    owner = m
    if m[HEADER.owners] != 0:
        owner = words_at(words_at(m[HEADER.owners])[place_of(m, tag) >> m[HEADER.longest_shift]])
    count_memory(owner, tensor_of(m, tag), kind, units)
