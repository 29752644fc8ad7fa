"""The closed form: what a nest of loops with explicit memories moves, by counting tiles instead of running them.

Nests and memories: sim/analysis/loop_nest.py. What moves between a memory and what is outside of it, derived here; Timeloop's and ZigZag's
published outputs are tests:

- A tile is copied in whenever the innermost loop that changes it turns: loops outside of that one reload it at each turn, whether they change it
  or not; loops inside of it reuse it. A loop of a single turn counts as no loop.
- Input: the elements that windows of the tile touch; the border is not read, nor what a stride larger than the kernel skips. Tiles along P, Q,
  R or S overlap: their halo is reloaded, or kept in the memory, along the innermost loop that changes the input, from one turn to the next (each
  run of that loop then reads its elements once). "auto", Timeloop's rule: kept where that loop is the innermost of all outside of the
  memory.
- Weight: the taps that meet an input in the tile.
- Output: sums stay in the memory as long as their tile does. Where a loop over C, R or S is outside of one that changes the tile, the tile comes
  back: it is written and read again each time. write_allocate: it is read the first time, too, as a cache does.

The nest of a PartialConv2d is that of the channels convolved; those passed through are read and written once. Tiles are held once, not
twice as in hardware that loads the next one meanwhile. Bias is left out. Sizes in elements, capacities in bytes: itemsize 1 makes them the same.
"""

import functools
import math
from typing import NamedTuple

from refconv.problem.conv import PartialConv2d, out_reach, touched, used_taps
from sim.analysis.loop_nest import Memory, extents, turning_loops

RELEVANT = {"input": "NGCPQRS", "weight": "GKCRS", "output": "NGKPQ"}
"""The dimensions that change what is touched of a tensor."""
SLIDING = "PQRS"
"""Loops along which the tiles of the input overlap."""
HALOS = ("auto", "kept", "reloaded")
MOST_PIECES = 1 << 20
"""Tiles along one axis that are still counted one by one."""


class Factor(NamedTuple):
    """A number of a formula and what it counts."""

    number: int
    of: str


class Moved(NamedTuple):
    """Elements of a tensor copied into a memory and out of it: each a tuple of terms to be added, a term a tuple of Factors to be multiplied."""

    read: tuple = ()
    written: tuple = ()

    @property
    def read_elements(self):
        """Elements copied in."""
        return total(self.read)

    @property
    def written_elements(self):
        """Elements copied out."""
        return total(self.written)


class Boundary(NamedTuple):
    """What crosses the border of a memory: moved {tensor: Moved}; tile {dimension: indices}, held {tensor: elements} of the largest tile."""

    memory: Memory
    tile: dict
    held: dict
    moved: dict

    @property
    def workspace(self):
        """Elements of the tiles together."""
        return sum(self.held.values())

    @property
    def elements(self):
        """Elements moved, read and written, of all tensors."""
        return sum(moved.read_elements + moved.written_elements for moved in self.moved.values())


def boundaries(nest, itemsize=1, halo="auto", write_allocate=False):
    """A Boundary for each memory of the nest, outer to inner; ValueError where the tiles do not fit a memory, or there is none."""
    if not nest.memories:
        raise ValueError(f"nest {nest}: has no memory; legal: at least one, such as [buffer 128KiB]")
    found = [boundary(nest, memory, halo, write_allocate) for memory in nest.memories]
    for border in found:
        memory, needed = border.memory, border.workspace * itemsize
        if memory.capacity_bytes is not None and needed > memory.capacity_bytes:
            tiles = ", ".join(f"{name} {elements * itemsize}" for name, elements in border.held.items())
            raise ValueError(
                f"memory {memory.name} of {memory.capacity_bytes} bytes: must be at least {needed}, its tiles ({tiles}), or they be smaller"
            )
    return found


def fit(nest, capacity_bytes, itemsize=1, halo="auto", turns=1):
    """How many loops are outside of a memory that is as far out as its capacity allows; ValueError where it is too small for any place.

    turns: how many successive turns' tiles it holds together; 2 for an LRU cache, which drops a tile only after the next has come in.
    """
    for at in range(len(nest.loops) + 1):
        needed = itemsize * max(boundary(one, Memory("", at), halo).workspace for one in {nest, _longer(nest, at, turns)})
        if needed <= capacity_bytes:
            return at
    raise ValueError(f"capacity of {capacity_bytes} bytes: must be at least {needed}, the tiles inside of all loops")


def on_machine(nest, machine, itemsize, workspace_bytes=0):
    """The nest with the caches of a machine as explicit memories, last level first: each as far out as LRU keeps its tiles, two turns' of them.

    A cache larger than the workspace holds all of that in addition; one too small for any place is left out. ValueError if that is the last level.
    """
    memories, at = [], 0
    for level in reversed(machine.levels):
        free = level.size_bytes - workspace_bytes if level.size_bytes > workspace_bytes else level.size_bytes
        try:
            at = max(at, fit(nest, free, itemsize, turns=2))
        except ValueError:
            if not memories:
                raise
            break
        memories.append(Memory(level.name, at, level.size_bytes))
    return nest._replace(memories=tuple(memories))


