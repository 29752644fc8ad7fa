"""Run a kernel on a simulated machine and account for what it moves.

The kernel is the one `refconv` computes with, compiled for traced buffers (sim.trace): there is no second copy of its loops.
"""

import functools
import time

import numba
from numba.core import config

from refconv import kernels
from refconv.elements import element
from refconv.layers import find_layer
from refconv.layout import packed_size
from refconv.plan import compiled
from refconv.problem import Conv2d, PartialConv2d
from sim.cache import READ, WRITTEN, WRITTEN_BY_FLUSH, Hierarchy
from sim.machine import Machine, load_machine
from sim.trace import Trace

OPERANDS = ("input", "weight", "bias", "output")
COUNTERS = ("loads", "stores", "load_misses", "store_misses", "writebacks", "flushed")


def simulate(kernel, problem, machine="host", tiling=None, *, dtype="float32", bias=False, name=None):
    """The traffic of a kernel as a JSON-ready dict (the `layers` entry of `python -m sim.traffic --json`).

    kernel: a name of refconv.kernels.KERNELS, or None for the one `refconv` would choose. problem: a refconv Conv2d or
    PartialConv2d, a preset's name or a benchdnn descriptor. machine: a sim.machine.Machine, "host", a preset's name or a YAML path. tiling: one
    for the kernel, else the rule's for that machine. dtype: "float32", "float64", "float16" or "bfloat16" (workspace then float32).
    bias: whether the layer has one. Counts of lines are exact; bytes = lines * line_bytes. ValueError says what is illegal and what would be legal.
    """
    if config.DISABLE_JIT:
        raise ValueError("NUMBA_DISABLE_JIT = 1: must be unset for sim, which compiles the kernels for traced buffers")
    machine = (machine if isinstance(machine, Machine) else load_machine(machine)).checked()
    if isinstance(problem, str):
        layer = find_layer(problem)
        problem, name = layer.problem, name or layer.name
    if not isinstance(problem, Conv2d | PartialConv2d):
        raise ValueError(f"problem = {problem!r}: must be a Conv2d, a PartialConv2d, a preset's name or a benchdnn descriptor")
    problem = problem.checked()
    dtype = element(dtype)
    lanes = machine.target.lanes(dtype.work.itemsize)
    if kernel is not None and kernel not in kernels.KERNELS:
        raise ValueError(f"kernel {kernel!r}: must be {', '.join(kernels.KERNELS)}")
    row = kernels.choose(problem, lanes) if kernel is None else kernels.KERNELS[kernel]
    row.check(problem, lanes)
    chosen = checked_tiling(row, problem, dtype, machine, tiling)
    start = time.perf_counter()
    trace, counts, dram = run_traced(row, problem, chosen, dtype, machine, bias)
    seconds = time.perf_counter() - start
    return {
        "name": name or str(problem),
        "descriptor": str(problem),
        "kernel": row.name,
        "tiling": {field: int(value) for field, value in chosen._asdict().items()},
        "dtype": str(dtype),
        **account(problem, trace, counts, dram, machine, dtype, bias),
        "simulation_s": seconds,
    }


def checked_tiling(row, problem, dtype, machine, wanted):
    """The tiling asked for, checked, or the rule's for the machine."""
    chosen = row.tiling(problem, dtype.work.itemsize, machine.target)
    return chosen if wanted is None else row.checked(wanted, chosen, problem, machine.target.lanes(dtype.work.itemsize))


def compiled_for(run, arguments):
    """A kernel compiled for the types of these arguments."""
    return compiled(run, tuple(numba.typeof(argument) for argument in arguments))


@functools.lru_cache(maxsize=4)
def _idle(levels, line_bytes, tensors):
    """Hierarchies of this geometry that no run is using: their pages are mapped already, which takes longer than a small layer."""
    return []


def run_traced(row, problem, chosen, dtype, machine, bias):
    """(trace, counts, dram) of sim.cache after the kernel has run on traced buffers, dirty lines flushed."""
    lanes = machine.target.lanes(dtype.work.itemsize)
    workspace = row.workspace(problem, chosen, lanes, dtype.half)
    geometry = tuple((level.sets, level.ways) for level in machine.levels), machine.line_bytes, 4 + len(workspace)
    idle = _idle(*geometry)
    try:
        hierarchy = idle.pop()
    except IndexError:
        hierarchy = Hierarchy(*geometry)
    trace = Trace(hierarchy, machine.vector_bytes)
    sizes = {**problem.tensors, "weight": packed_size(problem.weight_shape, problem.groups, row.order, lanes)}
    sizes["bias"] = problem.weight_shape[0] if bias else 0
    operands = [trace.buffer(name, sizes[name], dtype.itemsize) for name in OPERANDS]
    work = tuple(trace.buffer(name, elements, dtype.work.itemsize) for name, elements in workspace.items())
    arguments = (*operands, work, problem, chosen, 0, 1, 0, row.units(problem, chosen))
    compiled_for(row.run, arguments)(*arguments)
    hierarchy.finish()
    counts, dram = hierarchy.counts.copy(), hierarchy.dram.copy()
    hierarchy.reset()
    idle.append(hierarchy)
    return trace, counts, dram


def account(problem, trace, counts, dram, machine, dtype, bias):
    """The numbers of a finished trace, by level and by tensor, and what follows from them."""
    line = machine.line_bytes
    read, evicted, flushed = (dram[:, kind] * line for kind in (READ, WRITTEN, WRITTEN_BY_FLUSH))
    written = evicted + flushed
    compulsory = {name: count * dtype.itemsize for name, count in problem.compulsory.items()}
    if bias:
        compulsory["bias"] = problem.weight_shape[0] * dtype.itemsize
    used = [i for i, size in enumerate(trace.sizes) if size]
    tensors = {
        trace.names[i]: {
            "bytes": trace.sizes[i],
            "read_bytes": int(read[i]),
            "write_bytes": int(written[i]),
            "compulsory_bytes": compulsory.get(trace.names[i], 0),
            "levels": [dict(zip(COUNTERS, map(int, level[i]), strict=True)) for level in counts],
        }
        for i in used
    }
    levels = [
        {"name": level.name, **dict(zip(COUNTERS, map(int, of_level.sum(0)), strict=True)), "line_bytes": line}
        for level, of_level in zip(machine.levels, counts, strict=True)
    ]
    moved, least = int(read.sum() + written.sum()), sum(compulsory.values())
    intensity = {"compulsory": problem.flops / least, "simulated": problem.flops / moved}
    balance = machine.balance(dtype.work.itemsize)
    return {
        "macs": problem.macs,
        "flops": problem.flops,
        "dram": {"read_bytes": int(read.sum()), "write_bytes": int(written.sum()), "flushed_bytes": int(flushed.sum())},
        "levels": levels,
        "tensors": tensors,
        "compulsory_bytes": least,
        "traffic_ratio": moved / least,
        "workspace_bytes": sum(trace.sizes[len(OPERANDS) :]),
        "intensity": intensity,
        "balance_flop_per_byte": balance,
        "bound": "memory" if intensity["simulated"] < balance else "compute",
        "attainable_efficiency": min(1.0, intensity["simulated"] / balance),
    }
