"""Run a residual block on a simulated machine: fused into one kernel, and layer by layer.

The fused kernels are called as `refconv.fused_block` calls them (refconv/schedule.py); the layers are those of refconv.kernels
(sim/account/layer_by_layer.py)."""

import time

from refconv.elements import element
from refconv.networks.blocks import BLOCK_PRESETS, BlockPreset
from refconv.schedule import MODES, OPERANDS, block_schedule
from sim.account.layer import account, call_kernel, moved_bytes, plain_numbers, ready
from sim.account.layer_by_layer import NO_CHOICE, unfused
from sim.analysis.bounds import beside, chain_bound
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
    name=None,
):
    """The traffic of a block, fused and layer by layer, as a JSON-ready dict.

    block: a record of refconv.blocks, whose arrays count for their shapes only, a BlockPreset or the name of one. n images of h x w pixels
    (None: the preset's). machine, dtype, stores: as in sim.simulate. tiling: of refconv.fused.tiling, else the rule's for that machine. halo,
    squeeze: as of refconv.fused_block, legal for the same blocks. One thread.

    Keys: those of sim.simulate ("weight" and "bias" are all weights and all biases; compulsory: Block.compulsory), "halo" and "squeeze" (modes, or
    "none" where the block has no such choice), "recomputed_macs" (beyond `macs`; flops and intensity do not count them), and "unfused", a
    record of the layers (sim/account/layer_by_layer.py). Workspace is what the
    kernels declare, in memory that calls one after another share as in refconv (refconv/schedule.py), and what one call leaves for another: with
    squeeze-excitation "gates", with squeeze="spill" "hidden_layer". ValueError or TypeError says what is illegal.
    """
    machine, dtype = ready(machine), element(dtype)
    name, block, h, w = _resolved(block, h, w, dtype, name)
    schedule = block_schedule(block, n, h, w, dtype, machine.target, tiling=tiling, halo=halo, squeeze=squeeze)
    row, problem, chosen = schedule.calls[0][:3]
    start = time.perf_counter()
    buffers, moved = run_fused(schedule, machine, stores)
    seconds = time.perf_counter() - start
    descriptor = describe(block, n, h, w)
    named = {"name": name or descriptor, "descriptor": descriptor}
    workspace = [name for name, *_ in buffers if name not in OPERANDS]
    accounted = account(block.macs(n, h, w), block.compulsory(n, h, w), buffers, *moved, machine, dtype, workspace)
    return {
        **named,
        "kernel": "fused",
        "tiling": plain_numbers(chosen),
        "dtype": str(dtype),
        "stores": stores,
        "start": "cold",
        **accounted,
        **beside(chain_bound(block, n, h, w), dtype.itemsize, moved_bytes(accounted)),
        "simulation_s": seconds,
        "halo": schedule.halo or NO_CHOICE,
        "squeeze": schedule.squeeze or NO_CHOICE,
        "recomputed_macs": row.recomputed_macs(problem, chosen, schedule.squeeze) if schedule.halo else 0,
        "unfused": {**named, **unfused(block, n, h, w, machine, dtype, stores)},
    }


def run_fused(schedule, machine, stores):
    """(buffers, lines moved) of the calls of a block's Schedule."""
    buffers = list(schedule.buffers.values())
    run = Run(machine, buffers, stores)
    laid = dict(zip(schedule.buffers, run.buffers, strict=True))
    for call in schedule.calls:
        source, weights, biases, made = call.operands
        operands = laid[source], tuple(laid[name] for name in weights), tuple(laid[name] for name in biases), laid[made]
        work = [laid[place]._replace(size=elements) for place, elements in zip(call.places, call.sizes, strict=True)]
        call_kernel(run, call, operands, work)
    return buffers, run.moved(last=True)


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
