"""The report of traffic against capacity for a terminal: a row a size, the machine's caches among them."""

from rich.text import Text

from refconv.tables import Table, size
from sim.account.records import LayerByLayerAccount, by_operand
from sim.machine.quantities import show_bytes
from sim.report.layer import name_line


def capacity_report(account):
    """The renderables of one CapacityAccount."""
    return [*name_line(account.run), *(part for one in account.runs for part in one_report(one)), Text("")]


def one_report(one):
    """A table of one run: bytes read and written, over what is compulsory, the bound where it is more, and read and written together by tensor."""
    run, points = one.run, [(point, by_operand(point.tensors)) for point in one.points]
    tile = " ".join(f"{name}={value}" for name, value in run.tiling.items())
    operands = [name for name in points[0][1] if any(tensors[name].moved_bytes for _, tensors in points)]
    bounded = any(point.bound_bytes > run.compulsory_bytes for point in one.points)
    columns = "capacity", "", "read", "written", "ratio", *(("bound",) if bounded else ()), *operands
    table = Table("DRAM traffic of a fully associative LRU cache", *columns)
    for point, tensors in points:
        bound = (size(point.bound_bytes),) if bounded else ()
        table.add_row(
            size(point.capacity_bytes),
            ", ".join(point.caches),
            size(point.read_bytes),
            size(point.write_bytes),
            f"{point.moved_bytes / run.compulsory_bytes:.2f}",
            *bound,
            *(size(tensors[name].moved_bytes) for name in operands),
        )
    text = (
        f"{show_bytes(one.touched_bytes)} touched, {show_bytes(run.compulsory_bytes)} compulsory; "
        f"the machine's own hierarchy moves {show_bytes(run.moved_bytes)}"
    )
    what = "layer by layer" if isinstance(run, LayerByLayerAccount) else f"{run.kernel} kernel"
    return [Text(f"{what}, {run.dtype}{', ' if tile else ''}{tile}"), table, Text(text)]
