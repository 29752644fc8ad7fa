"""Tables of the command lines: what bench and networks print."""

from rich.box import SIMPLE
from rich.table import Table

TEXT_COLUMNS = 150
"""The width of text where stdout is no terminal."""


def table(title, *columns, left=()):
    """An empty rich table: the first column and those named in `left` are text, the others numbers."""
    result = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
    for i, column in enumerate(columns):
        result.add_column(column, justify="left" if i == 0 or column in left else "right", no_wrap=True)
    return result
