"""SCALE-Sim topologies: a CSV row a layer, `Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,`.

As SCALE-Sim reads them (scalesim/topology_utils.py of scalesim-project/scale-sim-v2): the first row is a header; rows end in a comma; a ninth
number is a horizontal stride of its own; a layer whose name contains DP is depthwise, `Num Filter` for each channel; there are
ceil((size - filter) / stride) + 1 outputs, so that a last window may hang over the edge. There is no padding, no group, no dilation.
Read leniently: a file without header, without the last comma, with empty lines or blanks.
"""

import csv

from refconv.graph.model import Model, ModelLayer, printable
from refconv.problem.conv import Conv2d

MOST_BYTES = 1 << 24
COLUMNS = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter", "Strides", "horizontal Strides")
PADDING = "padding is unknown: a topology has no column for it, so inputs count as padded already, or not padded"


def read_topology(path, batch=None):
    """The Model of a topology for `batch` images (None: 1); ValueError names the line, the column and what is legal."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"has more than {MOST_BYTES} characters: must be a table of layers")
        reader = csv.reader(text.splitlines(), skipinitialspace=True, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot be read as text: {error.reason} at byte {error.start}; must be CSV in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"cannot be read as CSV: {error}") from None
    rows = [(line, row) for line, row in rows if any(row)]
    if rows and not any(cell.isdecimal() for cell in rows[0][1][1:]):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"has no layers: must have rows of a layer name and {', '.join(COLUMNS[:7])}")
    layers = []
    for line, row in rows:
        try:
            layers.append(layer_of(row, batch or 1))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
    return Model(str(path), tuple(layers), (), (PADDING,))


def layer_of(row, batch):
    """The ModelLayer of a row of cells."""
    name, *cells = row
    while cells and not cells[-1]:
        cells.pop()
    if not 7 <= len(cells) <= 8:
        raise ValueError(f"has {len(cells)} numbers: must be a name and {', '.join(COLUMNS[:7])}, and as an eighth {COLUMNS[7]} where they differ")
    for column, cell in zip(COLUMNS, cells, strict=False):
        if not (cell.isascii() and cell.isdecimal() and len(cell) < 12 and int(cell)):
            raise ValueError(f"{column}: {cell!r}: must be an integer of 1 or more")
    h, w, r, s, c, filters, *strides = map(int, cells)
    for size, kernel, axis in ((h, r, "Height"), (w, s, "Width")):
        if kernel > size:
            raise ValueError(f"Filter {axis}: {kernel}: must be at most IFMAP {axis} = {size}")
    down, across = strides[0], strides[-1]
    depthwise = "DP" in name
    pads = 0, 0, -(h - r) % down, -(w - s) % across
    problem = Conv2d(batch, c, h, w, c * filters if depthwise else filters, r, s, down, across, *pads, 1, 1, c if depthwise else 1)
    return ModelLayer(printable(name), "depthwise" if depthwise else "conv", problem.checked())
