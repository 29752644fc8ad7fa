"""The energy of a layer for a terminal: by level, by tensor, and the energy-delay product."""

from rich.text import Text

from refconv.elements import element
from refconv.tables import Table
from sim.report.network import percent


def energy_report(layer, machine):
    """The renderables of the energy of a layer, or of a block's fused kernel; of nothing on a machine that says nothing of energy.

    One line says why there is none where the machine says it of other types of numbers.
    """
    if machine.energy is None:
        return
    if layer.energy is None:
        yield Text(
            f"No energy: {machine.name} says that of multiply-adds of {', '.join(machine.energy.mac_pj)}, sums here are {element(layer.dtype).work}; "
            f"it takes a machine file with energy: mac: {{{element(layer.dtype).work}: ... pJ}}."
        )
        return
    energy = layer.energy
    table = Table(f"Energy ({energy.source})", "", "uJ", "share")
    for name, value in energy.by_level_pj.items():
        table.add_row(name, f"{value * 1e-6:,.3f}", percent(value / energy.total_pj))
    table.add_section()
    for name, value in energy.by_tensor_pj.items():
        table.add_row(f"  of {name}", f"{value * 1e-6:,.3f}", percent(value / energy.total_pj))
    table.add_section()
    table.add_row("all", f"{energy.total_pj * 1e-6:,.3f}", percent(1))
    yield table
    yield Text(
        f"Energy-delay product {energy.delay_product_js:.4g} J s; the delay is the least time under the roof, {1e3 * energy.delay_s:.3f} ms. "
        "Only multiply-adds and accesses cost energy here. The rows of tensors share out what the caches and DRAM cost."
    )
