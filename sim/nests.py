"""The loop nests of refconv's kernels for the closed form (sim.tiles): the ONE place that says which loops a kernel's tiling makes.

A nest is the loop order that the kernel's docstring states, down to the register tile; tests compare the order in which outputs are stored. It
knows neither instructions nor caches, and leaves out:

- the bias, and the workspace: lines staged in it, halves widened in it, spread strips (a kernel that stages its input reads a unit's input once,
  whatever the cache holds of it afterwards);
- that weights are packed into whole vectors, that a last tile may be moved back into its neighbour, and that caches move whole lines.
"""

from refconv.problem import Conv2d
from sim.tiles import Loop, Memory, Nest, checked, convolution, fit


def _dense(conv, t, lanes):
    return ("N", 1), ("P", t.lines), ("G", 1), ("K", t.channels), *_block(t, lanes)


def _block(t, lanes):
    return ("K", t.vectors * lanes), ("P", 1), ("Q", t.rows), ("R", 1), ("S", 1), ("C", 1)


def _partial(conv, t, lanes):
    return ("N", 1), ("P", t.lines), *_block(t, lanes)


def _pointwise(conv, t, lanes):
    return ("Q", t.pixels), ("K", t.channels), ("K", t.vectors * lanes), ("Q", t.rows), ("C", 1)


def _depthwise(conv, t, lanes):
    return ("N", 1), ("P", t.lines), ("G", t.channels), ("P", 1), ("G", lanes), ("Q", t.rows), ("R", 1), ("S", t.taps)


def _grouped(conv, t, lanes):
    return ("N", 1), ("P", t.lines), ("G", t.vectors_per_unit * t.groups), ("P", 1), ("G", t.groups), ("Q", t.rows), ("R", 1), ("S", t.taps)


def _spread(conv, t, lanes):
    unit = ("N", 1), ("P", t.lines), ("G", t.vectors_per_unit * t.groups)
    return *unit, ("G", t.groups), ("Q", t.rows), ("P", 1), ("R", 1), ("C", 1), ("S", t.taps)


LOOPS = {"conv2d": _dense, "pointwise": _pointwise, "partial": _partial, "depthwise": _depthwise, "grouped": _grouped, "spread": _spread}
"""The loops of a kernel of refconv.kernels.KERNELS, outer to inner."""


def kernel_nest(kernel, problem, tiling, lanes):
    """The Nest of a kernel by name with a tiling of its own on vectors of `lanes` elements: all units, in order, on one thread.

    The pointwise kernel walks the pixels of all images as one row; so does its nest: its problem is that row.
    """
    if kernel not in LOOPS:
        raise ValueError(f"kernel {kernel!r}: must be {', '.join(LOOPS)}")
    if kernel == "pointwise":
        problem = Conv2d(1, problem.c, 1, problem.n * problem.h * problem.w, problem.k, 1, 1)
    loops = LOOPS[kernel](convolution(problem), tiling, lanes)
    return checked(Nest(problem, tuple(Loop(dim, int(tile)) for dim, tile in loops)))


def on_machine(nest, machine, itemsize, workspace_bytes=0):
    """The nest with the caches of a machine as explicit memories, last level first: each as far out as LRU keeps its tiles, two turns' of them.

    A cache larger than the workspace holds all of that besides; one too small for any place is left out. ValueError if that is the last level.
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