def _longer(nest, at, turns):
    """The nest with `turns` turns of the innermost of the first `at` loops in one."""
    outside = turning_loops(nest, at)
    if not outside or turns == 1:
        return nest
    loops = (loop._replace(tile=loop.tile * turns) if loop is outside[-1] else loop for loop in nest.loops)
    return nest._replace(loops=tuple(loops))


def boundary(nest, memory, halo="auto", write_allocate=False):
    """The Boundary of a memory, of which `at` alone matters: its tiles and what moves across, whether they fit its capacity or not.

    halo: "kept", "reloaded" or "auto" (see above). write_allocate: whether a tile of the output is read the first time, too. ValueError for
    another halo, and where more tiles than MOST_PIECES would have to be counted one by one.
    """
    if halo not in HALOS:
        raise ValueError(f"halo = {halo!r}: must be {', '.join(HALOS[:-1])} or {HALOS[-1]}")
    sizes, outside = extents(nest.problem), turning_loops(nest, memory.at)
    tile = dict(sizes)
    for loop in outside:
        tile[loop.dim] = loop.tile
    live = {name: outside[: 1 + max((i for i, loop in enumerate(outside) if loop.dim in dims), default=-1)] for name, dims in RELEVANT.items()}
    slides = live["input"] and live["input"][-1].dim in SLIDING
    kept = live["input"][-1] if slides and (halo == "kept" or (halo == "auto" and outside[-1] is live["input"][-1])) else None
    axes = vertical, horizontal = [Axis(nest.conv, *which) for which in (("P", "R"), ("Q", "S"))]
    n, g, k, c = (tile[dim] for dim in "NGKC")
    held = {
        "input": n * g * c * vertical.held(outside, kept) * horizontal.held(outside, kept),
        "weight": g * k * c * tile["R"] * tile["S"],
        "output": n * g * k * tile["P"] * tile["Q"],
    }
    counted = {**live, "input": live["input"][: -1 if kept else None]}
    terms = {name: term(name, counted[name], sizes, axes) for name in RELEVANT}
    first = term("output", [loop for loop in live["output"] if loop.dim in RELEVANT["output"]], sizes, axes)
    again = total([terms["output"]]) // total([first])
    reread = () if again == 1 and not write_allocate else (terms["output"],)
    if again > 1 and not write_allocate:
        reread = ((*first, Factor(again - 1, "times read back")),)
    moved = {"input": Moved((terms["input"],)), "weight": Moved((terms["weight"],)), "output": Moved(reread, (terms["output"],))}
    return Boundary(memory, tile, held, with_passed_through(nest.problem, moved, write_allocate))


def with_passed_through(problem, moved, write_allocate):
    """What moves, and of a PartialConv2d the channels passed through."""
    if not isinstance(problem, PartialConv2d) or problem.c == problem.convolved:
        return moved
    passed = (Factor(problem.n, "images"), Factor(problem.c - problem.convolved, "channels passed through"), Factor(problem.h * problem.w, "pixels"))
    into, out = moved["input"], moved["output"]
    filled = (*out.read, passed) if write_allocate else out.read
    return {**moved, "input": Moved((*into.read, passed)), "output": Moved(filled, (*out.written, passed))}


def term(name, live, sizes, axes):
    """The Factors of what is copied of a tensor when its tile is copied at each turn of the loops `live`, outer to inner."""
    factors = []
    for dim, of in (("N", "images"), ("G", "groups"), ("K", "output channels"), ("C", "input channels")):
        if dim in RELEVANT[name]:
            factors.append(Factor(sizes[dim], of))
        else:
            factors.append(turns(dim, live, sizes[dim]))
    for axis in axes:
        factors += axis.factors(name, live)
    return tuple(factor for factor in factors if factor.number != 1) or (Factor(1, "element"),)


def tiles_of(dim, live):
    """Tile sizes of the loops over a dimension, outer to inner."""
    return [loop.tile for loop in live if loop.dim == dim]


def turns(dim, live, size):
    """The Factor of how often the loops over a dimension turn, all together."""
    tiles = tiles_of(dim, live)
    return Factor(pieces_count(size, tuple(tiles)), "turns of " + " ".join(f"{dim}/{tile}" for tile in tiles))


@functools.lru_cache(maxsize=4096)
def pieces_count(size, tiles):
    """Into how many pieces nested loops with these tiles cut `size` indices."""
    if not tiles:
        return 1
    whole, rest = divmod(size, tiles[0])
    return whole * pieces_count(tiles[0], tiles[1:]) + (pieces_count(rest, tiles[1:]) if rest else 0)


def pieces(size, tiles):
    """[(first, last + 1)] of the pieces into which nested loops cut `size` indices, in order; ValueError where they are too many."""
    if pieces_count(size, tuple(tiles)) > MOST_PIECES:
        raise ValueError(f"tiles {tiles}: must cut {size} indices into at most {MOST_PIECES} pieces, to be counted one by one")
    ranges = [(0, size)]
    for tile in tiles:
        ranges = [(at, min(at + tile, last)) for first, last in ranges for at in range(first, last, tile)]
    return ranges


