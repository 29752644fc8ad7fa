"""The words that compiled code keeps a hierarchy in, and the counters among them.

The state is one flat int64 array, so that a traced buffer is one pointer wide: a header, the levels' geometry (sim/hierarchy/sets.py), the
counters, what policies keep, the shadows (sim/hierarchy/miss_classes.py), the events, the tags. An event is line << 1 | is_store; a tag two more,
so that 0 is none."""

from refconv.jit import routine
from sim.hierarchy.sets import GEOMETRY

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

HEADER = range(17)
LEVELS, TENSORS, SHIFT, GATHERED, EVENTS_AT, LEVELS_AT, COUNTS_AT, DRAM_AT, TAGS_AT, LOOP, WATCHER, INCLUSION, LOW, HIGH, *_SHADOW = HEADER
PLACES, CLASSES_AT, SHADOWS_AT = _SHADOW
TAG = 2
NO_PLACE = 1 << 62


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
