"""Run a residual block on a simulated machine: fused into one kernel, and layer by layer.

The fused kernels are called as `refconv.fused_block` calls them (refconv/schedule.py); the layers are those of refconv.kernels
(sim/account/layer_by_layer.py)."""

import time

from refconv.elements import element
from refconv.networks.blocks import BLOCK_PRESETS, BlockPreset
from refconv.schedule import MODES, OPERANDS, block_schedule
from refconv.tiling.checked import as_numbers
from sim.account.energy import energy_of
from sim.account.layer import Lines, Work, account, call_kernel, checked_machine
from sim.account.layer_by_layer import describe, simulate_layers
from sim.account.records import NO_CHOICE, BlockAccount
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

    block: a record of refconv.problem.blocks, whose arrays count for their shapes only, a BlockPreset or the name of one. n images of h x w
    pixels (None: the preset's). machine, dtype, stores: as in sim.simulate. tiling: one for its kernel (refconv/tiling/blocks.py), else the
    rule's for that machine. halo, squeeze: as of refconv.fused_block, legal for the same blocks. One thread.

    Of its tensors "weight" and "bias" are all weights and all biases; compulsory: Block.compulsory. Workspace is what the kernels declare, in
    memory that calls one after another share as in refconv (refconv/schedule.py), and what one call leaves for another: with
    squeeze-excitation "gates", with squeeze="spill" "hidden_layer". layer_by_layer: the account of the layers (sim/account/layer_by_layer.py).
    ValueError or TypeError says what is illegal.
    """
    machine, dtype = checked_machine(machine), element(dtype)
    name, block, h, w = _resolved(block, h, w, dtype)
    schedule = block_schedule(block, n, h, w, dtype, machine.target, tiling=tiling, halo=halo, squeeze=squeeze)
    call = schedule.calls[0]
    start = time.perf_counter()
    moved = fused_account(schedule, block, (n, h, w), machine, stores)
    seconds = time.perf_counter() - start
    descriptor = describe(block, n, h, w)
    recomputed = call.kernel.recomputed_macs(call.problem, call.tiling, schedule.squeeze) if call.kernel.recomputed_macs else 0
    return BlockAccount(
        **vars(moved),
        name=name or descriptor,
        descriptor=descriptor,
        kernel="fused",
        tiling=as_numbers(call.tiling),
        dtype=str(dtype),
        stores=stores,
        start="cold",
        energy=energy_of(moved, machine, dtype, recomputed_macs=recomputed),
        simulation_s=seconds,
        halo=schedule.halo or NO_CHOICE,
        squeeze=schedule.squeeze or NO_CHOICE,
        recomputed_macs=recomputed,
        layer_by_layer=simulate_layers(block, n, h, w, machine, dtype, stores, name),
    )


def fused_account(schedule, block, images, machine, stores=TEMPORAL):
    """The Account of a run of a block's Schedule, which is for images of (n, h, w) pixels."""
    buffers, lines = run_fused(schedule, machine, stores)
    workspace = [name for name, *_ in buffers if name not in OPERANDS]
    work = Work(block.macs(*images), block.compulsory(*images), chain_bound(block, *images))
    return account(work, buffers, lines, machine, schedule.element, workspace)


def run_fused(schedule, machine, stores):
    """(buffers, Lines) of the calls of a block's Schedule."""
    buffers = list(schedule.buffers.values())
    run = Run(machine, buffers, stores)
    laid = dict(zip(schedule.buffers, run.buffers, strict=True))
    for call in schedule.calls:
        operands = [laid[key] for key in (*call.inputs, call.out)]
        work = [laid[place]._replace(size=elements) for place, elements in zip(call.places, call.sizes, strict=True)]
        call_kernel(run, call, [*operands, *work])
    return buffers, Lines(*run.moved(last=True))


def _resolved(block, h, w, dtype):
    """(name or None, record, h, w) of a record, preset or name of one; ValueError says which presets there are."""
    if isinstance(block, str):
        if block not in BLOCK_PRESETS:
            raise ValueError(f"block {block!r}: must be {', '.join(BLOCK_PRESETS)}, or a record of refconv.problem.blocks")
        block = BLOCK_PRESETS[block]
    if isinstance(block, BlockPreset):
        return block.name, block.record(dtype), block.size if h is None else h, block.size if w is None else w
    if h is None or w is None:
        raise ValueError(f"h = {h}, w = {w}: must be the rows and columns of the input, which only a preset has")
    return None, block, h, w
