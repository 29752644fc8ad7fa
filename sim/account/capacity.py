"""Traffic of a layer or block against the size of the cache, from one run.

The run's stack distances (sim/analysis/stack_distance.py) have the traffic of every fully associative LRU cache, write-back and write-allocate,
flushed at the end. The kernel keeps the tiling chosen for the machine, whatever the size.
"""

import numpy as np

from refconv.elements import element
from sim.account.records import CapacityAccount, CapacityCurve, CapacityPoint, Dram, numbers_by_name
from sim.analysis.bounds import compulsory, fast_elements, layer_bound
from sim.analysis.stack_distance import StackDistances
from sim.hierarchy.observe import watching
from sim.hierarchy.words import FLUSHED, LOAD_MISSES, STORE_MISSES, WRITEBACKS

SMALLEST_BYTES = 1 << 10
STEPS = 16
"""Capacities of the curve in each factor of two."""


def against_capacity(call, problem, machine):
    """The CapacityAccount of a layer or block on a sim.machine.Machine; of a block it has that of its layers one after another beside it.

    call: (function, keywords) of one simulation; problem: that of the layer, None for a block.
    """
    runs = []

    def start(buffers, line_bytes):
        runs.append((buffers, StackDistances(buffers, line_bytes)))
        return runs[-1][1].take

    function, keywords = call
    with watching(start):
        account = function(**keywords)
    first, *others = (_of_run(run, problem, *watched, machine) for run, watched in zip(account.runs, runs, strict=True))
    return CapacityAccount(**{**vars(first), "layer_by_layer": others[0] if others else None})


def capacities(machine, touched_bytes):
    """(sizes for a table, more of them for a curve): powers of two up to one that holds all lines touched, and the machine's caches."""
    caches, line = [level.size_bytes for level in machine.levels], machine.line_bytes
    first = max(line, min(SMALLEST_BYTES, *caches)).bit_length() - 1
    last = max(first, (touched_bytes - 1).bit_length())
    shown = {*caches, *(1 << i for i in range(first, last + 1))}
    between = {int(2 ** (first + i / STEPS)) // line * line for i in range((last - first) * STEPS)}
    return sorted(shown), sorted(shown | between)


def _of_run(account, problem, buffers, distances, machine):
    """The CapacityAccount of one run; problem: None for several layers."""
    shown, sizes = capacities(machine, distances.touched_bytes)
    counts = distances.counts(np.array(sizes) // machine.line_bytes) * machine.line_bytes
    read, flushed = counts[:, :, LOAD_MISSES] + counts[:, :, STORE_MISSES], counts[:, :, FLUSHED]
    written = counts[:, :, WRITEBACKS] + flushed
    bounds = [bound_bytes(account, problem, size, machine) for size in sizes]
    numbers = numbers_by_name(buffers)

    def point(size):
        at = sizes.index(size)
        return CapacityPoint(
            capacity_bytes=size,
            caches=tuple(level.name for level in machine.levels if level.size_bytes == size),
            read_bytes=int(read[at].sum()),
            write_bytes=int(written[at].sum()),
            flushed_bytes=int(flushed[at].sum()),
            bound_bytes=bounds[at],
            tensors={
                name: Dram(read_bytes=int(read[at, of_name].sum()), write_bytes=int(written[at, of_name].sum())) for name, of_name in numbers.items()
            },
        )

    moved = (read + written).sum(1).tolist()
    return CapacityAccount(
        run=account,
        touched_bytes=distances.touched_bytes,
        points=tuple(point(size) for size in shown),
        curve=CapacityCurve(capacity_bytes=tuple(sizes), moved_bytes=tuple(moved), bound_bytes=tuple(bounds)),
    )


def bound_bytes(account, problem, capacity_bytes, machine):
    """Bytes that a schedule has to move with a cache of this size, the registers besides: of one convolution sim.bounds.layer_bound; of several
    layers, what is compulsory."""
    if problem is None:
        return account.compulsory_bytes
    itemsize = element(account.dtype).itemsize
    bias = account.compulsory_bytes // itemsize - compulsory(problem)
    return itemsize * layer_bound(problem, fast_elements(machine, itemsize, sizes=[capacity_bytes]), bias).elements
