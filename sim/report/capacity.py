"""The report of traffic against capacity for a terminal: a row a size, the machine's caches among them."""

from rich.text import Text

from sim.cli.capacity import by_operand, runs_of
from sim.machine.quantities import show_bytes, show_size
from sim.report.layer import make_table


def capacity_report(record):
    """The renderables of one record of sim.capacity."""
    heading = Text.assemble((record["name"], "bold"), f"   {record['descriptor']}" if record["name"] != record["descriptor"] else "")
    return [heading, *(part for one in runs_of(record) for part in one_report(one)), Text("")]


def one_report(one):
    """A table of one run: bytes read and written, over what is compulsory, the bound where it is more, and read and written together by tensor."""
    tile = " ".join(f"{name}={value}" for name, value in one["tiling"].items())
    operands = [name for name in by_operand(one["points"][0]) if any(moved(by_operand(point)[name]) for point in one["points"])]
    bounded = any(point["bound_bytes"] > one["compulsory_bytes"] for point in one["points"])
    columns = "capacity", "", "read", "written", "ratio", *(("bound",) if bounded else ()), *operands
    table = make_table("DRAM traffic of a fully associative LRU cache", *columns)
    for point in one["points"]:
        size, caches = show_size(point["capacity_bytes"]), ", ".join(point["caches"])
        totals = (show_size(point[key]) for key in ("read_bytes", "write_bytes"))
        ratio = f"{moved(point) / one['compulsory_bytes']:.2f}"
        tensors = (show_size(moved(by_operand(point)[name])) for name in operands)
        bound = (show_size(point["bound_bytes"]),) if bounded else ()
        table.add_row(size, caches, *totals, ratio, *bound, *tensors)
    text = (
        f"{show_bytes(one['touched_bytes'])} touched, {show_bytes(one['compulsory_bytes'])} compulsory; "
        f"the machine's own hierarchy moves {show_bytes(one['simulated_bytes'])}"
    )
    return [Text(f"{one['kernel']} kernel, {one['dtype']}{', ' if tile else ''}{tile}"), table, Text(text)]


def moved(counts):
    """Bytes read and written."""
    return counts["read_bytes"] + counts["write_bytes"]
