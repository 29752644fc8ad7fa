"""The report of a simulated block for a terminal: fused and layer by layer side by side."""

from rich.text import Text

from sim.machine.quantities import show_bytes, show_count
from sim.report.layer import layer_report, make_table


def block_report(block, machine):
    """The renderables of one BlockAccount: the fused kernel as a layer, the layers of the unfused run, and the two side by side."""
    *fused, blank = layer_report(block, machine)
    return [*fused, layers_table(block.layer_by_layer), comparison(block), share(block.layer_by_layer), blank]


def layers_table(account):
    """What each layer moves to and from DRAM while it runs, and the side of the roof that puts it on."""
    table = make_table("Layer by layer", "layer", "kernel", "MACs", "DRAM read", "written", "FLOP/B", "limited by", "of peak at most")
    for layer in account.layers:
        moved = map(show_bytes, (layer.dram.read_bytes, layer.dram.write_bytes))
        roof = f"{layer.intensity.simulated:.2f}", layer.limited_by, f"{100 * layer.attainable_efficiency:.0f} %"
        table.add_row(layer.name, layer.kernel, show_count(layer.macs), *moved, *roof)
    return table


def comparison(block):
    """Fused beside unfused, and unfused over fused where that is a number."""
    table = make_table("Fused beside layer by layer", "", "fused", "layer by layer", "ratio")
    both = block.runs

    def row(name, value, show):
        fused, unfused = map(value, both)
        table.add_row(name, show(fused), show(unfused), f"{unfused / fused:.2f}" if fused else "-")

    row("DRAM bytes", lambda record: record.moved_bytes, show_bytes)
    row("  read", lambda record: record.dram.read_bytes, show_bytes)
    row("  written", lambda record: record.dram.write_bytes, show_bytes)
    row("workspace", lambda record: record.workspace_bytes, show_bytes)
    row("MACs", lambda record: record.macs + record.recomputed_macs, show_count)
    row("  of them recomputed", lambda record: record.recomputed_macs, show_count)
    row("FLOP/B simulated", lambda record: record.intensity.simulated, "{:.2f}".format)
    row("FLOP/B at compulsory traffic", lambda record: record.intensity.compulsory, "{:.2f}".format)
    table.add_row("side of the roof", *(f"{record.limited_by}-bound" for record in both), "")
    table.add_row("of peak at most", *(f"{100 * record.attainable_efficiency:.0f} %" for record in both), "")
    for mode in ("halo", "squeeze"):
        table.add_row(mode, *(getattr(record, mode) for record in both), "")
    return table


def share(account):
    """The hidden layers' part of what the unfused run moves of activations."""
    return Text(
        f"Layer by layer, {100 * account.hidden_share:.1f} % of the DRAM bytes of activations are those of the hidden layer "
        "(Lavin Sec. 5.2: alpha / (alpha + 1) for a feed-forward network without residual, cold caches).\n"
        "Steps that are no convolution are streamed; activations happen as the convolution before them stores. Of peak at most: the layers one "
        "after another, each under its own roof."
    )
