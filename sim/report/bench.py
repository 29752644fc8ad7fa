"""The table of sim.bench: accesses simulated per second, beside those of pycachesim."""

from refconv.tables import Table


def bench_table(machine, rows):
    """The Table of rows (name, accesses per second, those of pycachesim or None)."""
    title = f"Accesses per second through {len(machine.levels)} levels of {machine.name}"
    table = Table(title, "", "here\nM/s", "pycachesim\nM/s", "times faster")
    for name, ours, theirs in rows:
        table.add_row(name, f"{ours / 1e6:.1f}", *(("-", "-") if theirs is None else (f"{theirs / 1e6:.1f}", f"{ours / theirs:.1f}")))
    return table
