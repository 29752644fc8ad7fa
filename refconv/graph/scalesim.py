"""SCALE-Sim topologies: a CSV row a layer, `Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,`.

As SCALE-Sim has them (scalesim/topology_utils.py and topologies/ of scalesim-project, v2 and v3): the first row is a header; rows end in a comma;
a layer whose name contains DP is depthwise, `Num Filter` for each channel; there are ceil((size - filter) / stride) + 1 outputs, so that a last
window may hang over the edge. There is no padding, no group, no dilation. A product has `Layer, M, N, K`: an M x K input, a K x N filter. v3 adds
`Sparsity` (N:M) and `Batch Size`. Public files also have tabs for commas, rows with the name of a network alone, and notes after the last comma.

SCALE-Sim reads by position; here columns are read by the names in the header, in any order, that of the layer's name too. A file without header has
the columns above, and as an eighth number the horizontal stride.
"""

import csv
import unicodedata
from typing import NamedTuple

from refconv.graph.model import Model, ModelLayer, printable
from refconv.problem.conv import Conv2d

MOST_BYTES = 1 << 24
SIZES = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter")
STRIDES, STRIDE_HEIGHT, STRIDE_WIDTH, BATCH, SPARSITY = "Strides", "Stride Height", "Stride Width", "Batch Size", "Sparsity"
CONVOLUTION, PRODUCT = (*SIZES, STRIDES), ("M", "N", "K")
LAYER = "Layer name"
OTHER_SPELLINGS = {
    "layer": LAYER,
    "l": LAYER,
    "name": LAYER,
    "channel": "Channels",
    "num filters": "Num Filter",
    "stride": STRIDES,
    "horizontal strides": STRIDE_WIDTH,
    "horizontal stride": STRIDE_WIDTH,
    "vertical strides": STRIDE_HEIGHT,
    "vertical stride": STRIDE_HEIGHT,
    "batch": BATCH,
}
COLUMNS = {name.lower(): name for name in (LAYER, *CONVOLUTION, *PRODUCT, STRIDE_HEIGHT, STRIDE_WIDTH, BATCH, SPARSITY)} | OTHER_SPELLINGS
DENSE = "1:1"
PADDING = "padding is unknown: a topology has no column for it, so inputs count as padded already, or not padded"


class Header(NamedTuple):
    """The columns of a table: names by position without the layer's, None for a column of notes. given: whether the file has them.

    name_at: the position of the layer's name.
    """

    columns: tuple
    given: bool
    name_at: int = 0

    @property
    def required(self):
        """The columns that every row must have."""
        if "M" in self.columns:
            return PRODUCT
        return (*SIZES, STRIDE_HEIGHT, STRIDE_WIDTH) if STRIDE_HEIGHT in self.columns else CONVOLUTION


WITHOUT_HEADER = Header((*CONVOLUTION, STRIDE_WIDTH), given=False)


def read_topology(path, batch=None):
    """The Model of a topology for `batch` images (None: those of its column, else 1); ValueError names the line, the column and what is legal."""
    header, layers, images, notes = None, [], {}, {}
    for line, row in rows_of(path):
        try:
            if is_header(row, first=header is None):
                header = header_of(row, notes)
            elif not any(row[1:]):
                notes.setdefault("rows with a name alone are taken for headings", []).append(row[0])
            else:
                header = header or WITHOUT_HEADER
                name, cells = without(row, header.name_at)
                values = values_of(header, cells, notes)
                images.setdefault(values.get(BATCH, 1), line)
                layers.append((line, name, values))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
    if not layers:
        raise ValueError(f"has no layers: must have rows of a layer name and {', '.join(CONVOLUTION)}, or {', '.join(PRODUCT)}")
    if batch and len(images) > 1:
        told = ", ".join(f"{size} (line {line})" for size, line in images.items())
        raise ValueError(f"batch = {batch}: the file's layers are for different numbers of images, {told}; legal: no batch")
    made = []
    for line, name, values in layers:
        try:
            made.append(layer_of(name, values, batch or values.get(BATCH, 1)))
            if made[-1].op == "depthwise":
                notes.setdefault("layers with DP in their name are depthwise, as in SCALE-Sim", []).append(name)
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
    told = [f"{text}: {', '.join(map(printable, dict.fromkeys(names)))}" for text, names in notes.items()]
    padding = [PADDING] if any("M" not in values for _, _, values in layers) else []
    return Model(str(path), tuple(made), (), (*padding, *told))


def rows_of(path):
    """[(line, cells)] of a file of cells between commas, tabs or semicolons, whichever are most; rows without text left out."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"has more than {MOST_BYTES} characters: must be a table of layers")
        delimiter = max(",\t;", key=text.count)
        reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot be read as text: {error.reason} at byte {error.start}; must be CSV in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"cannot be read as CSV: {error}") from None
    return [(line, row) for line, row in rows if any(row)]


def without(row, at):
    """(the cell at a position, the others) of a row."""
    return row[at] if at < len(row) else "", [*row[:at], *row[at + 1 :]]


def column_of(cell):
    """The column that a header's cell names, or None."""
    return COLUMNS.get(" ".join(unicodedata.normalize("NFKC", cell).replace("_", " ").lower().split()))


