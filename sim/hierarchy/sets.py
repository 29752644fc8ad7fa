"""The sets of a cache in the words of a hierarchy, and what the replacement policies do to one.

A tag: sim/hierarchy/words.py; 0 is an empty way. The ways of a set lie in chunks of LANES tags, which are compared and shifted at once:
a vector in, a vector out, and no branch that depends on where in it a line is. Ways beyond those of the level stay 0.

- LRU and FIFO keep the tags of a set in order, the newest first, so that the way driven out is the last. A hit moves its tag to the front in
  LRU only; a tag taken out closes the gap.
- Tree-PLRU and random leave a tag in its way. The lowest empty way is filled first. Tree-PLRU: ways - 1 bits are the inner nodes of a binary tree
  (node 1 the root, 2n and 2n + 1 below n) over the ways, each says in which half the way to be replaced is; an access turns the bits on its path
  away from itself. Random: of a 64-bit linear congruential sequence (Knuth's MMIX constants) of the level's own, the upper 31 bits modulo ways.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from refconv.jit import routine
from sim.hierarchy.words import LEVEL
from sim.machine.level import POLICIES, TAGS_AT_ONCE

LRU, FIFO, PLRU, RANDOM = map(POLICIES.index, ("lru", "fifo", "plru", "random"))
LANES, LANE_BITS = TAGS_AT_ONCE, TAGS_AT_ONCE.bit_length() - 1
ABSENT = -1

MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407

_INT = ir.IntType(64)
_VECTOR = ir.VectorType(_INT, LANES)
_SHIFTED = ir.Constant(ir.ArrayType(_VECTOR, LANES), [[-1 if lane <= last else 0 for lane in range(LANES)] for last in range(LANES)])


def _splat(builder, value):
    return builder.shuffle_vector(
        builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, _INT(0)),
        ir.Constant(_VECTOR, ir.Undefined),
        ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
    )


def _chunk(builder, m, at):
    return builder.bitcast(builder.gep(m, [at]), _VECTOR.as_pointer())


def _bits(builder, lanes):
    return builder.zext(builder.bitcast(lanes, ir.IntType(LANES)), _INT)


@intrinsic
def holds(typing_context, m, at, key):
    """A bit for each tag of the chunk at `at` that is `key`, dirty or not; `key` has the dirty bit set."""

    def codegen(context, builder, signature, args):
        tags = builder.load(_chunk(builder, *args[:2]), align=8 * LANES)
        return _bits(builder, builder.icmp_signed("==", builder.or_(tags, ir.Constant(_VECTOR, [1] * LANES)), _splat(builder, args[2])))

    return types.int64(m, types.int64, types.int64), codegen


@intrinsic
def empties(typing_context, m, at):
    """A bit for each empty way of the chunk at `at`."""

    def codegen(context, builder, signature, args):
        tags = builder.load(_chunk(builder, *args), align=8 * LANES)
        return _bits(builder, builder.icmp_signed("==", tags, ir.Constant(_VECTOR, [0] * LANES)))

    return types.int64(m, types.int64), codegen


@intrinsic
def dirty_ones(typing_context, m, at):
    """A bit for each dirty tag of the chunk at `at`."""

    def codegen(context, builder, signature, args):
        tags = builder.load(_chunk(builder, *args), align=8 * LANES)
        return _bits(builder, builder.trunc(tags, ir.VectorType(ir.IntType(1), LANES)))

    return types.int64(m, types.int64), codegen


@intrinsic
def clear(typing_context, m, at):
    """Empty the chunk at `at`."""

    def codegen(context, builder, signature, args):
        builder.store(ir.Constant(_VECTOR, [0] * LANES), _chunk(builder, *args), align=8 * LANES)
        return context.get_dummy_value()

    return types.none(m, types.int64), codegen


@intrinsic
def shift_in(typing_context, m, at, tag, last):
    """Move the tags 0 ... last - 1 of the chunk at `at` back by one, over the tag `last`, and put `tag` in front."""

    def codegen(context, builder, signature, args):
        place = _chunk(builder, *args[:2])
        tags = builder.load(place, align=8 * LANES)
        order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [LANES, *range(LANES - 1)])
        moved = builder.shuffle_vector(tags, _splat(builder, args[2]), order)
        # By a table of masks in memory: from a comparison LLVM makes a masked store, whose data the next load has to wait for.
        masks = cgutils.global_constant(builder, "shifted_lanes", _SHIFTED)
        shifted = builder.load(builder.gep(masks, [_INT(0), args[3]]), align=8 * LANES)
        builder.store(builder.or_(builder.and_(moved, shifted), builder.and_(tags, builder.not_(shifted))), place, align=8 * LANES)
        return context.get_dummy_value()

    return types.none(m, types.int64, types.int64, types.int64), codegen


@intrinsic
def lowest(typing_context, bits):
    """The number of the lowest bit set; bits is not 0."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_INT, [_INT, ir.IntType(1)])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i64"), [args[0], ir.IntType(1)(1)])

    return types.int64(types.int64), codegen


