"""One level of a cache hierarchy as plain data: what it may be, and the checks of it. What its rules mean: sim/hierarchy/hierarchy.py."""

import itertools
import re
from typing import NamedTuple

from sim.machine.quantities import parse_bytes

POLICIES = ("lru", "fifo", "plru", "random")
"""Replacement policies; plru: tree-PLRU."""
INCLUSIONS = ("nine", "inclusive", "exclusive")
"""What levels have in common; nine: neither inclusive nor exclusive."""
WRITES = ("back", "through")
MOST_TREE_WAYS = 64
MOST_BYTES = 1 << 36
LEAST_LINE_BYTES, MOST_LINE_BYTES = 4, 1 << 20
TAGS_AT_ONCE = 8
"""The simulator keeps the tags of a set in chunks of so many, which it compares at once."""
NAME = re.compile(r"[\w.+-]{1,32}", re.ASCII)


class Cache(NamedTuple):
    """A level as the simulator takes it. seed: of a random policy. units: lines of the first level that a line of this one takes."""

    sets: int
    ways: int
    policy: str = "lru"
    write_back: bool = True
    allocate: bool = True
    seed: int = 0
    units: int = 1

    @property
    def tags(self):
        """Tags that the simulator keeps: those of a set in whole chunks."""
        return self.sets * -(-self.ways // TAGS_AT_ONCE) * TAGS_AT_ONCE


class Level(NamedTuple):
    """One cache: size and line in bytes; sets = size / (ways * line). policy, write, seed: of POLICIES, of WRITES, of a random policy.

    allocate: whether a store miss loads the line.
    """

    name: str
    size_bytes: int
    ways: int
    line_bytes: int
    policy: str = "lru"
    write: str = "back"
    allocate: bool = True
    seed: int = 0

    @property
    def sets(self):
        """Number of sets; need not be a power of two."""
        return self.size_bytes // (self.ways * self.line_bytes)

    @property
    def keeps_stores(self):
        """Whether what is stored here stays here: write-back and write-allocate."""
        return self.write == "back" and self.allocate

    @property
    def rules(self):
        """Policy and way to write in words."""
        name = {"lru": "LRU", "fifo": "FIFO", "plru": "tree-PLRU", "random": f"random (seed {self.seed})"}[self.policy]
        return f"{name}, write-{self.write}, {'' if self.allocate else 'no-'}write-allocate"

    def cache(self, first_line_bytes):
        """This level as the simulator takes it, below a first one with lines of so many bytes."""
        return Cache(self.sets, self.ways, self.policy, self.write == "back", self.allocate, self.seed, self.line_bytes // first_line_bytes)


def make_level(name, size, ways, line, policy="lru", write="back", allocate=True, seed=0):
    """A checked Level; size and line: bytes, or text such as "32 KiB". ValueError names what is wrong with it."""
    size_bytes, line_bytes = parse_bytes(size), parse_bytes(line)
    if isinstance(ways, bool) or not isinstance(ways, int) or ways < 1:
        raise ValueError(f"ways = {ways!r}: must be a positive integer")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"name = {name!r}: must be up to 32 letters, digits and _ . + -")
    if not LEAST_LINE_BYTES <= line_bytes <= MOST_LINE_BYTES or line_bytes & (line_bytes - 1):
        raise ValueError(f"line = {line!r}: must be a power of two from {LEAST_LINE_BYTES} to {MOST_LINE_BYTES} bytes")
    if not 0 < size_bytes <= MOST_BYTES or size_bytes % (ways * line_bytes):
        raise ValueError(f"size = {size!r}: must be a multiple of ways * line = {ways * line_bytes} bytes, at most {MOST_BYTES}")
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ValueError(f"policy = {policy!r}: must be {', '.join(POLICIES)}")
    if policy == "plru" and (ways > MOST_TREE_WAYS or ways & (ways - 1)):
        raise ValueError(f"ways = {ways}: must be a power of two of at most {MOST_TREE_WAYS} with policy plru, whose tree halves them")
    if not isinstance(write, str) or write not in WRITES:
        raise ValueError(f"write = {write!r}: must be {' or '.join(WRITES)}")
    if not isinstance(allocate, bool):
        raise ValueError(f"allocate = {allocate!r}: must be yes or no")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
        raise ValueError(f"seed = {seed!r}: must be an integer from 0 to {(1 << 63) - 1}")
    return Level(name, size_bytes, ways, line_bytes, policy, write, allocate, seed)


def check_together(levels, inclusion):
    """ValueError unless levels, nearest first, each legal, make a hierarchy of that inclusion."""
    if not isinstance(inclusion, str) or inclusion not in INCLUSIONS:
        raise ValueError(f"inclusion = {inclusion!r}: must be {', '.join(INCLUSIONS)}")
    if len({level.name for level in levels}) < len(levels):
        raise ValueError("levels: names must differ")
    sizes = f"line sizes {', '.join(f'{level.name}: {level.line_bytes}' for level in levels)}"
    for above, level in itertools.pairwise(levels):
        if level.line_bytes < above.line_bytes:
            raise ValueError(f"{sizes}: a level's must be the same as that of the level above it, or larger")
        if level.line_bytes > above.line_bytes and not level.keeps_stores:
            legal = f"write-back and write-allocate where lines are longer than those of {above.name}, the level above, whose lines are parts of them"
            raise ValueError(f"{level.name}: {level.rules}: must be {legal}")
    if inclusion == "exclusive":
        if levels[0].line_bytes != levels[-1].line_bytes:
            raise ValueError(f"{sizes}: must be the same where the hierarchy is exclusive, whose lines move from level to level")
        for level in levels:
            if not level.keeps_stores:
                raise ValueError(f"{level.name}: {level.rules}: must be write-back and write-allocate where the hierarchy is exclusive")
