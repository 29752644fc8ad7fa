"""Results on stdout: as JSON, as CSV, as tables for a terminal."""

import csv
import json
import sys

from refconv.tables import show_parts
from sim.report.layer import machine_line

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


def show(machine, parts, warm=False, cores=1):
    """Parts of reports, below a line that says what the machine is; warm: whether the runs started so; cores: asked for."""
    show_parts([machine_line(machine, warm, cores), "", *parts])
