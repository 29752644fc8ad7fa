"""Run a residual block on a simulated machine: fused into one kernel, and layer by layer.

The fused kernels are called as `refconv.fused_block` calls them (refconv/schedule.py); the layers are those of refconv.kernels
(sim/account/layer_by_layer.py)."""

import time

from refconv.elements import element
from refconv.kernels import FUSED, choose_fused
from refconv.networks.blocks import BLOCK_PRESETS, BlockPreset
from refconv.schedule import MODES, check_modes, has_choice, parameters, passes, squeeze_for, tiling_for
from refconv.weights.blocks import block_problem, pack_block
from sim.account.layer import Lines, Work, account, call_kernel, checked_tiling, plain_numbers, ready
from sim.account.layer_by_layer import describe, simulate_layers
from sim.account.records import NO_CHOICE, OPERANDS, BlockAccount
from sim.analysis.bounds import chain_bound
from sim.trace.nontemporal import TEMPORAL
from sim.trace.run import Run


def simulate_block(
    block,
    n=1,
    h=None,
    w=None,
    machine="host",
    *,
    tiling=None,
    dtype="float32",
    halo=MODES["halo"][0],
    squeeze=MODES["squeeze"][0],
    stores=TEMPORAL,
):
    """The BlockAccount of a block (sim/account/records.py): its fused kernel, and its layers one after another.

    block: a record of refconv.blocks, whose arrays count for their shapes only, a BlockPreset or the name of one. n images of h x w pixels
    (None: the preset's). machine, dtype, stores: as in sim.simulate. tiling: of refconv.fused.tiling, else the rule's for that machine. halo,
    squeeze: as of refconv.fused_block, legal for the same blocks. One thread.

    Of its tensors "weight" and "bias" are all weights and all biases; compulsory: Block.compulsory. Workspace is every kernel's own, side by
    side, and what one pass leaves for another: with squeeze-excitation "gates", with squeeze="spill" "hidden_layer". layer_by_layer: the
    account of the layers (sim/account/layer_by_layer.py). ValueError or TypeError says what is illegal.
    """
    machine, dtype = ready(machine), element(dtype)
    name, block, h, w = _resolved(block, h, w, dtype)
    row = choose_fused(block)
    check_modes(block, halo=halo, squeeze=squeeze)
    lanes = machine.target.lanes(dtype.work.itemsize)
    problem, packed = block_problem(block, n, h, w, lanes), pack_block(block, lanes)
    row.check(problem, lanes)
    wanted = tiling_for(row, problem, dtype, tiling, halo, machine.target)
    chosen = checked_tiling(row, problem, dtype, machine, wanted)
    start = time.perf_counter()
    squeeze = squeeze_for(problem, dtype, squeeze, machine.target)
    steps = passes(row, block, packed, problem, chosen, squeeze)
    buffers, lines = run_fused(steps, packed, problem, machine, dtype, stores)
    seconds = time.perf_counter() - start
    descriptor = describe(block, n, h, w)
    workspace = [name for name, *_ in buffers if name not in OPERANDS]
    work = Work(block.macs(n, h, w), block.compulsory(n, h, w), chain_bound(block, n, h, w))
    return BlockAccount(
        **vars(account(work, buffers, lines, machine, dtype, workspace)),
        name=name or descriptor,
        descriptor=descriptor,
        kernel="fused",
        tiling=plain_numbers(chosen),
        dtype=str(dtype),
        stores=stores,
        start="cold",
        simulation_s=seconds,
        halo=halo_of(chosen) if has_choice("halo", block) else NO_CHOICE,
        squeeze=squeeze if has_choice("squeeze", block) else NO_CHOICE,
        recomputed_macs=row.recomputed_macs(problem, chosen, squeeze) if has_choice("halo", block) else 0,
        layer_by_layer=simulate_layers(block, n, h, w, machine, dtype, stores, name),
    )


def run_fused(steps, packed, problem, machine, dtype, stores):
    """(buffers, Lines) of the kernel calls of a fused block, as `refconv.fused_block` makes them.

    Passes of one kernel share its workspace, whose buffers have their own names; those of further kernels have the kernel's in front.
    """
    sizes = {"input": problem.n * problem.h * problem.w * problem.c, "nothing": 0}
    sizes |= {name: array.size for name, array in parameters(packed).items()} | {step.out: step.size for step in steps}
    buffers, places, calls = [(name.split(".")[0], size, dtype.itemsize) for name, size in sizes.items()], list(sizes), []
    for step in steps:
        row = FUSED[step.name]
        tiling = step.tiling or row.tiling(step.problem, dtype.work.itemsize, machine.target)
        work = row.workspace(step.problem, tiling, machine.target.lanes(dtype.work.itemsize), dtype.half)
        own = {name if step.name == steps[0].name else f"{step.name}_{name}": size for name, size in work.items()}
        new = {name: size for name, size in own.items() if name not in places}
        buffers += [(name, size, dtype.work.itemsize) for name, size in new.items()]
        places += new
        calls.append((step, row, tuple(own), tiling))
    run = Run(machine, buffers, stores)
    laid = dict(zip(places, run.buffers, strict=True))
    for step, row, own, tiling in calls:
        weights, biases, work = (tuple(laid[name] for name in names) for names in (step.weights, step.biases, own))
        call_kernel(run, row, (laid[step.x], weights, biases, laid[step.out]), work, step.problem, tiling)
    return buffers, Lines(*run.moved(last=True))


def halo_of(tiling):
    """The mode of a tiling: where a unit of `lines` rows has several steps of `step` rows, the halo between steps is kept."""
    return "cache" if tiling.step < tiling.lines else "recompute"


def _resolved(block, h, w, dtype):
    """(name or None, record, h, w) of a record, preset or name of one; ValueError says which presets there are."""
    if isinstance(block, str):
        if block not in BLOCK_PRESETS:
            raise ValueError(f"block {block!r}: must be {', '.join(BLOCK_PRESETS)}, or a record of refconv.blocks")
        block = BLOCK_PRESETS[block]
    if isinstance(block, BlockPreset):
        return block.name, block.record(dtype), block.size if h is None else h, block.size if w is None else w
    if h is None or w is None:
        raise ValueError(f"h = {h}, w = {w}: must be the rows and columns of the input, which only a preset has")
    return None, block, h, w
