"""The nests of the kernels: each stores its outputs in the order of its nest."""

import itertools
import random

import numpy as np
import pytest
from nests import turns, whole
from problems import operands

from refconv import Conv2d, PartialConv2d, host, kernels
from refconv.jit import Part
from refconv.tile.recorded import Recorded
from refconv.weights.packed import pack_weight
from sim.analysis.closed_form import RELEVANT
from sim.analysis.loop_nest import kernel_nest
from sim.machine.record import load_machine

ZEN4 = load_machine("zen4")


class Ordered(Recorded):
    """Recorded, and the order of the stores."""

    def __init__(self, values):
        super().__init__(values)
        self.order = []

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.order += range(key.start, key.stop) if isinstance(key, slice) else [int(key)]


CASES = {
    "conv2d": Conv2d(2, 6, 7, 9, 80, 3, 2, 1, 2, 1, 1, 1, 1, 1, 1, 2),
    "pointwise": Conv2d(2, 5, 7, 9, 50, 1, 1),
    "partial": PartialConv2d(2, 45, 7, 9, 36, 3, 3),
    "few_outputs": Conv2d(2, 37, 7, 9, 1, 1, 1),
    "depthwise_rows": Conv2d(2, 6, 33, 40, 6, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 6),
    "depthwise": Conv2d(2, 40, 9, 10, 40, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 40),
    "grouped": Conv2d(2, 48, 7, 9, 48, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 12),
    "spread": Conv2d(2, 24, 7, 9, 48, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 12),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", kernels.LAYER_KERNELS)
def test_kernels_store_their_outputs_in_the_order_of_their_nest(name, seed):
    """Under tilings of several units, ragged: the plain source's stores never go back to an earlier turn of the nest's loops over outputs."""
    problem, row, rng, target = CASES[name].checked(), kernels.LAYER_KERNELS[name], random.Random(seed), host.target()
    lanes = target.lanes(4)
    rule, wanted = row.tiling(problem, 4, target), {"lines": rng.randint(1, 4)}
    part = "tile" if hasattr(rule, "tile") else "strip"
    shape = getattr(rule, part)
    wanted["channels"] = lanes * int(getattr(shape, "vectors", 1)) * rng.randint(1, 2)
    wanted["bands"] = rng.randint(1, 2)
    wanted["vectors_per_unit"] = rng.randint(1, 2)
    rows = rng.randint(2, min(5, problem.q, int(shape.rows)))
    wanted |= {"pixels": rows * rng.randint(1, 9), part: shape._replace(rows=rows)}
    tiling = row.checked(rule._replace(**{field: value for field, value in wanted.items() if hasattr(rule, field)}), rule, problem, lanes)
    x, weight, bias = operands(problem, seed)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    out = Ordered(np.zeros(problem.tensors["output"], np.float32))
    sizes = row.workspace(problem, tiling, lanes, False)
    work = sizes._make([Recorded(np.zeros(size, np.float32)) for size in sizes])
    packed = Recorded(pack_weight(weight, problem.groups, row.order, lanes))
    given = row.operands(Recorded(x), packed, Recorded(bias), Recorded(np.zeros(0, np.float32)), *row.statics)
    row.source(given, out, work, problem, tiling, Part(0, 1, 0, row.units(problem, tiling)))
    loops = kernel_nest(row.loops(problem, tiling, lanes))
    conv = loops.conv
    place = {}
    for turn, (_, ranges) in enumerate(turns([loop for loop in loops.loops if loop.dim in RELEVANT["output"]], whole(loops.problem))):
        for n, g, k, p, q in itertools.product(*(range(*ranges[dim]) for dim in RELEVANT["output"])):
            place[((n * conv.p + p) * conv.q + q) * problem.k + g * conv.k_group + k] = turn
    order = [place[at] for at in out.order if at in place]
    assert len(order) == conv.tensors["output"]
    assert order == sorted(order)
    assert order[-1] >= 10


def test_every_kernel_has_a_nest():
    for name, row in kernels.LAYER_KERNELS.items():
        found = kernel_nest(row.loops(CASES[name], row.tiling(CASES[name], 4, ZEN4.target), 16))
        assert {"Q", "K" if row.order == "dense" else "G"} <= {loop.dim for loop in found.loops}, name
    with pytest.raises(ValueError, match="kernel 'winograd': must be depthwise_rows, depthwise, few_outputs, pointwise, conv2d"):
        kernels.kernel_for(CASES["conv2d"], 16, "winograd")
