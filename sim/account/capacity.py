"""Traffic of a layer or block against the size of the cache, from one run.

The run's stack distances (sim/analysis/stack_distance.py) have the traffic of every fully associative LRU cache, write-back and write-allocate,
flushed at the end. The kernel keeps the tiling chosen for the machine, whatever the size.
"""

from typing import Any

import numpy as np

from refconv.elements import element
from sim.account.records import Dram, Moved, Record, numbers_by_name, record
from sim.analysis.bounds import compulsory, fast_elements, layer_bound
from sim.analysis.stack_distance import StackDistances
from sim.hierarchy.observe import observing
from sim.hierarchy.words import FLUSHED, LOAD_MISSES, STORE_MISSES, WRITEBACKS

SMALLEST_BYTES = 1 << 10
STEPS = 16
"""Capacities of the curve in each factor of two."""
_OF_RUN = ("name", "descriptor", "kernel", "tiling", "dtype", "halo", "macs", "recomputed_macs", "flops", "compulsory_bytes", "workspace_bytes")
"""The keys of its run's JSON that a CapacityAccount's JSON repeats, where the run has them."""


@record
class CapacityPoint(Moved, Record):
    """Traffic with a fully associative LRU cache of one size; caches: names of the machine's levels of that size."""

    capacity_bytes: int
    caches: tuple[str, ...]
    read_bytes: int
    write_bytes: int
    flushed_bytes: int
    bound_bytes: int
    tensors: dict[str, Dram]

    JSON = "capacity_bytes", "caches", "read_bytes", "write_bytes", "flushed_bytes", "bound_bytes", "tensors"


@record
class CapacityCurve(Record):
    """Traffic and its lower bound against the size of the cache: three lists of the same length."""

    capacity_bytes: tuple[int, ...]
    moved_bytes: tuple[int, ...]
    bound_bytes: tuple[int, ...]

    JSON = "capacity_bytes", "moved_bytes", "bound_bytes"


@record
class CapacityAccount(Record):
    """Traffic of one run against the size of the cache.

    run: the account of that run on the machine's own hierarchy. touched_bytes: of all lines that the kernel touches. points: at powers of two
    and at the sizes of the machine's caches; curve: at more of them. layer_by_layer: of a block, the same of its layers one after another.
    """

    run: Any
    touched_bytes: int
    points: tuple[CapacityPoint, ...]
    curve: CapacityCurve
    layer_by_layer: Any = None

    @property
    def runs(self):
        """This record, and that of the layers one after another."""
        return (self, self.layer_by_layer) if self.layer_by_layer else (self,)

    def as_json(self):
        """The record as dicts, lists and scalars: what the account says of the problem, and the traffic."""
        known = self.run.as_json()
        of_run = {key: known[key] for key in _OF_RUN if key in known}
        traffic = {"touched_bytes": self.touched_bytes, "simulated_bytes": self.run.moved_bytes, "points": [point.as_json() for point in self.points]}
        beside = {"unfused": self.layer_by_layer.as_json()} if self.layer_by_layer else {}
        return {**of_run, **traffic, "curve": self.curve.as_json(), **beside}


def against_capacity(call, problem, machine):
    """The CapacityAccount of a layer or block on a sim.Machine; of a block it has that of its layers one after another, too.

    call: (function, keywords) of one simulation; problem: that of the layer, None for a block.
    """
    runs = []

    def start(buffers, line_bytes):
        runs.append((buffers, StackDistances(buffers, line_bytes, machine.levels[-1].line_bytes)))
        return runs[-1][1].take

    function, keywords = call
    with observing(start):
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
    """Bytes that any program has to move with a cache of this size and the machine's registers.

    Of one convolution sim.analysis.bounds.layer_bound; of several layers (problem None) what is compulsory.
    """
    if problem is None:
        return account.compulsory_bytes
    itemsize = element(account.dtype).itemsize
    bias = account.compulsory_bytes // itemsize - compulsory(problem)
    return itemsize * layer_bound(problem, fast_elements(machine, itemsize, sizes=[capacity_bytes]), bias).elements
