"""Results on stdout: as JSON, as CSV, as tables for a terminal."""

import csv
import json
import os
import re
import sys

from rich.console import Console
from rich.text import Text

from sim.report.layer import machine_line
from sim.report.table import BOUNDLESS, Table, measured

SCHEMA = 1
TEXT_COLUMNS = 110
"""The width of text where stdout has no edge and no table is wider."""


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


def show_parts(parts):
    """Tables, texts and lines on stdout, within its columns: tables are folded, texts broken between words; no number is ever cut.

    What is wider than that in one piece (a column, a word, a text that is not to be wrapped) is printed whole, for the terminal to wrap.
    """
    width, parts = columns(), list(parts)
    tables = {id(part): part.folded(width) for part in parts if isinstance(part, Table)}
    widest = max((measured(drawn) for folded in tables.values() for _, drawn in folded), default=0)
    edge, console = width or max(TEXT_COLUMNS, widest), Console(highlight=False, width=BOUNDLESS)
    for part in parts:
        for title, drawn in tables.get(id(part), ()):
            for line in broken(Text(title), edge):
                console.print(line)
            console.print(drawn)
        if not isinstance(part, Table):
            text = part if isinstance(part, Text) else Text(part)
            for line in [text] if text.no_wrap else broken(text, edge):
                console.print(line)


def columns():
    """The columns of stdout: what COLUMNS says, else the terminal's, else None: a file or a pipe has no edge."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    return Console().width if sys.stdout.isatty() else None


def broken(text, width):
    """The lines of a rich Text, broken between words only."""
    for paragraph in text.split("\n", allow_blank=True):
        cuts, start = [], 0
        for word in re.finditer(r"\S+", paragraph.plain):
            if word.end() - start > width and paragraph.plain[start : word.start()].strip():
                start = word.start()
                cuts.append(start)
        for line in paragraph.divide(cuts):
            line.rstrip()
            yield line
