"""python tests/emitted.py KIND: what is compiled for NUMBA_CPU_NAME, not run, as JSON: {name: [[products, vectors to or from the stack], ...]}.

KIND: "tiles", the sum alone in every register tile that the rules can choose; "kernels", whole kernels with the rule's tilings; "target",
the compiler's target as refconv sees it.
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
from refconv.plan import flat, make_plan, plan_of
from refconv.schedule import block_schedule
from refconv.static import Static
from refconv.tile import outer_sum, store, zero
from refconv.tile.operands import Ahead, View, Weights
from refconv.tiling.layers import ROWS, most_rows
from refconv.weights.packed import MOST_VECTORS

ONE = Static(1)
WHOLE = 1 << 30


def summed(x, w, out, rows, vectors, steps, pitch, stride, at, step):
    acc = outer_sum(zero(rows, vectors, out), View(x, at, pitch), Weights(w, at, stride), steps, Ahead(w, at, step, ONE))
    store(out, 0, pitch, acc, WHOLE, 0)


def loops_of(text):
    """[[products, stack moves], ...] of the innermost loops that multiply."""
    return [[products(lines), len(stack_moves(lines, text))] for lines in innermost_loops(text) if products(lines)]


def tile_loops(rows, vectors, dtype, step):
    """loops_of the sum in one register tile; step: of a prefetch, Static(0) for none."""
    entry = njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)(summed)
    buffers, shape = (flat(dtype),) * 3, (typeof(Static(rows)), typeof(Static(vectors)))
    entry.compile((*buffers, *shape, *(types.intp,) * 4, typeof(step)))
    return loops_of(entry.inspect_asm(entry.signatures[0]))


def tiles():
    """Every tile that most_rows lets the rules choose, and one more that no target's registers hold: the reader must see it spill."""
    target, found = host.target(), {}
    for vectors in range(1, MOST_VECTORS + 1):
        for rows in (rows for rows in ROWS if rows <= most_rows(vectors, target)):
            for dtype in (np.float32, np.float64):
                for step in (Static(0), 1):
                    found[f"{rows}x{vectors} {np.dtype(dtype)} prefetch {step}"] = tile_loops(rows, vectors, dtype, step)
    return {"chosen": found, "too large": tile_loops(16, MOST_VECTORS, np.float32, Static(0))}


LAYERS = {
    "conv2d": refconv.Conv2d.parse("mb1ic64ih14oc64kh3ph1"),
    "pointwise": refconv.Conv2d.parse("mb1ic96ih14oc96kh1ph0"),
    "partial": refconv.PartialConv2d(1, 64, 14, 14, 48, 3, 3),
}


def whole_kernels():
    """The kernels of dense layers and those of blocks whose inner products are all such sums, each with the rule's tiling."""
    found = {}
    for name, problem in LAYERS.items():
        make_plan(name, problem, np.dtype(np.float32))
        found[name] = kernels.KERNELS[name].run
    block = build(refconv.FFNBlock, 48, hidden=96, activation="relu")
    for call in block_schedule(block, 1, 14, 14, element(np.float32), host.target()).calls:
        plan_of(call, element(np.float32))
        found[call.kernel.name] = call.kernel.run
    return {name: loops_of(next(iter(run.overloads.values())).library.get_asm_str()) for name, run in found.items()}


if __name__ == "__main__":
    asked = {
        "tiles": tiles,
        "kernels": whole_kernels,
        "target": lambda: [*host.compiler_target()[:1], *host.vector_unit(), tile_loops(1, 1, np.float32, ONE)],
    }
    print(json.dumps(asked[sys.argv[1]]()))
