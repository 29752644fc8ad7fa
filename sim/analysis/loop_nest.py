"""Loop nests: what the closed form (sim/analysis/closed_form.py) counts. Any that a user writes, and those of refconv's kernels.

A nest walks the dimensions N (images), G (groups), K and C (output and input channels of a group), P, Q (output rows and columns), R, S (kernel
rows and columns). `P/14` is a loop over P in steps of 14 rows, the last one possibly shorter; what no loop cuts is whole. A memory `[buffer
128KiB]` stands between two loops: it holds one tile of each tensor, what the loops inside of it touch in one turn of those outside.

    nest(problem, "P/14 Q/56 K/8 [buffer 128KiB] C/1 R/1 S/1")

Which loops a kernel's tiling makes, its own file in refconv/kernels says (`loops`): the order that its docstring states, down to the register tile;
tests compare the order in which outputs are stored. The nest of a kernel knows neither instructions nor caches, and leaves out:

- the bias, and the workspace: lines staged in it, halves widened in it, pixels repeated over lanes in it (a kernel that stages its input reads a
  unit's input once, whatever the cache holds of it afterwards);
- that weights are packed into whole vectors, that a last tile may be moved back into its neighbour, and that caches move whole lines;
- of a PartialConv2d the channels passed through, which the closed form counts besides.
"""

import re
from typing import NamedTuple

from refconv.problem.conv import PartialConv2d, is_integer
from refconv.problem.loops import DIMENSIONS, Loop
from sim.machine.quantities import parse_bytes


class Memory(NamedTuple):
    """An explicit memory inside of the first `at` loops of a nest; capacity_bytes None: as large as its tiles."""

    name: str
    at: int
    capacity_bytes: int | None = None


class Nest(NamedTuple):
    """Loops over a Conv2d or PartialConv2d, outer to inner, and memories, outer to inner."""

    problem: object
    loops: tuple
    memories: tuple = ()

    @property
    def conv(self):
        """The Conv2d that the loops walk."""
        return convolution(self.problem)

    def __str__(self):
        words = [str(loop) for loop in self.loops]
        for memory in reversed(self.memories):
            words.insert(memory.at, f"[{memory.name}]" if memory.capacity_bytes is None else f"[{memory.name} {memory.capacity_bytes}B]")
        return " ".join(words)


def convolution(problem):
    """The Conv2d of a problem: itself, or a PartialConv2d's."""
    return problem.conv if isinstance(problem, PartialConv2d) else problem


def extents(problem):
    """{dimension: size} of a problem."""
    conv = convolution(problem)
    return dict(zip(DIMENSIONS, (conv.n, conv.groups, conv.k_group, conv.c_group, conv.p, conv.q, conv.r, conv.s), strict=True))


TOKEN = re.compile(r"\s*(?:([A-Z])/(\d{1,12})|\[\s*([\w.+-]{1,32})(?:\s+([^\]]{1,40}))?\s*\])(?=\s|\[|$)", re.ASCII)


def nest(problem, text):
    """The Nest that a text describes: `P/14 Q/56 [buffer 128KiB] K/8`, loops outer to inner. ValueError says what is illegal and what is legal."""
    problem, loops, memories, at = problem.checked(), [], [], 0
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        if not match:
            raise ValueError(
                f"nest {text!r}: no loop or memory at {text[at : at + 16].strip()!r}; legal: loops such as P/14, memories such as [L1 32KiB]"
            )
        if match[1]:
            loops.append(Loop(match[1], int(match[2])))
        else:
            memories.append(Memory(match[3], len(loops), parse_bytes(match[4]) if match[4] else None))
        at = match.end()
    return checked(Nest(problem, tuple(loops), tuple(memories)))


def checked(nest):
    """The nest, or a ValueError that names the loop or memory that is illegal."""
    for loop in nest.loops:
        if not isinstance(loop.dim, str) or loop.dim not in DIMENSIONS:
            raise ValueError(f"loop over {loop.dim!r}: must be over one of {', '.join(f'{dim} ({what})' for dim, what in DIMENSIONS.items())}")
        if not is_integer(loop.tile) or loop.tile < 1:
            raise ValueError(f"loop {loop.dim}/{loop.tile}: the tile must be an integer of at least 1")
    places = [memory.at for memory in nest.memories]
    if places != sorted(places) or not all(is_integer(at) and 0 <= at <= len(nest.loops) for at in places):
        raise ValueError(f"memories inside of {places} loops: must be in order, from 0 to {len(nest.loops)}")
    return nest


def turning_loops(nest, at):
    """The first `at` loops without those of a single turn."""
    left, result = extents(nest.problem), []
    for loop in nest.loops[:at]:
        if loop.tile < left[loop.dim]:
            left[loop.dim] = loop.tile
            result.append(loop)
    return result


def kernel_nest(loops):
    """The Nest of a kernel's own loops, a refconv.problem.loops.KernelLoops."""
    return checked(Nest(loops.problem, loops.loops))
