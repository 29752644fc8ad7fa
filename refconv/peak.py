"""The arithmetic peak of one core, measured: multiply-adds between registers, no memory.

The denominator of every efficiency: latency = operations / (efficiency x peak) (Lavin, "On the Efficiency of Convolutional
Neural Networks").
"""

import functools
import time

import numba
import numpy as np

from refconv import host
from refconv.elements import element
from refconv.jit import compiled, kernel
from refconv.parts.operands import ONE
from refconv.plan import flat
from refconv.static import Static
from refconv.tile import fused_multiply_add, load, store


@kernel
def register_loop(buffer, rows, steps):
    """`steps` times acc[r] += a * b on `rows` registers; the result is stored, so that the compiler can leave nothing out."""
    n = len(buffer) // (rows + 2)
    acc = load(rows, ONE, buffer, 0, n, n)
    a, b = load(ONE, ONE, buffer, rows * n, 0, n), load(ONE, ONE, buffer, (rows + 1) * n, 0, n)
    for _ in range(steps):
        acc = fused_multiply_add(acc, a, b)
    store(buffer, 0, n, acc, n, 0)


def peak_flop_per_s(dtype=np.float32):
    """FLOP/s of one core in multiply-adds of vectors of `dtype` (halves: of float32); 1 MAC = 2 FLOP.

    The best of 501 runs of some 0.1 ms: a peak is what no kernel may exceed, and whatever else runs on the machine only lowers it. Measured
    once in a process, so that every efficiency in a report is of the same peak.
    """
    return _measured(element(dtype).work)


@functools.cache
def _measured(dtype, repeats=501, steps=20_000):
    lanes, rows = host.target().lanes(dtype.itemsize), Static(12)
    buffer = np.full((rows + 2) * lanes, 1e-3, dtype)
    entry = compiled(register_loop, (flat(dtype), numba.typeof(rows), numba.types.intp))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        entry(buffer, rows, steps)
        times.append(time.perf_counter() - start)
    return 2 * rows * lanes * steps / min(times)
