"""The report of a simulated block for a terminal: fused and layer by layer side by side."""

from rich.text import Text

from refconv.tables import BYTES, COUNTS, Table, count, size, texts, unit_for
from sim.report.layer import layer_report


def block_report(block, machine):
    """The renderables of one BlockAccount: the fused kernel as a layer, the layers of the unfused run, and the two side by side."""
    *fused, blank = layer_report(block, machine)
    return [*fused, layers_table(block.layer_by_layer), comparison(block), hidden_share(block.layer_by_layer), blank]


def layers_table(account):
    """What each layer moves to and from DRAM while it runs, and whether memory or compute limits it."""
    table = Table("Layer by layer", "layer", "kernel", "MACs", "DRAM read", "written", "FLOP/B", "limited by", "attainable")
    for layer in account.layers:
        moved = map(size, (layer.dram.read_bytes, layer.dram.write_bytes))
        roof = f"{layer.intensity.simulated:.2f}", layer.limited_by, f"{100 * layer.attainable_efficiency:.0f} %"
        table.add_row(layer.name, layer.kernel, count(layer.macs), *moved, *roof)
    return table


def comparison(block):
    """Fused beside layer by layer; `times better` is how much better the fused kernel does, more than 1 where it does."""
    table = Table("Fused beside layer by layer", "", "fused", "layer by layer", "times better")
    both = block.runs

    def row(name, value, units):
        """A row in one unit, for a quantity of which less is better."""
        fused, apart = values = [value(run) for run in both]
        unit, scale = unit_for(values, units)
        table.add_row(f"{name}, {unit}" if unit else name, *texts(values, scale), f"{apart / fused:.2f}" if fused else "-")

    row("DRAM bytes", lambda run: run.moved_bytes, BYTES)
    row("  read", lambda run: run.dram.read_bytes, BYTES)
    row("  written", lambda run: run.dram.write_bytes, BYTES)
    row("workspace", lambda run: run.workspace_bytes, BYTES)
    row("MACs", lambda run: run.macs + run.recomputed_macs, COUNTS)
    row("  of them recomputed", lambda run: run.recomputed_macs, COUNTS)
    for name in ("simulated", "compulsory"):
        fused, apart = (getattr(run.intensity, name) for run in both)
        at = "simulated" if name == "simulated" else "at compulsory traffic"
        table.add_row(f"FLOP/B {at}", f"{fused:.2f}", f"{apart:.2f}", f"{fused / apart:.2f}")
    table.add_row("limited by", *(run.limited_by for run in both), "")
    table.add_row("attainable", *(f"{100 * run.attainable_efficiency:.0f} %" for run in both), "")
    if block.energy:
        energies = [(1e-6 * run.energy.total_pj, run.energy.delay_product_js) for run in both]
        for name, (fused, apart) in zip(("energy, uJ", "energy-delay product, J s"), zip(*energies, strict=True), strict=True):
            table.add_row(name, f"{fused:,.4g}", f"{apart:,.4g}", f"{apart / fused:.2f}")
    for mode in ("halo", "squeeze"):
        table.add_row(mode, *(getattr(run, mode) for run in both), "")
    return table


def hidden_share(account):
    """The hidden layers' part of what the layers one after another move of activations."""
    return Text(
        f"Layer by layer, {100 * account.hidden_share:.1f} % of the DRAM bytes of activations are those of the hidden layer, which its activation "
        "reads and writes once more (Lavin Sec. 5.2 counts it as part of the layer before: alpha / (alpha + 1) for a feed-forward network without "
        "residual, cold caches).\nEvery step is a pass over its tensors, as unfused_block runs it. Attainable: the layers one after another, "
        "each under its own roof."
    )