def named_cells(cells):
    """The cells of a header before the first that is empty: those behind it are notes."""
    return cells[: cells.index("")] if "" in cells else cells


def is_header(row, first):
    """Whether a row is a header: the first row of more than a name is one if it has no number, or its first cells name columns; a later one if
    all its cells do."""
    cells = row[1:]
    if not any(cells):
        return False
    named = named_cells(cells)
    if first and all(map(column_of, row[:2])):
        return True
    return not any(cell.isdecimal() for cell in cells) and (first or bool(named and all(map(column_of, named))))


def header_of(row, notes):
    """The Header of a row; ValueError for a column that is unknown, missing or there twice. Columns after one without name are notes.

    The column of names has any heading where it is the first, and one that says so where it is not.
    """
    first, elsewhere = column_of(row[0]), [i for i, cell in enumerate(named_cells(row[1:]), 1) if column_of(cell) == LAYER]
    if first not in (None, LAYER) and not elsewhere:
        raise ValueError(f"column {LAYER}: is missing; must stand beside {printable(row[0])} and the others")
    name_at = elsewhere[0] if elsewhere and first != LAYER else 0
    _, cells = without(row, name_at)
    while not cells[-1]:
        cells.pop()
    named = named_cells(cells)
    columns = [column_of(cell) for cell in named]
    for cell, column in zip(named, columns, strict=True):
        if column in (None, LAYER):
            raise ValueError(f"column {printable(cell)!r}: is not known; legal: {', '.join(dict.fromkeys(COLUMNS.values()))}")
    if columns[:2] == [SIZES[1]] * 2 and SIZES[0] not in columns:
        columns[0] = SIZES[0]
        notes["two columns have one name: the first is taken for the height, as SCALE-Sim does"] = [SIZES[1]]
    for column in columns:
        if columns.count(column) > 1:
            raise ValueError(f"column {column}: is there twice")
    ignored = [cell for cell in cells[len(named) :] if cell]
    if ignored:
        notes.setdefault("columns after one without a name are not read", []).extend(ignored)
    header = Header((*columns, *[None] * (len(cells) - len(named))), True, name_at)
    missing = [column for column in header.required if column not in columns]
    if missing:
        raise ValueError(f"column {missing[0]}: is missing; must have {', '.join(CONVOLUTION)}, or {', '.join(PRODUCT)}")
    mixed = [column for column in columns if column not in (*header.required, STRIDE_WIDTH, BATCH, SPARSITY)]
    if mixed or ("M" in columns and STRIDE_WIDTH in columns):
        raise ValueError(f"column {(mixed or [STRIDE_WIDTH])[0]}: must not stand beside {', '.join(header.required)}")
    return header


def values_of(header, cells, notes):
    """{column: number} of a row, Sparsity checked and left out."""
    cells = list(cells)
    while not cells[-1]:
        cells.pop()
    beyond, required = cells[len(header.columns) :], header.required
    if any(cell.isdecimal() for cell in beyond):
        legal = "a header that names it, such as Stride Width or Batch Size" if header.given else "a header that names every column"
        raise ValueError(f"{beyond[0]!r}: has no column, since there are {len(header.columns)}; legal: {legal}")
    if beyond:
        notes.setdefault("notes after the last column are not read", []).extend(filter(None, beyond))
    if len(cells) < len(required) and tuple(header.columns[: len(required)]) == required:
        raise ValueError(f"has {len(cells)} numbers: must be a name and {', '.join(required)}")
    filled = dict.fromkeys(required, "") | {name: cell for name, cell in zip(header.columns, cells, strict=False) if name}
    values = {}
    for column, cell in filled.items():
        if column not in required and not cell:
            continue
        if column == SPARSITY:
            check_dense(cell)
        elif not (cell.isascii() and cell.isdecimal() and len(cell) < 12 and int(cell)):
            raise ValueError(f"{column}: {cell!r}: must be an integer of 1 or more")
        else:
            values[column] = int(cell)
    return values


def check_dense(cell):
    """ValueError unless N:M says that no weight is left out."""
    kept, colon, block = cell.partition(":")
    if not (colon and kept.strip() == block.strip() and kept.strip().isdecimal()):
        raise ValueError(f"{SPARSITY}: {cell!r}: must be {DENSE} (dense): there is no kernel for sparse weights")


def layer_of(name, values, batch):
    """The ModelLayer of a row."""
    if "M" in values:
        return ModelLayer(printable(name), "gemm", Conv2d(batch, values["K"], 1, values["M"], values["N"], 1, 1).checked())
    h, w, r, s, c, filters = (values[column] for column in SIZES)
    for size, kernel, axis in ((h, r, "Height"), (w, s, "Width")):
        if kernel > size:
            raise ValueError(f"Filter {axis}: {kernel}: must be at most IFMAP {axis} = {size}")
    down = values[STRIDE_HEIGHT] if STRIDE_HEIGHT in values else values[STRIDES]
    across = values.get(STRIDE_WIDTH, down)
    depthwise = "DP" in name
    pads = 0, 0, -(h - r) % down, -(w - s) % across
    problem = Conv2d(batch, c, h, w, c * filters if depthwise else filters, r, s, down, across, *pads, 1, 1, c if depthwise else 1)
    return ModelLayer(printable(name), "depthwise" if depthwise else "conv", problem.checked())
