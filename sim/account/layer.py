"""Run a kernel on a simulated machine and account for what it moves.

The kernel is the one `refconv` computes with, compiled for traced buffers (sim.trace): there is no second copy of its loops.
"""

import time

from numba.core import config

from refconv import kernels
from refconv.elements import element
from refconv.networks.layers import find_layer
from refconv.problem.conv import Conv2d, PartialConv2d
from refconv.weights.packed import packed_size
from sim.analysis.bounds import beside, fast_elements, layer_bound
from sim.hierarchy.miss_classes import FIRST, FULL
from sim.hierarchy.words import COUNTERS, READ, WRITTEN, WRITTEN_BY_FLUSH
from sim.machine.record import Machine, load_machine
from sim.trace.cores import PRIVATE, check_cores
from sim.trace.nontemporal import TEMPORAL
from sim.trace.run import Run

OPERANDS = ("input", "weight", "bias", "output")


def simulate(
    kernel,
    problem,
    machine="host",
    tiling=None,
    *,
    dtype="float32",
    bias=False,
    stores=TEMPORAL,
    warm=False,
    classify=False,
    cores=1,
    private=PRIVATE,
    name=None,
):
    """The traffic of a kernel as a JSON-ready dict (the `layers` entry of `python -m sim.traffic --json`).

    kernel: a name of refconv.kernels.KERNELS, or None for the one `refconv` would choose. problem: a refconv Conv2d or
    PartialConv2d, a preset's name or a benchdnn descriptor. machine: a sim.machine.Machine, "host", a preset's name or a YAML path. tiling: one
    for the kernel, else the rule's for that machine. dtype: "float32", "float64", "float16" or "bfloat16" (workspace then float32).
    bias: whether the layer has one. stores: "nontemporal" for an output stored past the caches (sim/trace/nontemporal.py). warm: the kernel has
    run before on the same buffers, and the caches hold what it left; dirty lines are flushed once, at the very end, so a warm run may move less
    than a cold one must. classify: also count, by level and tensor, compulsory_misses, capacity_misses and conflict_misses
    (sim/hierarchy/miss_classes.py; conflict may be negative), at half the speed. cores, private: run the kernel's parallel split on so many cores,
    each with the first `private` levels of its own above shared ones (sim/trace/cores.py); the record is their sum, and has "cores", the bytes of
    each. Counts of lines are exact; bytes = lines * the level's line_bytes. bound_bytes, bound_ratio,
    bound_source: a lower bound on the traffic (sim/analysis/bounds.py).
    ValueError says what is illegal and what would be legal.
    """
    machine = ready(machine)
    if isinstance(problem, str):
        layer = find_layer(problem)
        problem, name = layer.problem, name or layer.name
    if not isinstance(problem, Conv2d | PartialConv2d):
        raise ValueError(f"problem = {problem!r}: must be a Conv2d, a PartialConv2d, a preset's name or a benchdnn descriptor")
    problem = problem.checked()
    dtype = element(dtype)
    check_cores(cores, private, machine)
    row, chosen = planned(kernel, problem, machine, dtype, tiling, cores)
    cores = min(cores, row.units(problem, chosen))
    start = time.perf_counter()
    buffers = buffers_of(row, problem, chosen, machine, dtype, bias, cores)
    biases, workspace = problem.weight_shape[0] if bias else 0, [name for name, *_ in buffers[len(OPERANDS) :]]
    if classify and machine.inclusion == "exclusive":
        raise ValueError("classify = True: must be False where the hierarchy is exclusive, whose hits move lines away")
    run = Run(machine, buffers, stores, classify, cores, private)
    for _ in range(2 if warm else 1):
        run.moved()
        run.call_split(row.run, lambda own: (*own[: len(OPERANDS)], tuple(own[len(OPERANDS) :]), problem, chosen), row.units(problem, chosen))
    moved, per_core = run.moved(last=True), run.per_core if cores > 1 else []
    classes = run.classes if classify else None
    seconds = time.perf_counter() - start
    least = {**problem.compulsory, **({"bias": biases} if bias else {})}
    accounted = account(problem.macs, least, buffers, *moved, machine, dtype, workspace, classes=classes)
    filled = stores == TEMPORAL and any(level.allocate for level in machine.levels)
    bound = layer_bound(problem, fast_elements(machine, dtype.itemsize, cores, private), biases, filled=filled, warm=warm)
    return {
        "name": name or str(problem),
        "descriptor": str(problem),
        "kernel": row.name,
        "tiling": plain_numbers(chosen),
        "dtype": str(dtype),
        "stores": stores,
        "start": "warm" if warm else "cold",
        **accounted,
        **beside(bound, dtype.itemsize, moved_bytes(accounted)),
        **({"cores": [core_bytes(dram, machine) for _, dram in per_core]} if per_core else {}),
        "simulation_s": seconds,
    }


def moved_bytes(record):
    """DRAM bytes of a record, read and written."""
    return record["dram"]["read_bytes"] + record["dram"]["write_bytes"]


def ready(machine):
    """The Machine that a name or path stands for, checked; ValueError also where nothing can be simulated at all."""
    if config.DISABLE_JIT:
        raise ValueError("NUMBA_DISABLE_JIT = 1: must be unset for sim, which compiles the kernels for traced buffers")
    return (machine if isinstance(machine, Machine) else load_machine(machine)).checked()


