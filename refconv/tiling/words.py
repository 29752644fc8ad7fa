"""The numbers of a tiling as text, shared by the `explain` of the kernels."""


def kib(size_bytes):
    """A number of bytes in KiB."""
    return f"{size_bytes / 1024:.1f} KiB"


def registers(rows, width, operands, target):
    """The accumulators of a register tile, and how many registers they take with `operands` vectors held beside them and one more that passes."""
    return f"{rows} x {width} accumulators, {rows * width + operands + 1} of {target.registers} registers"


def staged_rows(tile, rows, staged_bytes, block_bytes, target):
    """What a dense kernel keeps in the L2: the staged input rows of a unit and a block of weights."""
    held = registers(tile.rows, tile.vectors, min(tile.rows, tile.vectors), target)
    return f"{held}; {rows} staged input rows {kib(staged_bytes)} and a block of weights {kib(block_bytes)} in L2 {kib(target.l2_bytes)}"
