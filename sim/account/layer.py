"""Run a kernel on a simulated machine and account for what it moves.

The kernel is the one `refconv` computes with, compiled for traced buffers (sim.trace): there is no second copy of its loops.
"""

import time
from typing import Any, NamedTuple

from numba.core import config

from refconv.elements import element
from refconv.jit import part_of
from refconv.networks.layers import Layer, find_layer
from refconv.problem.conv import Conv2d, PartialConv2d
from refconv.schedule import OPERANDS, layer_schedule
from refconv.tiling.checked import as_numbers
from sim.account.energy import energy_of
from sim.account.records import Account, Counters, Dram, LayerAccount, LevelCounters, TensorBytes, numbers_by_name
from sim.analysis.bounds import Bound, fast_elements, layer_bound
from sim.hierarchy.miss_classes import FIRST, FULL
from sim.hierarchy.words import COUNTERS, READ, WRITTEN, WRITTEN_BY_FLUSH
from sim.machine.record import Machine, load_machine
from sim.trace.cores import PRIVATE, check_cores
from sim.trace.nontemporal import TEMPORAL
from sim.trace.run import Run


class Cores(NamedTuple):
    """How many cores run a kernel's parallel split, and how many levels, the nearest, each has of its own above shared ones."""

    number: int
    private: int = PRIVATE


class Work(NamedTuple):
    """What a run has to do. macs: nothing computed twice; compulsory: {tensor: elements} that must move; bound: the Bound on elements moved."""

    macs: int
    compulsory: dict
    bound: Bound


class Lines(NamedTuple):
    """Lines that a run has moved: at every level and at DRAM, by buffer (sim/hierarchy), and the classes of the misses or None."""

    counts: Any
    dram: Any
    classes: Any = None


def simulate(
    kernel, problem, machine="host", tiling=None, *, dtype="float32", bias=False, residual=False, stores=TEMPORAL, warm=False, classify=False, cores=1
):
    """The LayerAccount of a kernel's run (sim/account/records.py): what moves to and from DRAM, by level and by tensor.

    kernel: a name of refconv.kernels.KERNELS, or None for the one `refconv` would choose. problem: a refconv Conv2d or PartialConv2d, a Layer of
    refconv.networks.layers, which brings its name, a preset's name or a benchdnn descriptor. machine: a sim.Machine, "host", a
    preset's name or a YAML path. tiling: one for the kernel, else the rule's for that machine. dtype: "float32", "float64", "float16" or
    "bfloat16" (workspace then float32). bias: whether the layer has one; residual: whether a tensor of the output's size is added as it is stored (an
    activation moves nothing). stores: "nontemporal" for an output stored past the caches
    (sim/trace/nontemporal.py). warm: the kernel has run before on the same buffers, and the caches hold what it left; dirty lines are flushed
    once, at the very end, so a warm run may move less than a cold one must. classify: also count, by level and tensor, compulsory_misses,
    capacity_misses and conflict_misses (sim/hierarchy/miss_classes.py; conflict may be negative), at half the speed. cores: a number, or
    Cores: run the kernel's parallel split on so many, with private levels above shared ones (sim/trace/cores.py); the account is their sum,
    and has the bytes of each. Where the kernel has fewer units of work than that, one core runs each unit, and the account says how many
    were wanted. Counts of lines are exact; bytes = lines * the level's line_bytes. ValueError says what is illegal and what would be legal.
    """
    machine = checked_machine(machine)
    layer = find_layer(problem) if isinstance(problem, str) else problem
    name, problem = (layer.name, layer.problem) if isinstance(layer, Layer) else (None, layer)
    if not isinstance(problem, Conv2d | PartialConv2d):
        raise ValueError(f"problem = {problem!r}: must be a Conv2d, a PartialConv2d, a Layer, a preset's name or a benchdnn descriptor")
    problem = problem.checked()
    dtype = element(dtype)
    wanted, private = cores if isinstance(cores, Cores) else Cores(cores)
    check_cores(wanted, private, machine)
    if classify and machine.inclusion == "exclusive":
        raise ValueError("classify = True: must be False where the hierarchy is exclusive, whose hits move lines away")
    schedule = scheduled(kernel, problem, machine, dtype, tiling, bias, wanted, residual)
    (call,), buffers = schedule.calls, list(schedule.buffers.values())
    running = call.threads
    start = time.perf_counter()
    workspace = [name for name, *_ in buffers[len(OPERANDS) :]]
    besides = {name: schedule.tensors[name] for name in ("bias", "residual") if schedule.tensors[name]}
    run = Run(machine, buffers, stores, classify, running, private)
    for _ in range(2 if warm else 1):
        run.moved()
        run.call_split(call.kernel.run, call.arguments, call.units)
    lines = Lines(*run.moved(last=True), run.classes if classify else None)
    per_core = run.per_core if running > 1 else []
    seconds = time.perf_counter() - start
    filled = stores == TEMPORAL and any(level.allocate for level in machine.levels)
    bound = layer_bound(problem, fast_elements(machine, dtype.itemsize, running, private), sum(besides.values()), filled=filled, warm=warm)
    work = Work(problem.macs, {**problem.compulsory, **besides}, bound)
    moved = account(work, buffers, lines, machine, dtype, workspace, cores=running)
    return LayerAccount(
        **vars(moved),
        name=name or str(problem),
        descriptor=str(problem),
        kernel=call.kernel.name,
        tiling=as_numbers(call.tiling),
        dtype=str(dtype),
        stores=stores,
        start="warm" if warm else "cold",
        cores=tuple(dram_bytes(dram, machine) for _, dram in per_core) or None,
        cores_wanted=wanted if wanted > running else None,
        energy=energy_of(moved, machine, dtype),
        simulation_s=seconds,
    )