@routine
def set_of(m, g, place):
    """The number of the set of the level at g that a line belongs to; place: its line number in memory, without tensor bits."""
    return place & m[g + LEVEL.mask] if m[g + LEVEL.mask] >= 0 else place % m[g + LEVEL.sets]


@routine
def chunk_of(m, g, i, way):
    """Where the chunk of a way of set i begins."""
    return m[g + LEVEL.tags_at] + i * m[g + LEVEL.set_step] + (way >> LANE_BITS) * m[g + LEVEL.chunk_step]


@routine
def way_at(m, g, i, way):
    """Where the tag of a way of set i is."""
    return chunk_of(m, g, i, way) + (way & LANES - 1)


@routine
def find(m, g, i, key, ordered):
    """The way of set i that holds a line, or ABSENT. ordered: no tag comes after an empty way."""
    at = m[g + LEVEL.tags_at] + i * m[g + LEVEL.set_step]
    for first in range(0, m[g + LEVEL.ways], LANES):
        bits = holds(m, at, key)
        if bits != 0:
            return first + lowest(bits)
        if ordered and m[at + LANES - 1] == 0:
            break
        at += m[g + LEVEL.chunk_step]
    return ABSENT


@routine
def move_to_front(m, g, i, way, dirty):
    """The tag of a way becomes the newest of set i, dirty if it was or is now."""
    at = m[g + LEVEL.tags_at] + i * m[g + LEVEL.set_step]
    moving = m[way_at(m, g, i, way)] | dirty
    for _ in range(way >> LANE_BITS):
        tag = m[at + LANES - 1]
        shift_in(m, at, moving, LANES - 1)
        moving = tag
        at += m[g + LEVEL.chunk_step]
    shift_in(m, at, moving, way & LANES - 1)


@routine
def push(m, g, i, tag):
    """A new tag becomes the newest of set i; returns the tag that falls off the end, or 0."""
    at, left = m[g + LEVEL.tags_at] + i * m[g + LEVEL.set_step], m[g + LEVEL.ways]
    while True:
        way = lowest(empties(m, at) | 1 << min(left, LANES) - 1)
        out = m[at + way]
        shift_in(m, at, tag, way)
        left -= LANES
        if out == 0 or left <= 0:
            return out
        tag = out
        at += m[g + LEVEL.chunk_step]


@routine
def point_away(m, g, i, way):
    """Turn the tree bits on the path to a way of set i to the other half."""
    bits, node, half = m[m[g + LEVEL.policy_at] + i], 1, m[g + LEVEL.ways] >> 1
    while half > 0:
        right = 1 if way & half else 0
        bits = bits & ~(1 << node) | (1 - right) << node
        node = 2 * node + right
        half >>= 1
    m[m[g + LEVEL.policy_at] + i] = bits


@routine
def pointed_at(m, g, i):
    """The way of set i that the tree bits lead to."""
    bits, node = m[m[g + LEVEL.policy_at] + i], 1
    while node < m[g + LEVEL.ways]:
        node = 2 * node + (bits >> node & 1)
    return node - m[g + LEVEL.ways]


@routine
def drawn(m, g):
    """The next way that a random level replaces."""
    m[m[g + LEVEL.policy_at]] = m[m[g + LEVEL.policy_at]] * MULTIPLIER + INCREMENT
    return (m[m[g + LEVEL.policy_at]] >> 33 & 0x7FFFFFFF) % m[g + LEVEL.ways]


@routine
def in_order(m, g):
    """Whether the level at g keeps the tags of a set in order."""
    return m[g + LEVEL.policy] <= FIFO


@routine
def touch(m, g, i, way, dirty):
    """A hit: the tag of a way of set i is dirty if it was or is now, and as recent as the policy makes it."""
    if m[g + LEVEL.policy] == LRU:
        move_to_front(m, g, i, way, dirty)
    else:
        m[way_at(m, g, i, way)] |= dirty
        if m[g + LEVEL.policy] == PLRU:
            point_away(m, g, i, way)


@routine
def install(m, g, i, tag):
    """A new tag into set i; returns the tag driven out, or 0."""
    if in_order(m, g):
        return push(m, g, i, tag)
    way = 0
    while way < m[g + LEVEL.ways] and m[way_at(m, g, i, way)] != 0:
        way += 1
    if way == m[g + LEVEL.ways]:
        way = pointed_at(m, g, i) if m[g + LEVEL.policy] == PLRU else drawn(m, g)
    out = m[way_at(m, g, i, way)]
    m[way_at(m, g, i, way)] = tag
    if m[g + LEVEL.policy] == PLRU:
        point_away(m, g, i, way)
    return out


@routine
def take_out(m, g, i, way):
    """Empty a way of set i; returns its tag."""
    at = way_at(m, g, i, way)
    tag = m[at]
    if in_order(m, g):
        while way + 1 < m[g + LEVEL.ways] and m[at] != 0:
            way += 1
            after = way_at(m, g, i, way)
            m[at] = m[after]
            at = after
    m[at] = 0
    return tag
