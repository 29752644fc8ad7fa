"""Results on stdout: as JSON, as CSV, as tables for a terminal."""

import csv
import json
import sys

SCHEMA = 1


def write_json(machine, result, warm=False):
    """A result {"layers": records, ...} as JSON beside the machine's record; warm: whether the runs started so."""
    json.dump({"schema": SCHEMA, "machine": machine.record(warm), **result}, sys.stdout, indent=1)
    print()


def write_rows(rows):
    """Flat records of one set of keys as CSV."""
    writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def show(machine, parts, warm=False):
    """Renderables, below a line that says what the machine is; warm: whether the runs started so.

    Tables are as wide as they need, never cut: a terminal wraps them, and text that is not to be wrapped.
    """
    from rich.console import Console
    from rich.table import Table

    from sim.report.layer import machine_line

    wide, parts = Console(width=10_000), list(parts)
    widest = max((wide.measure(part).maximum for part in parts if isinstance(part, Table)), default=0)
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, 110, widest))
    for part in (machine_line(machine, warm), "", *parts):
        console.print(part, soft_wrap=bool(getattr(part, "no_wrap", False)))
