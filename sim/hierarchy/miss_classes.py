"""Why a level misses: beside it, a fully associative LRU level of the same size that sees the same accesses (Hill's three classes).

M. D. Hill, "Aspects of cache memory and instruction buffer performance" (Berkeley, 1987), and Hill and Smith, IEEE Trans. Computers 38(12), 1989:
- compulsory misses are first accesses to a line at this level (FIRST);
- capacity misses are those of the fully associative LRU level (FULL) beyond the compulsory ones;
- conflict misses are what the level misses beyond FULL: the price of sets, and of a policy that is not LRU.
These are differences of totals, not labels of single misses: conflict is negative where the level does better than fully associative LRU, as
on a loop a little larger than the level; it is reported so. In an inclusive hierarchy lines lost to a lower level count as conflicts, too.
The level's own accesses are classified: what reaches it depends on the levels above as they are.
"""

from refconv.jit import kernel, routine

FIRST, FULL = range(2)
NEWEST, OLDEST, HELD, NODES = range(4)
"""The words of a shadow: ends of the list of lines by last use (0: none), how many it holds; then three for each place in memory."""
NEWER, OLDER, STATUS, NODE = range(4)
NEVER, GONE, PRESENT = range(3)


@routine
def shadow_words(places):
    """Words of one level's shadow."""
    return NODES + NODE * places


@routine
def unlink(m, at, node):
    """Take a line out of the list."""
    newer, older = m[node + NEWER], m[node + OLDER]
    m[newer + OLDER if newer else at + NEWEST] = older
    m[older + NEWER if older else at + OLDEST] = newer


@kernel
def look(m, at, places, capacity, place, allocate, classes):
    """The line at a place is accessed: classes[FIRST] and classes[FULL] count it if this is its first, and if it is not held."""
    node = at + NODES + NODE * place
    if m[node + STATUS] == PRESENT:
        unlink(m, at, node)
    else:
        m[classes + FULL] += 1
        if m[node + STATUS] == NEVER:
            m[classes + FIRST] += 1
            m[node + STATUS] = GONE
        if not allocate:
            return
        if m[at + HELD] == capacity:
            victim = m[at + OLDEST]
            unlink(m, at, victim)
            m[victim + STATUS] = GONE
        else:
            m[at + HELD] += 1
        m[node + STATUS] = PRESENT
    newest = m[at + NEWEST]
    m[node + NEWER], m[node + OLDER] = 0, newest
    m[newest + NEWER if newest else at + OLDEST] = node
    m[at + NEWEST] = node