class Axis:
    """One of the two spatial axes of a Conv2d: an output dimension and a kernel dimension that together walk rows or columns of the input."""

    def __init__(self, conv, output, kernel):
        self.output, self.kernel, self.noun = output, kernel, "rows" if output == "P" else "columns"
        self.size, self.pad, self.outputs, self.taps, self.stride, self.dilation = conv.axes[output == "Q"]

    def touched(self, outputs, taps):
        """Inputs that these outputs touch with these taps; both (first, last + 1)."""
        at = outputs[0] * self.stride + taps[0] * self.dilation - self.pad
        count, kernel = outputs[1] - outputs[0], taps[1] - taps[0]
        reach = out_reach(count, kernel, self.stride, self.dilation)
        if at >= 0 and at + reach <= self.size:
            return inside(count, kernel, self.stride, self.dilation)
        return touched(self.size, -at, count, kernel, self.stride, self.dilation)

    def used(self, outputs, taps):
        """Which number of these taps meets an input for one of these outputs."""
        at = outputs[0] * self.stride + taps[0] * self.dilation - self.pad
        return used_taps(self.size, -at, outputs[1] - outputs[0], taps[1] - taps[0], self.stride, self.dilation)

    def cut(self, loops):
        """(pieces of the outputs, pieces of the taps) under loops."""
        outputs, taps = pieces(self.outputs, tiles_of(self.output, loops)), pieces(self.taps, tiles_of(self.kernel, loops))
        if len(outputs) * len(taps) > MOST_PIECES:
            raise ValueError(
                f"loops over {self.output} and {self.kernel}: must cut {self.noun} into at most {MOST_PIECES} pieces, to be counted one by one"
            )
        return outputs, taps

    def factors(self, name, live):
        """Factors of this axis in the count of a tensor (see `term`)."""
        if name == "output":
            return Factor(self.outputs, self.noun), turns(self.kernel, live, self.taps)
        outputs, taps = self.cut(live)
        count = self.touched if name == "input" else self.used
        number = sum(count(p, r) for p in outputs for r in taps)
        if name == "weight" and number == self.taps * len(outputs):
            return Factor(self.taps, f"kernel {self.noun}"), turns(self.output, live, self.outputs)
        loops = " ".join(str(loop) for loop in live if loop.dim in (self.output, self.kernel))
        of = self.noun if name == "input" else f"kernel {self.noun}"
        return (Factor(number, f"{of} of {len(outputs) * len(taps)} tiles of {loops}" if loops else of),)

    def held(self, outside, kept):
        """Rows or columns of the input in a memory: those of the largest tile, and where they are kept those that later tiles of the run need."""
        if kept is None or kept.dim not in (self.output, self.kernel):
            outputs, taps = self.cut(outside)
            return max(self.touched(p, r) for p in outputs for r in taps)
        runs, slide, most = self.cut([loop for loop in outside if loop is not kept]), kept.dim == self.kernel, 0
        for run in ((p, r) for p in runs[0] for r in runs[1]):
            first, last = run[slide]
            everything = self.touched(*run)
            for turn in self._turns(kept.tile, slide, run):
                at, until, since = first + turn * kept.tile, list(run), list(run)
                until[slide], since[slide] = (first, min(at + kept.tile, last)), (at, last)
                most = max(most, self.touched(*until) + self.touched(*since) - everything)
        return most

    def _turns(self, tile, slide, run):
        """Numbers of turns of a run that hold as much as any: those near its ends and near the ends of the input, for between them all are alike."""
        steps = self.stride, self.dilation
        step, base = steps[slide], run[not slide][0] * steps[not slide] - self.pad
        first, last = run[slide]
        count, span = -(-(last - first) // tile), (tile - 1) * step + (run[not slide][1] - run[not slide][0] - 1) * steps[not slide] + 1
        near = span // (step * tile) + 3
        events = [0, count - 1, *(((edge - base - back) // step - first) // tile for edge in (0, self.size) for back in (0, span))]
        if count <= len(events) * (2 * near + 1):
            return range(count)
        return {turn for event in events for turn in range(max(0, event - near), min(count, event + near + 1))}


@functools.lru_cache(maxsize=4096)
def inside(outputs, taps, stride, dilation):
    """Inputs that windows touch where none of them meets the border."""
    return touched(out_reach(outputs, taps, stride, dilation), 0, outputs, taps, stride, dilation)


def total(terms):
    """The sum of products of Factors."""
    return sum(math.prod(factor.number for factor in factors) for factors in terms)


def formula(terms):
    """Terms as text: 64 input channels x 62 rows of 4 tiles of P/14 + ..."""
    return " + ".join(" x ".join(f"{number:,} {of}" for number, of in factors if number != 1 or len(factors) == 1) for factors in terms) or "0"
