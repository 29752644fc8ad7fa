"""Run a whole network on a simulated machine: the calls of its schedule in order, in one memory, with the caches as each leaves them to the next."""

import time
from collections import Counter
from dataclasses import replace

from refconv.elements import ELEMENTS, element
from refconv.networks.opened import given_shapes, opened
from refconv.tiling.checked import as_numbers
from sim.account.energy import energy_of
from sim.account.layer import Lines, Work, account, checked_machine, dram_bytes
from sim.account.layer_by_layer import STREAM
from sim.account.network_records import KindBytes, LeftOut, NetworkRunAccount, StepAccount
from sim.account.network_steps import KINDS, KernelPass, Ready
from sim.account.parallel import bar
from sim.account.trace_cost import MOST_ACCESSES, TooLarge, estimated_accesses
from sim.analysis.bounds import Bound, fast_elements
from sim.machine.quantities import show_count
from sim.trace.nontemporal import TEMPORAL
from sim.trace.run import Run

WHOLE = "compulsory traffic of the network: inputs, parameters and outputs once"


def simulate_network(
    network, machine="host", *, input_shapes=(), batch=None, size=None, fuse=True, warm=False, strict=False, limit=MOST_ACCESSES, name=None
):
    """The NetworkRunAccount of a network (sim/account/network_records.py): what each call of its schedule moves, and all of them.

    network: the path of an ONNX file, a ModelProto, a name of refconv.networks.names(), or what refconv.load or refconv.networks.build returns (its
    threads do not count: one core runs all). machine: as of sim.simulate. input_shapes: of a file, {input: shape}, an array for one whose values
    decide shapes, or texts "NAME:1x3x224x224"; batch: images, where the first size of an input is open (None: 1). size: rows and columns of the
    image of a network by name (None: its own). fuse: as of refconv.load; what has been loaded is fused already, or is not. name: in the account
    (None: the path or name). Kernels and tilings are those of the rules for that machine.

    Tensors lie in one arena at the schedule's places, packed weights, biases and constants beside it, and the workspace of all kernels. Caches
    are empty at the start, or with warm as a run before has left them; the inputs lie in the arena then, and what the network returns lies
    there at the end, when dirty lines are flushed. What NumPy and copies do between kernels reads each source and writes its output once
    (sim/trace/streams.py). An operator that cannot be run is left out and named in `not_modelled`; with strict it is an error.
    limit: accesses that the run may take by estimate, else TooLarge is raised. ValueError or TypeError says what is illegal.
    """
    machine = checked_machine(machine)
    net, known, batch = opened(network, batch=batch, size=size, fuse=fuse, strict=strict)
    shapes = net.shapes(given_shapes(net, input_shapes), batch)
    schedule = net.schedule_on(machine.target, line_bytes=machine.levels[-1].line_bytes, strict=strict, **shapes)
    check_limit(schedule, machine, limit, 2 if warm else 1)
    return account_of(schedule, machine, name or known, warm, net.notes)


def check_limit(schedule, machine, limit, rounds=1):
    """TooLarge where tracing a NetworkSchedule so many times takes more than `limit` accesses by estimate."""
    needed, line = 0, machine.line_bytes
    for made in schedule.calls:
        stored = element(schedule.tensors[made.out].dtype) if made.kernel_calls else None
        if made.block is not None:
            problem = made.kernel_calls[-1].problem
            layers = made.step.attributes["record"].layers(problem.n, problem.h, problem.w)
            needed += sum(estimated_accesses(problem, machine, stored) for _, problem in layers)
        elif made.call is not None:
            needed += estimated_accesses(made.call.problem, machine, stored, made.call.kernel.name)
        if not made.kernel_calls:
            needed += sum(schedule.tensors[name].nbytes for name in (*filter(None, made.sources), made.out)) // line
    if rounds * needed > limit:
        raise TooLarge(f"tracing it takes about {show_count(rounds * needed)} accesses: must be at most {show_count(limit)}")


