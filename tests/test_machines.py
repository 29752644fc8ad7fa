"""One kernel source on three machines: compiled on arrays, plain Python on recorded arrays, traced."""

import os

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from machines import check_three_machines
from ml_dtypes import bfloat16
from problems import conv_problems, few_shapes, integers, operands, partial_problems

from refconv import host, kernels
from refconv.plan import make_plan
from refconv.static import Static
from refconv.tile.recorded import Recorded
from refconv.weights import packed


def packed_operands(problem, row, dtype):
    """(x NHWC, packed weight, bias, residual) flat, for a kernel's order; every second problem has a residual."""
    x, weight, bias = operands(problem, dtype=dtype)
    lanes = host.target().lanes(4)
    groups = getattr(problem, "groups", 1)
    residual = integers(np.random.default_rng(1), problem.tensors["output"] if problem.w % 2 else 0, dtype)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1), packed.pack_weight(weight, groups, row.order, lanes), bias, residual


SMALL = {
    "conv2d": (None, 3e3),
    "pointwise": ("pointwise", 2e4),
    "few_outputs": ("pointwise", 2e4),
    "depthwise_rows": ("depthwise", 2e4),
    "depthwise": ("depthwise", 2e4),
    "grouped": ("equal", 4e3),
    "spread": ("narrow", 4e3),
    "partial": ("partial", 3e3),
}


def register_tile(row, problem):
    """The numbers that a kernel is compiled anew for."""
    return tuple(number for number in row.tiling(problem, 4, host.target()) if isinstance(number, Static | tuple))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, bfloat16])
@pytest.mark.parametrize("name", kernels.LAYER_KERNELS)
def test_three_machines_agree(name, dtype):
    """Values, stores and the set of elements touched, for every kernel of the table.

    On few register tiles, each of which takes seconds to compile for two of the machines, and many shapes: two tiles under other targets,
    where what differs is in the instructions, and for halves.
    """
    groups, most_macs = SMALL[name]
    strategy = partial_problems() if groups == "partial" else conv_problems(groups)
    row, lanes = kernels.LAYER_KERNELS[name], host.target().lanes(4)
    most_tiles = 3 if dtype is np.float32 and "NUMBA_CPU_NAME" not in os.environ else 2
    tried, tiles = [], set()

    @settings(max_examples=100, phases=[Phase.generate])
    @given(strategy)
    def check(problem):
        if problem.macs > most_macs or sum(problem.tensors.values()) >= (6000 if dtype is np.float32 else 2500) or row.needs(problem, lanes):
            return
        with few_shapes(dtype):
            tile = register_tile(row, problem)
            if len(tried) < 24 and (tile in tiles or len(tiles) < most_tiles):
                tried.append(problem)
                tiles.add(tile)
                check_three_machines(make_plan(name, problem, np.dtype(dtype)), packed_operands(problem, row, dtype))

    check()
    assert len(tried) >= 3


@given(st.integers(1, 3), st.integers(1, 20), st.sampled_from([4, 8]))
def test_recorded_arrays_refuse_what_lies_outside(low, size, itemsize):
    array = Recorded(np.zeros(size, f"f{itemsize}"))
    for key in (-low, size, slice(-low, size), slice(0, size + low), slice(0, size, 2)):
        with pytest.raises(IndexError):
            array[key]
