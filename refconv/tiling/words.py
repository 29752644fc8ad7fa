"""The numbers of a tiling as text, shared by the `explain` of the kernels."""


def kib(size_bytes):
    """A number of bytes in KiB."""
    return f"{size_bytes / 1024:.1f} KiB"


def registers(rows, width, operands, target):
    """The accumulators of a register tile, and how many registers they take with `operands` vectors held beside them and one more that passes."""
    return f"{rows} x {width} accumulators, {rows * width + operands + 1} of {target.registers} registers"


def tile_registers(tile, target):
    """As `registers` of the tile of a sum of products: all there are where one of its weights stays in memory."""
    taken = min(tile.rows * tile.vectors + min(tile.rows, tile.vectors) + 1, target.registers)
    return registers(tile.rows, tile.vectors, taken - tile.rows * tile.vectors - 1, target)


def staged_rows(tile, rows, staged_bytes, block_bytes, target):
    """What a dense kernel keeps in the L2: the staged input rows of a unit and a block of weights."""
    block = f"a block of weights {kib(block_bytes)} in L2 {kib(target.l2_bytes)}"
    return f"{tile_registers(tile, target)}; {rows} staged input rows {kib(staged_bytes)} and {block}"
