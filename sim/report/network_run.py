"""The report of a whole network's run for a terminal: a row a call, what moves by kind, memory, and what was left out."""

from rich.text import Text

from refconv.graph.model import printable, sizes_text
from refconv.tables import Table, count, size
from sim.machine.quantities import show_bytes, show_count
from sim.report.energy import energy_report
from sim.report.layer import verdict
from sim.report.network import efficiency

KIND_NAMES = {"input": "inputs", "activation": "activations", "weight": "weights", "workspace": "workspace", "output": "outputs"}
"""Of sim.account.network_steps.KINDS, in a table."""


def network_report(account, machine):
    """The renderables of a NetworkRunAccount."""
    inputs = ", ".join(f"{printable(name)} {sizes_text(shape)}" for name, shape in account.inputs.items())
    yield Text.assemble((account.name, "bold"), f"   {inputs}, {account.dtype}")
    calls = f"{len(account.steps)} calls: {show_count(account.macs, 'MAC')} = {show_count(account.flops, 'FLOP')}"
    memory = f"memory {show_bytes(account.peak_bytes)} at the peak (activations {show_bytes(account.arena_bytes)}, workspace "
    yield Text(f"{calls}; {memory}{show_bytes(account.workspace_bytes)}), weights {show_bytes(account.weight_bytes)}")
    yield steps_table(account)
    yield kinds_table(account)
    times = f"; traffic is {account.bound_ratio:.2f} times that" if account.bound_bytes else ""
    yield Text(
        f"Lower bound {show_bytes(account.bound_bytes)}: {account.bound_source}{times}.\n"
        f"Attainable, one call after another, each under its own roof: {efficiency(account)} of the peak."
    )
    yield verdict(account, machine)
    yield from energy_report(account, machine)
    if account.not_modelled:
        yield missing_table(account)


def steps_table(account):
    """What each call moves from when the call before it has ended until it has."""
    table = Table(
        "Calls, one after another on the caches as they are left",
        *("tensor", "op", "kernel", "size", "MACs", "DRAM read", "written", "weights", "activations", "workspace"),
        *("FLOP/B", "limited by", "attainable"),
        left=("op", "kernel", "size"),
    )

    def row(record, limited_by, *names):
        moved = {kind: dram.moved_bytes for kind, dram in record.kinds.items()}
        between = sum(moved.get(kind, 0) for kind in ("input", "activation", "output"))
        sizes = record.dram.read_bytes, record.dram.write_bytes, moved.get("weight", 0), between, moved.get("workspace", 0)
        table.add_row(*names, count(record.macs), *map(size, sizes), f"{record.intensity.simulated:.2f}", limited_by, efficiency(record))

    for step in account.steps:
        row(step, step.limited_by, Text(printable(step.name)), step.op, step.kernel, sizes_text(step.output))
    table.add_section()
    row(account, "", "all", "", "", "")
    return table


def kinds_table(account):
    """DRAM bytes by what the buffers are, beside what any program moves of them."""
    table = Table("DRAM", "kind", "size", "read", "written", "bound", "ratio")
    for kind, moved in account.kinds.items():
        ratio = f"{moved.moved_bytes / moved.bound_bytes:.2f}" if moved.bound_bytes else "-"
        table.add_row(KIND_NAMES[kind], *map(size, (moved.bytes, moved.read_bytes, moved.write_bytes, moved.bound_bytes)), ratio)
    table.add_section()
    bound = sum(moved.bound_bytes for moved in account.kinds.values())
    ratio = f"{account.moved_bytes / bound:.2f}" if bound else "-"
    table.add_row("all", "", *map(size, (account.dram.read_bytes, account.dram.write_bytes, bound)), ratio)
    return table


def missing_table(account):
    """The nodes that cannot be run."""
    table = Table(f"Not counted: {len(account.not_modelled)} nodes that cannot be run", "node", "elements", "MACs", "why", left=("why",))
    known = lambda number: "unknown" if number is None else count(number)
    for node in account.not_modelled:
        table.add_row(Text(node.name), known(node.elements), known(node.macs), Text(printable(node.remark)))
    return table
