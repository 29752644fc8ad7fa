"""Run a residual block on a simulated machine: fused into one kernel, and layer by layer.

The fused kernel is the row of refconv.fused.FUSED that `refconv.fused_block` runs; the layers are those of refconv.kernels (sim/unfused.py).
"""

import time

from refconv.block_presets import BLOCK_PRESETS, BlockPreset
from refconv.elements import element
from refconv.fused import FUSED, HALOS, choose_fused
from refconv.fused.problem import block_problem, check_fused, gate_problem, pack_block
from refconv.records import Block
from sim.nontemporal import TEMPORAL
from sim.run import Run
from sim.simulate import OPERANDS, account, call_kernel, checked_tiling, plain_numbers, ready
from sim.unfused import NO_HALO, unfused


def simulate_block(block, n=1, h=None, w=None, machine="host", *, tiling=None, dtype="float32", halo="auto", name=None, stores=TEMPORAL):
    """The traffic of a block, fused and layer by layer, as a JSON-ready dict.

    block: a record of refconv.blocks, whose arrays count for their shapes only, a BlockPreset or the name of one. n images of h x w pixels
    (None: the preset's). machine, dtype, stores: as in sim.simulate. tiling: of refconv.fused.tiling, else the rule's for that machine. halo:
    "recompute" or "cache" for what a convolution after the expansion needs of neighbouring tiles, "auto" for the rule's choice; blocks
    without such a convolution take any and report "none". One thread.

    Keys: those of sim.simulate ("weight" and "bias" are all weights and all biases; compulsory: Block.compulsory), "halo",
    "recomputed_macs" (beyond `macs`; flops and intensity do not count them), and "unfused", a record of the layers (sim/unfused.py). ValueError or
    TypeError says what is illegal, or that the block has no fused kernel yet.
    """
    machine, dtype = ready(machine), element(dtype)
    check_halo(halo)
    name, block, h, w = _resolved(block, h, w, dtype, name)
    row = fused_row(block)
    lanes = machine.target.lanes(dtype.work.itemsize)
    problem, packed = block_problem(block, n, h, w, lanes), pack_block(block, lanes)
    row.check(problem, lanes)
    choice = row.recomputed_macs is not None
    chosen = checked_tiling(row, problem, dtype, machine, tiling, **({"halo": halo} if choice else {}))
    start = time.perf_counter()
    buffers, workspace, moved = run_fused(row, block, problem, packed, chosen, machine, dtype, stores)
    seconds = time.perf_counter() - start
    descriptor = describe(block, n, h, w)
    named = {"name": name or descriptor, "descriptor": descriptor}
    return {
        **named,
        "kernel": "fused",
        "tiling": plain_numbers(chosen),
        "dtype": str(dtype),
        "stores": stores,
        **account(block.macs(n, h, w), block.compulsory(n, h, w), buffers, *moved, machine, dtype, workspace),
        "simulation_s": seconds,
        "halo": halo_of(chosen) if choice else NO_HALO,
        "recomputed_macs": row.recomputed_macs(problem, chosen) if choice else 0,
        "unfused": {**named, **unfused(block, n, h, w, machine, dtype, stores)},
    }


def run_fused(row, block, problem, packed, tiling, machine, dtype, stores):
    """(buffers, names of workspace, lines moved) of a fused kernel, squeeze-excitation included, as `refconv.fused_block` runs it.

    With squeeze-excitation the kernel runs twice: the first pass only adds up the hidden layer, the gates follow from its sums, and are
    one more bias of the second.
    """
    lanes, gated = machine.target.lanes(dtype.work.itemsize), packed.gates is not None
    weights, biases = [("weight", array.size) for array in packed.weights], [("bias", array.size) for array in packed.biases]
    if len(biases) < row.operands[1]:
        biases.append(("gates", problem.n * problem.hidden if gated else 0))
    image, out = ("input", problem.n * problem.h * problem.w * problem.c), ("output", problem.n * problem.p * problem.q * problem.k)
    work = list(row.workspace(problem, tiling, lanes, dtype.half).items())
    groups = [[image], weights, biases, [out]]
    if gated:
        small, gating = FUSED["squeeze_excite"], gate_problem(block, problem.n, 1, problem.p * problem.q)
        small_tiling = small.tiling(gating, dtype.work.itemsize, machine.target)
        small_work = [(f"se_{name}", size) for name, size in small.workspace(gating, small_tiling, lanes, dtype.half).items()]
        groups += [[("weight", array.size) for array in packed.gates.weights], [("bias", array.size) for array in packed.gates.biases]]
        work += small_work
    buffers = [(name, size, dtype.itemsize) for group in groups for name, size in group]
    buffers += [(name, size, dtype.work.itemsize) for name, size in work]
    run = Run(machine, buffers, stores)
    laid = iter(run.buffers)
    (x,), weights, biases, (out,), *gate_operands = [tuple(next(laid) for _ in group) for group in groups]
    work = dict(zip([name for name, _ in work], laid, strict=True))
    if gated:
        own = [work.pop(name) for name, _ in small_work]
        call_kernel(run, row, (x, weights, biases, out), work.values(), problem._replace(pool=1), tiling)
        call_kernel(run, small, (work["pooled"], *gate_operands, biases[-1]), own, gating, small_tiling)
    call_kernel(run, row, (x, weights, biases, out), work.values(), problem, tiling)
    return buffers, [name for name, *_ in buffers if name not in OPERANDS], run.moved(last=True)


def check_halo(halo):
    """ValueError unless the halo is one of HALOS."""
    if halo not in HALOS:
        raise ValueError(f"halo = {halo!r}: must be {', '.join(HALOS[:-1])} or {HALOS[-1]}")


def halo_of(tiling):
    """The mode of a tiling: where a unit of `lines` rows has several steps of `step` rows, the halo between steps is kept."""
    return "cache" if tiling.step < tiling.lines else "recompute"


def fused_row(block):
    """The fused kernel of a record; ValueError for a block that has none yet."""
    try:
        row = choose_fused(block)
    except TypeError:
        if isinstance(block, Block):
            raise ValueError(f"{type(block).__name__}: has no fused kernel yet") from None
        raise
    check_fused(block)
    return row


def describe(block, n, h, w):
    """A block in a line: its record, its input and its layers, each from its channels to its channels."""
    layers = (f"{name} {problem.r}x{problem.s} {problem.c}>{problem.k}" + _group_width(problem) for name, problem in block.layers(n, h, w))
    return f"{type(block).__name__} mb{n}ic{block.c}ih{h}iw{w}: {', '.join(layers)}"


def _group_width(problem):
    if hasattr(problem, "convolved"):
        return f" ({problem.convolved} convolved)"
    return f" g{problem.c_group}" if problem.groups > 1 else ""


def _resolved(block, h, w, dtype, name):
    """(name, record, h, w) of a record, preset or name of one; ValueError says which presets there are."""
    if isinstance(block, str):
        if block not in BLOCK_PRESETS:
            raise ValueError(f"block {block!r}: must be {', '.join(BLOCK_PRESETS)}, or a record of refconv.blocks")
        block = BLOCK_PRESETS[block]
    if isinstance(block, BlockPreset):
        return name or block.name, block.record(dtype), block.size if h is None else h, block.size if w is None else w
    if h is None or w is None:
        raise ValueError(f"h = {h}, w = {w}: must be the rows and columns of the input, which only a preset has")
    return name, block, h, w
