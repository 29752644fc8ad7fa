"""The energy of a layer for a terminal: by level, by tensor, and the energy-delay product."""

from rich.text import Text

from sim.report.network import percent
from sim.report.table import Table


def energy_report(layer, machine):
    """The renderables of the energy of a layer, or of a block's fused kernel; of nothing on a machine that says nothing of energy.

    One line says why there is none where the machine says it of other types of numbers.
    """
    if machine.energy is None:
        return
    if layer.energy is None:
        yield Text(
            f"No energy: {machine.name} says what a multiply-add of {', '.join(machine.energy.mac_pj)} costs (energy: mac: in its file), "
            f"and sums for {layer.dtype} have none of these types."
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
        f"Energy-delay product {energy.delay_product_js:.4g} J s, the delay being the least under the roof, {1e3 * energy.delay_s:.3f} ms. "
        "Multiply-adds and accesses alone; rows of tensors are parts of the levels' and DRAM's."
    )
