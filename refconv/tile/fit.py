"""How many vector registers the innermost loop of a shape takes: what the rules choose by, and what the code for x86-64 is written with."""


def product_registers(rows, vectors, fused, memory_operands=False):
    """Registers of a sum of outer products: accumulators, the smaller side of a step (its weights or its pixels), and what passes by it.

    Where a multiply-add is not fused a product needs a register of its own; the last one that an operand has part in takes that operand's place.
    memory_operands: at least, where multiply-adds can have an operand in memory: one vector of weights may then stay there, which is a load for each
    row in place of one. (So 7 x 2 accumulators, for maps 7 pixels wide, are held by 16 registers, and 7 x 4 by 32.)
    """
    held = min(rows, vectors)
    spared = memory_operands and fused and 1 < vectors <= rows
    return rows * vectors + held - spared + 1 + (not fused and held > 1)


def most_rows_of(vectors, registers, fused, memory_operands):
    """The most rows of a tile so many vectors wide whose sums stay in the registers, or 1."""
    rows = 1
    while product_registers(rows + 1, vectors, fused, memory_operands) <= registers:
        rows += 1
    return rows


def slide_registers(rows, vectors, taps, stride, fused):
    """Registers of a slide over rows x vectors accumulators: those, the taps' weights where a row is one vector and else the pixels, what passes
    by them, and where a multiply-add is not fused its product."""
    kept = taps if vectors == 1 else min(rows * taps, (rows - 1) * stride + taps)
    return rows * vectors + kept + 1 + (not fused)


def most_rows_of_slide(vectors, taps, stride, registers, fused):
    """The most rows, each so many vectors, whose slide stays in the registers; 0 where that of a single one does not."""
    rows = 0
    while slide_registers(rows + 1, vectors, taps, stride, fused) <= registers:
        rows += 1
    return rows
