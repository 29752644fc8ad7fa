"""The sum of outer products as one loop in the assembly of x86-64.

A compiler that is given the loop decides itself how far to unroll it, which pixels to load ahead of their products and how to make addresses,
and with 16 registers it loses: the addresses of six rows became one chain of additions, the pixels of two steps were loaded before the first
product, and 24 accumulators went to the stack and back for 24 multiply-adds (38 GFLOP/s where the core does 90). Here the registers are counted
once (refconv/tile/fit.py), and nothing moves that is not written below.

A tile of rows x vectors holds its accumulators, the smaller side of the product (a step's weights, or its pixels) and one register through
which the other side passes; without fused multiply-adds a second, for the product. Where that is one register more than there are, the first vector
of weights stays in memory, and every multiply-add takes it from there. The row r of the pixels is at base + r * pitch, which an
address [base + index * 1, 2, 4 or 8] makes of one base in nine rows and of the multiples 1, 3, 5 and 7 of the pitch: no row has a pointer to
be moved on.
"""

from typing import NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

from refconv import host
from refconv.tile.fit import product_registers
from refconv.tile.llvm import BYTES, advance, put, vector_at

llvm.initialize_native_asmparser()  # Numba does without

ROWS_OF_BASE = 9
"""Rows 0 to 8 from a base are in reach: each is 1, 3, 5 or 7 times a power of two."""
PRODUCTS_A_TURN = 24
"""Products of one turn of the loop, at least: the five instructions that count and move on are then a tenth of it."""


def held_rows(rows, vectors):
    """Whether a tile holds the pixels of a step and lets the weights pass: the smaller side is held."""
    return rows < vectors


def steps_a_turn(rows, vectors):
    """Steps that one turn of the loop makes: 1, 2 or 4."""
    return next((steps for steps in (1, 2) if steps * rows * vectors >= PRODUCTS_A_TURN), 4)