def account_of(schedule, machine, name, warm=False, notes=()):
    """The NetworkRunAccount of a NetworkSchedule for that machine's target."""
    ready, start = Ready(schedule, machine.target), time.perf_counter()
    if not ready.steps:
        raise ValueError("nothing is computed: must have a step")
    stored = next((element(schedule.tensors[step.call.out].dtype) for step in ready.steps if step.call.kernel_calls), element("float32"))
    run, every = Run(machine, ready.buffers, overlaid=ready.overlaid), ready.every
    rounds, steps, moved = 2 if warm else 1, [], []
    fast = fast_elements(machine, 1)  # bytes
    met = set(range(len(every))) if warm else set()  # what caches may hold when it starts
    with bar(rounds * len(ready.steps)) as advance:
        for last_round in range(rounds - 1, -1, -1):
            for number in ready.inputs:
                run.hand_over(number)
            run.moved()
            for step in ready.steps:
                begun = time.perf_counter()
                for number in step.begins:
                    run.hand_over(number)
                for one in step.passes:
                    one.make(run)
                if last_round == 0:
                    last = step is ready.steps[-1]
                    moved.append(Lines(*run.moved(last=last)))
                    bound = step_bound(step, fast, met, last)
                    own = account_of_step(step, schedule, ready, moved[-1], machine, bound, stored, "warm" if warm or steps else "cold")
                    steps.append(StepAccount(**own, simulation_s=time.perf_counter() - begun))
                    met |= step.numbers
                advance()
    lines = Lines(sum(lines.counts for lines in moved), sum(lines.dram for lines in moved))
    least = Counter()
    for step in ready.steps:
        least.update(_least(step, every))
    once = bound_of_kinds(ready)
    whole = sum(once.values())
    bound = Bound(max(once["output"], whole - fast) if warm else whole, WHOLE + (" but for what warm caches may hold" if warm else ""))
    workspace = [every[number][0] for number in ready.of_kind("workspace")]
    total = account(Work(schedule.macs, least, bound), every, lines, machine, stored, workspace, itemsize=1)
    kinds = {kind: ready.of_kind(kind) for kind in KINDS}
    energy = energy_of(total, machine, stored, possible_flops=sum(step.possible_flops for step in steps))
    return NetworkRunAccount(
        **vars(total),
        name=name,
        descriptor=name,
        kernel="schedule",
        tiling={},
        dtype=str(stored),
        stores=TEMPORAL,
        start="warm" if warm else "cold",
        energy=energy and replace(energy, by_tensor_pj={kind: _energy(energy, every, numbers) for kind, numbers in kinds.items()}),
        simulation_s=time.perf_counter() - start,
        inputs={name: tuple(schedule.tensors[name].shape) for name in schedule.inputs},
        arena_bytes=schedule.arena_bytes,
        peak_bytes=schedule.peak_bytes,
        weight_bytes=_size(every, kinds["weight"]),
        kinds={
            kind: KindBytes(**vars(dram_bytes(lines.dram[numbers], machine)), bytes=_size(every, numbers), bound_bytes=once[kind])
            for kind, numbers in kinds.items()
        },
        steps=tuple(steps),
        not_modelled=tuple(LeftOut(**node._asdict(), share=None) for node in schedule.missing),
        notes=tuple(notes),
    )


def _size(every, numbers):
    return sum(every[number][1] * every[number][2] for number in numbers)


def _energy(energy, every, numbers):
    """Picojoules of the buffers with these numbers."""
    return sum(energy.by_tensor_pj.get(every[number][0], 0.0) for number in numbers)


def _least(step, every):
    """Counter {name: bytes} that a step alone must move."""
    least = Counter()
    for number, size in (*step.reads.items(), step.made):
        least[every[number][0]] += size
    return least


def step_bound(step, fast, met, last):
    """The Bound, in bytes, of a step between others: what the caches cannot hold of what it reads and makes, and all that it meets first.

    fast: bytes of the caches; met: numbers of the buffers that they may hold when it starts; last: whether dirty lines are flushed at its end.
    """
    _, made = step.made
    first = sum(size for read, size in step.reads.items() if read not in met)
    again = sum(size for read, size in step.reads.items() if read in met)
    sides = [side for side, at in (("before", again), ("after", not last)) if at]
    source = "compulsory traffic" + (f" but for what the caches may hold from {' and '.join(sides)}" if sides else "")
    return Bound(first + max(0, again - fast) + (made if last else max(0, made - fast)), source)


def bound_of_kinds(ready):
    """{kind: bytes} that any program moves, each buffer once: inputs and parameters read, outputs written."""
    read = {}
    for step in ready.steps:
        for number, size in step.reads.items():
            read[number] = max(read.get(number, 0), size)
    once = {kind: sum(read.get(number, 0) for number in ready.of_kind(kind)) for kind in ("input", "weight")}
    made = {step.made[0]: step.made[1] for step in ready.steps}
    return {**dict.fromkeys(KINDS, 0), **once, "output": sum(made.get(number, 0) for number in ready.outputs)}


def account_of_step(step, schedule, ready, lines, machine, bound, stored, start):
    """The fields of a StepAccount but its time."""
    made, every = step.call, ready.every
    tensor = schedule.tensors[made.out]
    kind = element(tensor.dtype) if tensor.dtype.name in ELEMENTS else stored
    workspace = [every[number][0] for number in step.work]
    moved = account(Work(made.macs, _least(step, every), bound), every, lines, machine, kind, workspace, shown=step.numbers, itemsize=1)
    kernels = [one.call for one in step.passes if isinstance(one, KernelPass)]
    kinds = {name: dram_bytes(lines.dram[ready.of_kind(name)], machine) for name in KINDS}
    return {
        **vars(moved),
        "name": made.out,
        "descriptor": str(kernels[0].problem) if kernels else made.step.op,
        "kernel": made.kernel if kernels else STREAM,
        "tiling": as_numbers(kernels[0].tiling) if kernels else {},
        "dtype": str(tensor.dtype),
        "stores": TEMPORAL,
        "start": start,
        "energy": energy_of(moved, machine, kind),
        "op": made.op,
        "output": tuple(tensor.shape),
        "kinds": {name: dram for name, dram in kinds.items() if dram.moved_bytes},
    }
