"""Tables whose numbers are never cut: a column has one unit, and a table wider than its place is folded into several with the same first column."""

import io
import os
import re
import sys
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

BYTES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))
COUNTS = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3), ("", 1))
LEAST = 10
"""The smallest number of a column is at least this many units, so that all have three digits or more; or else all are whole."""
BOUNDLESS = 1 << 20
"""The width of a place without an edge."""
TEXT_COLUMNS = 110
"""The width of text where stdout has no edge and no table is wider."""


class Quantity(NamedTuple):
    """A number of a table, and the units that it may be told in: BYTES or COUNTS."""

    value: int
    units: tuple


def size(count):
    """Bytes as a cell."""
    return Quantity(count, BYTES)


def count(number):
    """A count as a cell."""
    return Quantity(number, COUNTS)


def unit_for(values, units):
    """(name, scale) of the largest unit that tells all values apart from 0: the smallest is LEAST units or more, or all are whole units."""
    present = [value for value in values if value]
    whole = lambda scale: all(value % scale == 0 for value in present)
    return next((name, scale) for name, scale in units if scale == 1 or (present and (min(present) >= LEAST * scale or whole(scale))))


def texts(values, scale):
    """The values in a unit of that scale, as text: whole, or with one decimal."""
    whole = all(value % scale == 0 for value in values)
    return [f"{value // scale:,}" if whole else f"{value / scale:,.1f}" for value in values]


class Table:
    """A table: the first column says what a row is about, the others are numbers, or text in those named in `left`.

    Quantities of one kind have one unit in all columns, which is then said below each column's name; those of the first column have their own.
    """

    def __init__(self, title, *columns, left=()):
        self.title, self.columns, self.left, self.rows, self.ends = title, columns, left, [], set()

    def add_row(self, *cells):
        """A cell a column: text, rich Text or a Quantity."""
        self.rows.append(cells)

    def add_section(self):
        """A line after the last row."""
        self.ends.add(len(self.rows) - 1)

    def folded(self, width=None):
        """[(title, rich table)] of the columns, each as wide as `width` allows (None: without an edge), or wider where one column needs it."""
        columns, parts, at = self._texts(), [], 1
        while at < len(columns):
            end = at + 1
            while end < len(columns) and measured(self._drawn(columns, at, end + 1)) <= (width or BOUNDLESS):
                end += 1
            title = f"{self.title} (continued)" if parts else self.title
            parts.append((title, self._drawn(columns, at, end)))
            at = end
        return parts

    def _texts(self):
        """[(name, cells)] of the columns as text."""
        cells = [list(column) for column in zip(*self.rows, strict=True)] or [[] for _ in self.columns]
        units = {}
        for units_of in (BYTES, COUNTS):
            shared = [cell.value for column in cells[1:] for cell in column if isinstance(cell, Quantity) and cell.units is units_of]
            units[units_of] = unit_for(shared, units_of)
        return [self._column(name, column, units if i else None) for i, (name, column) in enumerate(zip(self.columns, cells, strict=True))]

    def _column(self, name, cells, shared):
        quantities = [cell for cell in cells if isinstance(cell, Quantity)]
        if not quantities:
            return name, cells
        values, kind = [cell.value for cell in quantities], quantities[0].units
        unit, scale = shared[kind] if shared else unit_for(values, kind)
        shown = iter(texts(values, scale))
        return f"{name}\n{unit}".rstrip(), [next(shown) if isinstance(cell, Quantity) else cell for cell in cells]

    def _drawn(self, columns, first, last):
        """The rich table of the first column and columns[first:last]."""
        drawn = Drawn(box=SIMPLE, pad_edge=False)
        chosen = [columns[0], *columns[first:last]]
        for i, (name, _) in enumerate(chosen):
            drawn.add_column(name, justify="left" if i == 0 or name.partition("\n")[0] in self.left else "right", no_wrap=True)
        for row, cells in enumerate(zip(*(cells for _, cells in chosen), strict=True)):
            drawn.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells), end_section=row in self.ends)
        return drawn


def measured(drawn):
    """Columns that a rich table needs."""
    return Console(width=BOUNDLESS).measure(drawn).maximum


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


def as_text(table):
    """A table as text without an edge."""
    console = Console(file=io.StringIO(), highlight=False, width=BOUNDLESS)
    for title, drawn in table.folded():
        console.print(Text(title))
        console.print(drawn)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


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