def row_places(rows):
    """[(base, multiple of the pitch, scale) of each row]: row r = 9 * base + multiple * scale; multiple 0: the base itself."""
    places = []
    for r in range(rows):
        base, rest = divmod(r, ROWS_OF_BASE)
        scale = rest & -rest
        places.append((base, rest // scale if rest else 0, scale))
    return places


class Vectors(NamedTuple):
    """How a vector unit spells what a step does. vector_bytes: of a register; fused: it has FMA; size: bytes of an element."""

    vector_bytes: int
    fused: bool
    size: int

    @property
    def vex(self):
        """Whether an instruction has a destination of its own: from AVX on."""
        return self.vector_bytes > 16

    @property
    def kind(self):
        """The last letter of an instruction: single or double precision."""
        return "s" if self.size == 4 else "d"

    def load(self, place, to):
        """A whole vector."""
        return [f"{'v' if self.vex else ''}movup{self.kind} {place}, {to}"]

    def zero(self, to):
        """Zeros in every lane."""
        if self.vector_bytes == 64:
            return [f"vpxord {to}, {to}, {to}"]
        return [f"vxorps {to}, {to}, {to}"] if self.vex else [f"xorps {to}, {to}"]

    def broadcast(self, place, to):
        """One element in every lane."""
        if self.vex:
            return [f"vbroadcasts{self.kind} {place}, {to}"]
        return [f"movs{self.kind} {place}, {to}", f"shufps $$0, {to}, {to}" if self.size == 4 else f"unpcklpd {to}, {to}"]

    def multiply_add(self, held, passing, to, product):
        """to += held * passing; product: the register that a product goes to where there is no FMA, which may be `passing` itself."""
        if self.fused:
            return [f"vfmadd231p{self.kind} {held}, {passing}, {to}"]
        if self.vex:
            return [f"vmulp{self.kind} {held}, {passing}, {product}", f"vaddp{self.kind} {product}, {to}, {to}"]
        copied = [] if product == passing else [f"movaps {passing}, {product}"]
        return [*copied, f"mulp{self.kind} {held}, {product}", f"addp{self.kind} {product}, {to}"]


class Names(NamedTuple):
    """The operands of the loop as they stand in its text.

    held: as many registers as the smaller side has vectors, or one fewer: then its first is an operand in memory.
    bases: a register for each nine rows; pitches, strides: {multiple: register} of the distances from row to row of pixels and from vector to
    vector of weights; prefetch: (instruction, place, {multiple of a step: register}), or None.
    """

    sums: list
    held: list
    passing: str
    product: str
    bases: list
    weights: str
    count: str
    pitches: dict
    strides: dict
    prefetch: tuple


MULTIPLES = {0: (0, 1), 1: (1, 1), 2: (1, 2), 3: (3, 1)}
"""{n: (multiple that a register holds, scale)} of n times a distance."""


def address(base, distances, multiple, scale, displacement):
    """base + multiple * scale distances + displacement; multiple 0: no distance."""
    inside = f"{base},{distances.get(multiple)},{scale}" if multiple else base
    return f"{displacement or ''}({inside})"


def step_code(unit, names, rows, vectors, step):
    """The lines of step number `step` of a turn."""
    places = [address(names.bases[base], names.pitches, *multiple, step * unit.size) for base, *multiple in row_places(rows)]
    weights = [address(names.weights, names.strides, *MULTIPLES[v], step * unit.vector_bytes) for v in range(vectors)]
    held, passing, hold, let_pass = weights, places, unit.load, unit.broadcast
    of = lambda r, v: r * vectors + v
    if held_rows(rows, vectors):
        held, passing, hold, let_pass = places, weights, unit.broadcast, unit.load
        of = lambda v, r: r * vectors + v
    in_memory = len(held) - len(names.held)
    lines = [line for place, register in zip(held[in_memory:], names.held, strict=True) for line in hold(place, register)]
    for i, place in enumerate(passing):
        lines += let_pass(place, names.passing)
        for j, operand in enumerate([*held[:in_memory], *names.held]):
            product = names.passing if j == len(held) - 1 else names.product
            lines += unit.multiply_add(operand, names.passing, names.sums[of(i, j)], product)
    if names.prefetch:
        instruction, place, distances = names.prefetch
        lines.append(f"{instruction} {address(place, distances, *MULTIPLES[step], 0)}")
    return lines


def turn_code(unit, names, rows, vectors, steps):
    """The lines of a turn of the loop, from its first step to the count of those that are left."""
    lines = [line for step in range(steps) for line in step_code(unit, names, rows, vectors, step)]
    lines += [f"addq $${steps * unit.size}, {base}" for base in names.bases]
    lines.append(f"addq $${steps * unit.vector_bytes}, {names.weights}")
    if names.prefetch:
        _, place, distances = names.prefetch
        lines.append(f"leaq ({place},{distances[1]},{steps}), {place}")
    return [*lines, f"subq $${steps}, {names.count}"]


def loop_code(unit, names, rows, vectors):
    """The text of the loop: turns of several steps, then the steps that are left, one by one."""
    steps = steps_a_turn(rows, vectors)
    lines = [f"subq $${steps}, {names.count}", "jl 2f", ".p2align 4", "1:", *turn_code(unit, names, rows, vectors, steps), "jge 1b", "2:"]
    if steps > 1:
        lines += [f"addq $${steps}, {names.count}", "jle 4f", "3:", *turn_code(unit, names, rows, vectors, 1), "jg 3b", "4:"]
    return "\n".join(lines)


def unit_of(acc, registers):
    """The Vectors for a tile type; None on other CPUs, and where the code takes more registers than there are: registers(whether FMA is there)."""
    if not host.is_x86() or registers(host.fuses()) > host.vector_unit()[1]:
        return None
    size = 4 if isinstance(acc.vector.element, ir.FloatType) else 8
    return Vectors(acc.lanes * size, host.fuses(), size)


def unit_for(acc):
    """The Vectors for sums in a tile type, or None (unit_of)."""
    return unit_of(acc, lambda fused: product_registers(acc.rows, acc.vectors, fused, memory_operands=True))


def outer_sum_code(builder, unit, acc, acc_v, pixels, weights, steps, ahead):
    """LLVM code for the tile acc_v plus `steps` outer products.

    pixels, weights: (pointer, elements from row to row, or from vector to vector); ahead: (level, pointer, elements a step), or None.
    """
    rows, vectors = acc.rows, acc.vectors
    x_p, pitch = pixels
    w_p, stride = weights
    operands = Operands(builder)
    sums = [operands.changed(vector_at(builder, acc_v, k), "v") for k in range(rows * vectors)]
    places = row_places(rows)
    bases = [operands.changed(advance(builder, x_p, pitch, first), "r") for first in range(0, rows, ROWS_OF_BASE)]
    w, count = operands.changed(w_p, "r"), operands.changed(steps, "r")
    prefetch = None
    if ahead:
        level, p, step = ahead
        place = operands.changed(p, "r")
    in_memory = product_registers(rows, vectors, unit.fused) > host.vector_unit()[1]
    held = [operands.temporary(acc.vector) for _ in range(min(rows, vectors) - in_memory)]
    passing = operands.temporary(acc.vector)
    product = operands.temporary(acc.vector) if not unit.fused and len(held) > 1 else None
    pitches = operands.multiples(x_p, pitch, {multiple for _, multiple, _ in places})
    strides = operands.multiples(w_p, stride, {MULTIPLES[v][0] for v in range(vectors)})
    if ahead:
        multiples = {1, *(MULTIPLES[i][0] for i in range(steps_a_turn(rows, vectors)))}
        prefetch = f"prefetcht{level - 1}", place, operands.multiples(p, step, multiples)
    names = Names(sums, held, passing, product, bases, w, count, pitches, strides, prefetch)
    results = operands.call(loop_code(unit, names, rows, vectors))
    for k in range(rows * vectors):
        acc_v = put(builder, acc_v, builder.extract_value(results, k), k)
    return acc_v


class Operands:
    """The operands of an inline assembly, named $0, $1, ... as LLVM numbers them: outputs, the inputs tied to them, other inputs."""

    def __init__(self, builder):
        self.builder, self.outputs, self.inputs = builder, [], []

    def changed(self, value, register):
        """An operand that is read and changed: an output tied to an input. Early clobbers: others are read after it has changed."""
        self.outputs.append((value.type, register, value))
        return f"${len(self.outputs) - 1}"

    def temporary(self, kind):
        """A vector register to work in."""
        self.outputs.append((kind, "v", None))
        return f"${len(self.outputs) - 1}"

    def multiples(self, pointer, elements, wanted):
        """{multiple: name} of inputs that are the wanted multiples of a distance, in bytes. No output may be named after the first."""
        size = BYTES[str(pointer.type.pointee)]
        return {multiple: self.read(self.builder.mul(elements, ir.Constant(elements.type, size * multiple))) for multiple in sorted(wanted - {0})}

    def read(self, value):
        """An input of which the text reads the register alone. No output may be named after it."""
        self.inputs.append(value)
        return f"${len(self.outputs) + sum(v is not None for *_, v in self.outputs) + len(self.inputs) - 1}"

    def call(self, text):
        """The struct of the outputs."""
        tied = [(i, value) for i, (_, _, value) in enumerate(self.outputs) if value is not None]
        constraints = [f"=&{register}" for _, register, _ in self.outputs] + [str(i) for i, _ in tied] + ["r"] * len(self.inputs)
        constraints += ["~{k1}"] if "%k1" in text else []
        constraints += ["~{memory}", "~{flags}", "~{dirflag}", "~{fpsr}"]
        values = [value for _, value in tied] + self.inputs
        result = ir.LiteralStructType([kind for kind, _, _ in self.outputs])
        kind = ir.FunctionType(result, [value.type for value in values])
        return self.builder.call(ir.InlineAsm(kind, text.replace("\n", "\\0A"), ",".join(constraints), side_effect=True), values)
