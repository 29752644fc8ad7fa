"""The slide of a window along a strip as straight assembly of x86-64, for the reason given in refconv/tile/x86.py.

Left to the compiler, the branches around the pixels of the border and around vectors that are not whole were merged and moved until 27 to 157 vectors
of one slide went to the stack and back. There are three forms: one of whole vectors of pixels inside the map, without a branch; one that asks
of every pixel whether it is inside; and one that loads no more lanes than there are columns, besides.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from refconv.tile.fit import slide_registers
from refconv.tile.instructions import slide_schedule
from refconv.tile.llvm import lane_mask, put, vector_at
from refconv.tile.x86 import MULTIPLES, Operands, address, unit_of

NEAR = len(MULTIPLES)
"""Pixels, or taps, in reach of one address: 0 to 3 times their distance from it."""


class Walk(NamedTuple):
    """A position that moves on in steps: `place` and {multiple of the distance: register}, or the distance itself in bytes."""

    place: str
    distances: Any

    def addresses(self, wanted, displacement=0):
        """[(lines, address)] of the wanted multiples, ascending: lines move the position on where one is out of reach."""
        if isinstance(self.distances, int):
            return [([], f"{i * self.distances + displacement}({self.place})") for i in wanted]
        at, found = 0, []
        for i in wanted:
            moves = (i - at) // NEAR
            at += moves * NEAR
            found.append(
                (
                    [f"leaq ({self.place},{self.distances[1]},{NEAR}), {self.place}"] * moves,
                    address(self.place, self.distances, *MULTIPLES[i - at], displacement),
                )
            )
        return found

    def moved(self, wanted):
        """How far the position has moved on behind addresses(wanted), in multiples of the distance."""
        at = 0
        for i in wanted if isinstance(self.distances, dict) else ():
            at += (i - at) // NEAR * NEAR
        return at


class Border(NamedTuple):
    """What the forms for borders ask: registers of the first and last pixel, and of the columns or what stands for them in a masked load (None: all);
    and which pixels are asked: those before `head`, and those from `tail` on."""

    first: str
    last: str
    columns: str
    head: int
    tail: int


class Down(NamedTuple):
    """Operands of a slide that goes on down the rows: a register of the rows that are left, and what is added at the end of one to the places of
    pixels and of taps."""

    rows: str
    pixels: str
    taps: str


class Strip(NamedTuple):
    """The operands of a slide as they stand in its text; border: a Border, or None; down: a Down, or None."""

    sums: list
    kept: list
    passing: str
    product: str
    pixels: Walk
    taps: Walk
    border: Any
    down: Any


def inside_only(i, load, border):
    """Lines that run `load` where pixel i is no border; only `head` pixels may lie left of the map, and those from `tail` on right of it."""
    if border is None or border.head <= i < border.tail:
        return load
    left = [f"cmpq $${i}, {border.first}", "jg 1f"] if i < border.head else []
    right = [f"cmpq $${i}, {border.last}", "jle 1f"] if i >= border.tail else []
    return [*left, *right, *load, "1:"]


def partial_load(unit, place, to, spare, columns):
    """Lines that load as many lanes as there are columns, zeros after them."""
    kind = unit.kind
    if unit.vector_bytes == 64:
        return [f"vmovup{kind} {place}, {to} {{%k1}} {{z}}"]
    if unit.vex:
        return [f"vmovup{kind} ({columns}), {to}", f"vmaskmovp{kind} {place}, {to}, {to}"]
    whole = [*unit.load(place, to), "3:"]
    if unit.size == 8:
        return [f"cmpq $$2, {columns}", "jge 2f", f"movsd {place}, {to}", "jmp 3f", "2:", *whole]
    low = ["jne 4f", f"movss {place}, {to}", "jmp 3f", "4:", f"movsd {place}, {to}", f"cmpq $$3, {columns}", "jl 3f"]
    return [
        f"cmpq $$4, {columns}",
        "jge 2f",
        f"cmpq $$1, {columns}",
        *low,
        f"movss 8{place}, {spare}",
        f"movlhps {spare}, {to}",
        "jmp 3f",
        "2:",
        *whole,
    ]


def slide_text(unit, strip, rows, vectors, taps, stride):
    """The lines of a slide, down all its rows."""
    lines = row_text(unit, strip, rows, vectors, taps, stride)
    if strip.down is None:
        return lines
    down = strip.down
    return ["9:", *lines, f"addq {down.pixels}, {strip.pixels.place}", f"addq {down.taps}, {strip.taps.place}", f"decq {down.rows}", "jnz 9b"]


def row_text(unit, strip, rows, vectors, taps, stride):
    """The lines of a slide along one row."""
    schedule, border = slide_schedule(rows, taps, stride), strip.border
    whole = border is None or border.columns is None
    load = lambda place, to: unit.load(place, to) if whole else partial_load(unit, place, to, strip.product, border.columns)
    places = strip.pixels.addresses([i for i, _ in schedule])
    lines = [f"kmovw {border.columns}, %k1"] if not whole and unit.vector_bytes == 64 else []
    if vectors == 1:
        for (moves, place), register in zip(strip.taps.addresses(range(taps)), strip.kept, strict=True):
            lines += [*moves, *unit.load(place, register)]
        for (i, meetings), (moves, place) in zip(schedule, places, strict=True):
            met = load(place, strip.passing)
            for q, s in meetings:
                met += unit.multiply_add(strip.kept[s], strip.passing, strip.sums[q], strip.passing if (q, s) == meetings[-1] else strip.product)
            lines += moves + inside_only(i, met, border)
        return lines
    kept = {}
    for (i, _), (moves, place), register in zip(schedule, places, strip.kept, strict=True):
        kept[i] = register
        lines += [*moves, *([] if border is None else unit.zero(register)), *inside_only(i, load(place, register), border)]
    for s, (moves, _) in enumerate(strip.taps.addresses(range(taps))):
        lines += moves
        for v in range(vectors):
            lines += unit.load(strip.taps.addresses(range(taps), v * unit.vector_bytes)[s][1], strip.passing)
            for q in range(rows):
                product = strip.passing if q == rows - 1 else strip.product
                lines += unit.multiply_add(kept[q * stride + s], strip.passing, strip.sums[q * vectors + v], product)
    return lines


def unit_for(acc, taps, stride):
    """The Vectors for slides over a tile type; None on other CPUs, and for a strip that the registers do not hold."""
    return unit_of(acc, lambda fused: slide_registers(acc.rows, acc.vectors, taps, stride, fused))


def slide_code(builder, unit, acc, acc_v, shape, pixels, taps, border, below):
    """LLVM code for a slide: shape = (taps, stride); pixels, taps: (pointer, elements to the next, None where taps lie side by side);
    border: (columns, first, last), or None; below: (rows, elements of pixels, of taps or None) of a Below, or None."""
    operands, (count, apart) = Operands(builder), shape
    schedule = slide_schedule(acc.rows, count, apart)
    sums = [operands.changed(vector_at(builder, acc_v, k), "v") for k in range(acc.rows * acc.vectors)]
    x, w = operands.changed(pixels[0], "r"), operands.changed(taps[0], "r")
    left = None if below is None else operands.changed(below[0], "r")
    kept = [operands.temporary(acc.vector) for _ in range(count if acc.vectors == 1 else len(schedule))]
    passing = operands.temporary(acc.vector)
    product = None if unit.fused else operands.temporary(acc.vector)
    (x_p, pitch), (w_p, stride), size = pixels, taps, acc.vectors * unit.vector_bytes
    walks = Walk(x, operands.multiples(x_p, pitch, {1, 3})), Walk(w, size if stride is None else operands.multiples(w_p, stride, {1, 3}))
    asked = None
    if border is not None:
        columns, first, last = border
        edge, loaded = (count - 1, schedule[-1][0] + 1) if columns is None and count > 1 else (schedule[-1][0] + 1, 0)
        held = None if columns is None else operands.read(_columns(builder, unit, acc, columns))
        asked = Border(operands.read(first), operands.read(last), held, edge, max(0, loaded - edge))
    down = None
    if below is not None:
        _, further, taps_further = below
        number = lambda value: ir.Constant(further.type, value)
        rest = lambda whole, walk, wanted, step: operands.read(
            builder.mul(builder.sub(whole, builder.mul(number(walk.moved(wanted)), step)), number(unit.size))
        )
        at_pixels = rest(further, walks[0], [i for i, _ in schedule], pitch)
        if taps_further is None and stride is None:
            at_taps = f"$${count * size}"
        else:
            step = number(acc.vectors * acc.lanes) if stride is None else stride
            at_taps = rest(builder.mul(step, number(count)) if taps_further is None else taps_further, walks[1], range(count), step)
        down = Down(left, at_pixels, at_taps)
    strip = Strip(sums, kept, passing, product, *walks, asked, down)
    results = operands.call("\n".join(slide_text(unit, strip, acc.rows, acc.vectors, count, apart)))
    for k in range(acc.rows * acc.vectors):
        acc_v = put(builder, acc_v, builder.extract_value(results, k), k)
    return acc_v


def _columns(builder, unit, acc, columns):
    """What partial_load takes for a number of columns, at least 1: it, a mask of bits, or the address of a mask of lanes, in a table of all."""
    if not unit.vex:
        return columns
    if unit.vector_bytes == 64:
        bits = builder.bitcast(lane_mask(builder, columns, acc.lanes), ir.IntType(acc.lanes))
        return builder.zext(bits, ir.IntType(32))
    word, lanes = ir.IntType(8 * unit.size), ir.Constant(columns.type, acc.lanes)
    table = ir.Constant(ir.ArrayType(word, 2 * acc.lanes), [-1] * acc.lanes + [0] * acc.lanes)
    masks = cgutils.global_constant(builder, "lane_masks", table)
    held = builder.select(builder.icmp_signed("<", columns, lanes), columns, lanes)
    return builder.gep(masks, [ir.Constant(columns.type, 0), builder.sub(lanes, held)])