def core_bytes(dram, machine):
    """DRAM bytes of one core: what it loads first, and what it stores."""
    read, written, flushed = (int(dram[:, kind].sum()) * machine.line_bytes for kind in (READ, WRITTEN, WRITTEN_BY_FLUSH))
    return {"read_bytes": read, "write_bytes": written + flushed}


def planned(kernel, problem, machine, dtype, tiling=None, cores=1):
    """(row of the table, tiling) that `simulate` runs a checked problem with."""
    lanes = machine.target.lanes(dtype.work.itemsize)
    if kernel is not None and kernel not in kernels.KERNELS:
        raise ValueError(f"kernel {kernel!r}: must be {', '.join(kernels.KERNELS)}")
    row = kernels.choose(problem, lanes) if kernel is None else kernels.KERNELS[kernel]
    row.check(problem, lanes)
    return row, checked_tiling(row, problem, dtype, machine, tiling, cores)


def buffers_of(row, problem, tiling, machine, dtype, bias, cores=1):
    """[(name, elements, itemsize)] of a layer's run: its operands, then its workspace."""
    lanes = machine.target.lanes(dtype.work.itemsize)
    sizes = {**problem.tensors, "weight": packed_elements(row, problem, lanes), "bias": problem.weight_shape[0] if bias else 0}
    work = row.workspace(problem, tiling, lanes, dtype.half)
    return [(name, sizes[name], dtype.itemsize) for name in OPERANDS] + [(name, size * cores, dtype.work.itemsize) for name, size in work.items()]


def checked_tiling(row, problem, dtype, machine, wanted, cores=1):
    """The tiling asked for, checked, or the rule's for the machine and that many cores."""
    chosen = row.tiling(problem, dtype.work.itemsize, machine.target._replace(threads=cores))
    return chosen if wanted is None else row.checked(wanted, chosen, problem, machine.target.lanes(dtype.work.itemsize))


def plain_numbers(tiling):
    """A tiling as JSON."""
    return {field: int(value) for field, value in tiling._asdict().items()}


def packed_elements(row, problem, lanes):
    """Elements of the weight of a layer as the kernel takes it."""
    return packed_size(problem.weight_shape, problem.groups, row.order, lanes)


def call_kernel(run, row, operands, work, problem, tiling):
    """Call a kernel of refconv's tables, all units on one thread. operands: (input, weight, bias, output), of a fused one tuples within."""
    run.call(row.run, *operands, tuple(work), problem, tiling, 0, 1, 0, row.units(problem, tiling))


def counters_of(counts, classes):
    """{name of a counter: lines by tensor} of a level; classes: of the misses, or None."""
    named = dict(zip(COUNTERS, counts.T, strict=True))
    if classes is not None:
        first, full = classes[:, FIRST], classes[:, FULL]
        misses = named["load_misses"] + named["store_misses"]
        named |= {"compulsory_misses": first, "capacity_misses": full - first, "conflict_misses": misses - full}
    return named


def account(macs, compulsory, buffers, counts, dram, machine, dtype, workspace, shown=None, classes=None):
    """The numbers of a run, by level and by tensor, and what follows from them.

    macs: those that are work (nothing computed twice). compulsory: elements by tensor. buffers: those of the Run; of one name are one
    tensor. counts, dram: lines moved. workspace: names of tensors that are neither parameters, nor input or output. shown: numbers of the
    buffers to list (None: all that are not empty); what else has moved is listed, too. classes: of Run, to be told apart.
    """
    every = [counters_of(level, None if classes is None else classes[i]) for i, level in enumerate(counts)]
    line, flops = machine.line_bytes, 2 * macs
    read, evicted, flushed = (dram[:, kind] * line for kind in (READ, WRITTEN, WRITTEN_BY_FLUSH))
    written = evicted + flushed
    least = {name: elements * dtype.itemsize for name, elements in compulsory.items()}
    numbers = {}
    for i, (name, elements, _) in enumerate(buffers):
        if elements and (shown is None or i in shown or counts[:, i].any() or dram[i].any()):
            numbers.setdefault(name, []).append(i)
    tensors = {
        name: {
            "bytes": sum(elements * itemsize for _, elements, itemsize in (buffers[i] for i in of_name)),
            "read_bytes": int(read[of_name].sum()),
            "write_bytes": int(written[of_name].sum()),
            "compulsory_bytes": least.get(name, 0),
            "levels": [{key: int(value[of_name].sum()) for key, value in level.items()} for level in every],
        }
        for name, of_name in numbers.items()
    }
    levels = [
        {"name": level.name, **{key: int(value.sum()) for key, value in of_level.items()}, "line_bytes": level.line_bytes}
        for level, of_level in zip(machine.levels, every, strict=True)
    ]
    moved, all_least = int(read.sum() + written.sum()), sum(least.values())
    intensity = {"compulsory": flops / all_least, "simulated": flops / moved}
    balance = machine.balance(dtype.work.itemsize)
    return {
        "macs": macs,
        "flops": flops,
        "dram": {"read_bytes": int(read.sum()), "write_bytes": int(written.sum()), "flushed_bytes": int(flushed.sum())},
        "levels": levels,
        "tensors": tensors,
        "compulsory_bytes": all_least,
        "traffic_ratio": moved / all_least,
        "workspace_bytes": sum(tensors[name]["bytes"] for name in workspace if name in tensors),
        "intensity": intensity,
        "balance_flop_per_byte": balance,
        "bound": "memory" if intensity["simulated"] < balance else "compute",
        "attainable_efficiency": min(1.0, intensity["simulated"] / balance),
    }