def checked_machine(machine):
    """The Machine that a name or path stands for, checked; ValueError also where nothing can be simulated at all."""
    if config.DISABLE_JIT:
        raise ValueError("NUMBA_DISABLE_JIT = 1: must be unset for sim, which compiles the kernels for traced buffers")
    return (machine if isinstance(machine, Machine) else load_machine(machine)).checked()


def dram_bytes(dram, machine):
    """The Dram of lines moved, by buffer. Of one core: what it is the first to load, and what it stores."""
    read, written, flushed = (int(dram[:, kind].sum()) * machine.line_bytes for kind in (READ, WRITTEN, WRITTEN_BY_FLUSH))
    return Dram(read_bytes=read, write_bytes=written + flushed)


def scheduled(kernel, problem, machine, dtype, tiling=None, bias=False, cores=1, residual=False):
    """The Schedule that `simulate` runs for a checked problem, of one call."""
    target = machine.target._replace(threads=cores)
    return layer_schedule(problem, dtype, target, kernel=kernel, tiling=tiling, bias=bias, residual=residual)


def call_kernel(run, call, buffers):
    """Make a Call, all units on one thread, on traced buffers: its inputs, its output and its workspace, in order."""
    run.call(call.kernel.run, *call.arguments(buffers), part_of(0, 1, call.units))


def counters_of(counts, classes):
    """{name of a counter: lines by buffer} of a level; classes: of the misses, or None."""
    named = dict(zip(COUNTERS, counts.T, strict=True))
    if classes is not None:
        first, full = classes[:, FIRST], classes[:, FULL]
        misses = named["load_misses"] + named["store_misses"]
        named |= {"compulsory_misses": first, "capacity_misses": full - first, "conflict_misses": misses - full}
    return named


def account(work, buffers, lines, machine, dtype, workspace, *, shown=None, cores=1, itemsize=None):
    """The Account of a run, by level and by tensor.

    work: Work. buffers: those of the Run; buffers of one name are one tensor. lines: Lines. workspace: names of tensors that are neither parameters,
    nor input or output. shown: numbers of the buffers to list (None: all that are not empty); what else has moved is listed, too. cores: how many
    ran. Their peaks add up, but they share the memory, whose bandwidth is taken to be the one of the machine's record: that of one core. itemsize:
    bytes of the elements that `work` counts (None: the dtype's).
    """
    counts, dram, classes = lines
    every = [counters_of(level, None if classes is None else classes[i]) for i, level in enumerate(counts)]
    itemsize = itemsize or dtype.itemsize
    least = {name: elements * itemsize for name, elements in work.compulsory.items()}
    moved = counts.any(axis=(0, 2)) | dram.any(axis=1)

    def listed(i):
        return shown is None or i in shown or moved[i]

    tensors = {
        name: TensorBytes(
            bytes=sum(buffers[i][1] * buffers[i][2] for i in of_name),
            **vars(dram_bytes(dram[of_name], machine)),
            compulsory_bytes=least.get(name, 0),
            levels=tuple(Counters(**{key: int(value[of_name].sum()) for key, value in level.items()}) for level in every),
        )
        for name, of_name in numbers_by_name(buffers, listed).items()
    }
    levels = [
        LevelCounters(name=level.name, line_bytes=level.line_bytes, **{key: int(value.sum()) for key, value in of_level.items()})
        for level, of_level in zip(machine.levels, every, strict=True)
    ]
    return Account(
        macs=work.macs,
        dram=dram_bytes(dram, machine),
        flushed_bytes=int(dram[:, WRITTEN_BY_FLUSH].sum()) * machine.line_bytes,
        levels=tuple(levels),
        tensors=tensors,
        compulsory_bytes=sum(least.values()),
        workspace_bytes=sum(tensors[name].bytes for name in workspace if name in tensors),
        balance_flop_per_byte=cores * machine.balance(dtype.work.itemsize),
        bound_bytes=work.bound.elements * itemsize,
        bound_source=work.bound.source,
    )
