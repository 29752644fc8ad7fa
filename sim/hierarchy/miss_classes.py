"""Why a level misses: beside it, a fully associative LRU level of the same size that sees the same accesses (Hill's three classes).

M. D. Hill, "Aspects of cache memory and instruction buffer performance" (Berkeley, 1987), and Hill and Smith, IEEE Trans. Computers 38(12), 1989:
- compulsory misses are first accesses to a line at this level (FIRST);
- capacity misses are those of the fully associative LRU level (FULL) beyond the compulsory ones;
- conflict misses are what the level misses beyond FULL: the price of sets, and of a policy that is not LRU.
These are differences of totals, not labels of single misses: conflict is negative where the level does better than fully associative LRU, as
on a loop a little larger than the level; it is reported so. In an inclusive hierarchy lines lost to a lower level count as conflicts, too.
The level's own accesses are classified: what reaches it depends on the levels above as they are.

The fully associative level, called the level's twin, is a list of its lines by last use, and a node for each line in memory.
"""

from refconv.jit import kernel, routine

FIRST, FULL, CLASSES = range(3)
NEWEST, OLDEST, HELD, NODES = range(4)
"""The words of a twin: ends of the list of lines by last use (0: none), how many it holds; then a node for each line in memory."""
NEWER, OLDER, STATUS, NODE = range(4)
NEVER, GONE, PRESENT = range(3)


def twin_words(lines):
    """Words of one level's twin; lines: those in memory."""
    return NODES + NODE * lines


@routine
def unlink(twin, node):
    """Take a line out of the list."""
    newer, older = twin[node + NEWER], twin[node + OLDER]
    twin[newer + OLDER if newer else NEWEST] = older
    twin[older + NEWER if older else OLDEST] = newer


@kernel
def classify(twin, capacity, line, allocate, m, classes):
    """A line, by its number in memory, is accessed: m[classes + FIRST] and m[classes + FULL] count it if this is its first, and if it is not held.

    twin: the words of one, which holds `capacity` lines. allocate: whether a miss installs the line.
    """
    node = NODES + NODE * line
    if twin[node + STATUS] == PRESENT:
        unlink(twin, node)
    else:
        m[classes + FULL] += 1
        if twin[node + STATUS] == NEVER:
            m[classes + FIRST] += 1
            twin[node + STATUS] = GONE
        if not allocate:
            return
        if twin[HELD] == capacity:
            victim = twin[OLDEST]
            unlink(twin, victim)
            twin[victim + STATUS] = GONE
        else:
            twin[HELD] += 1
        twin[node + STATUS] = PRESENT
    newest = twin[NEWEST]
    twin[node + NEWER], twin[node + OLDER] = 0, newest
    twin[newest + NEWER if newest else OLDEST] = node
    twin[NEWEST] = node
