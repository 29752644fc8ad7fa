"""python tests/emitted.py KIND: what is compiled for NUMBA_CPU_NAME, not run, as JSON.

KIND: "loops", {kind: {name: [[products, vectors to or from the stack], ...]}} of the innermost loops of "tiles", the sum alone in every register
tile that the rules can choose, "strips", the slide alone in strips that they can choose, and "kernels", whole kernels with the rule's tilings, and
the loops of a tile that is "too large"; "target", the compiler's target as refconv sees it.
"""

import json
import sys

import numpy as np
from assembly import innermost_loops, products, stack_moves
from block_problems import build
from numba import njit, typeof, types

import refconv
from refconv import host, kernels
from refconv.elements import element
from refconv.jit import routine
from refconv.plan import flat, make_plan, plan_of
from refconv.schedule import block_schedule
from refconv.static import Static
from refconv.tile import outer_sum, slide, store, zero
from refconv.tile.operands import Ahead, Below, View, Weights
from refconv.tiling.layers import ROWS, most_rows, most_strip_rows
from refconv.tiling.shapes import DepthwiseStrip
from refconv.weights.packed import MOST_VECTORS

NONE, ONE = Static(0), Static(1)
WHOLE = 1 << 30


@routine
def sum_in_tile(x, w, out, rows, vectors, steps, pitch, stride, at, step):
    acc = outer_sum(zero(rows, vectors, out), View(x, at, pitch), Weights(w, at, stride), steps, Ahead(w, at, step, ONE))
    store(out, 0, pitch, acc, WHOLE, 0)


def summed(single, double, rows, vectors, steps, pitch, stride, at, step):
    x, w, out = single
    sum_in_tile(x, w, out, rows, vectors, steps, pitch, stride, at, NONE)
    sum_in_tile(x, w, out, rows, vectors, steps, pitch, stride, at, step)
    x64, w64, out64 = double
    sum_in_tile(x64, w64, out64, rows, vectors, steps, pitch, stride, at, NONE)
    sum_in_tile(x64, w64, out64, rows, vectors, steps, pitch, stride, at, step)


@routine
def slides_of_strip(x, w, out, strip, width, turns, pitch, stride, at, columns):
    acc = zero(strip.rows, width, out)
    for i in range(turns):
        acc = slide(acc, strip, View(x, at * i, pitch), None, None, None, Weights(w, i, stride), None)
        acc = slide(acc, strip, View(x, at + i, pitch), None, i, at, Weights(w, at, stride), Below(turns, at, stride))
        acc = slide(acc, strip, View(x, at + i, pitch), columns, i, at, Weights(w, at, stride), Below(turns, at, stride))
    store(out, 0, pitch, acc, WHOLE, 0)


def slid(x, w, out, strips, width, turns, pitch, stride, at, columns):
    first, last = strips
    slides_of_strip(x, w, out, first, width, turns, pitch, stride, at, columns)
    slides_of_strip(x, w, out, last, width, turns, pitch, stride, at, columns)


def listing(function, signature):
    """The assembly of a function compiled alone."""
    entry = njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    entry.compile(signature)
    return entry.inspect_asm(entry.signatures[0])


def kept_listing(library):
    """The assembly of a kernel's code library, compiled or read from disk, where its optimised module is kept beside the machine code."""
    return str(library.codegen._tm.emit_assembly(library._get_module_for_linking()))


def loops_of(text):
    """[[products, stack moves], ...] of the innermost loops that multiply."""
    return [[products(lines), len(stack_moves(lines, text))] for lines in innermost_loops(text) if products(lines)]


def tile_loops(rows, vectors):
    """loops_of four sums in one register tile, one after another in a function: of float32 and float64, without a prefetch and with one."""
    shape, operands = (typeof(Static(rows)), typeof(Static(vectors))), (types.UniTuple(flat(dtype), 3) for dtype in (np.float32, np.float64))
    return loops_of(listing(summed, (*operands, *shape, *(types.intp,) * 5)))


def strip_loops(rows, width, taps, strides):
    """loops_of slides in a strip of each of two strides, inside a map and at its border, over rows x width accumulators; in one function."""
    pair = types.Tuple([typeof(DepthwiseStrip(*map(Static, (rows, taps, stride)))) for stride in strides])
    return loops_of(listing(slid, (*(flat(np.float32),) * 3, pair, typeof(Static(width)), *(types.intp,) * 5)))


def strips():
    """Strips of windows of one, three, five and seven columns, and under three of groups of two, four and eight channels, of which two at least share
    a vector; strides 1 and 2 where the rules can choose both, else that which they can."""
    target, found = host.target(), {}
    groups = [(width, 3) for width in (2, 4, 8) if width <= target.lanes(4) // 2]
    for width, taps in [(1, 1), (1, 3), (1, 5), (1, 7), *groups]:
        most = {stride: most_strip_rows(taps, stride, target, width) for stride in (1, 2)}
        for rows in ROWS:
            strides = [stride for stride in most if rows <= most[stride]]
            if strides:
                found[f"{rows}x{width} taps {taps} strides {strides}"] = strip_loops(rows, width, taps, (strides[0], strides[-1]))
    return found


def tiles():
    """Every tile that most_rows lets the rules choose."""
    target, found = host.target(), {}
    for vectors in range(1, MOST_VECTORS + 1):
        for rows in (rows for rows in ROWS if rows <= most_rows(vectors, target)):
            found[f"{rows}x{vectors}"] = tile_loops(rows, vectors)
    return found


def too_large():
    """A tile that no target's registers hold: the reader must see it spill."""
    return tile_loops(16, MOST_VECTORS)


LAYERS = {
    "conv2d": refconv.Conv2d.parse("mb1ic64ih14oc64kh3ph1"),
    "pointwise": refconv.Conv2d.parse("mb1ic96ih14oc96kh1ph0"),
    "partial": refconv.PartialConv2d(1, 64, 14, 14, 48, 3, 3),
    "depthwise": refconv.Conv2d.parse("g96mb1ic96ih14oc96kh3ph1"),
    "grouped": refconv.Conv2d.parse("g48mb1ic96ih14oc96kh3ph1"),
}


def whole_kernels():
    """The kernels of layers and that of a block whose inner products are all such sums, each with the rule's tiling."""
    found = {}
    for name, problem in LAYERS.items():
        make_plan(name, problem, np.dtype(np.float32))
        found[name] = kernels.KERNELS[name].run
    block = build(refconv.FFNBlock, 48, hidden=96, activation="relu")
    for call in block_schedule(block, 1, 14, 14, element(np.float32), host.target()).calls:
        plan_of(call, element(np.float32))
        found[call.kernel.name] = call.kernel.run
    return {name: loops_of(kept_listing(next(iter(run.overloads.values())).library)) for name, run in found.items()}


if __name__ == "__main__":
    asked = {
        "loops": lambda: {"tiles": tiles(), "strips": strips(), "kernels": whole_kernels(), "too large": too_large()},
        "target": lambda: [*host.compiler_target()[:1], *host.vector_unit(), tile_loops(1, 1)],
    }
    print(json.dumps(asked[sys.argv[1]]()))
