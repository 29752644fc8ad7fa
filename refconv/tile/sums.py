"""Sums of neighbouring lanes, over registers: an instruction that touches registers only (see refconv/tile/registers.py)."""

import numpy as np
from llvmlite import ir

from refconv import host
from refconv.tile.llvm import int32_vector, put, vector_at
from refconv.tile.machine import implement


def sum_runs(tile, width):
    """One vector: result[0, i] = the sum of the i-th run of `width` elements of the tile, its registers one after another; zeros past the last.

    At most as many runs as lanes. While their width is even, neighbours are added pairwise; what is left, an odd number, from left to right.
    """
    runs = tile.reshape(-1)[: tile.size // width * width].reshape(-1, width)
    while runs.shape[1] % 2 == 0:
        runs = runs[:, 0::2] + runs[:, 1::2]
    total = runs[:, 0]
    for i in range(1, runs.shape[1]):
        total = total + runs[:, i]
    result = np.zeros((1, host.target().lanes(tile.itemsize)), tile.dtype)
    result[0, : len(runs)] = total
    return result


class _Lanes:
    """Registers with the number of the element in each lane: sums are added where they lie, and put in order at the end."""

    def __init__(self, builder, tile, value):
        self.builder, self.lanes, self.zeros = builder, tile.lanes, ir.Constant(tile.vector, None)
        self.block = 128 // {"float": 32, "double": 64}[str(tile.vector.element)]  # lanes that the cheapest shuffles keep to
        self.registers = [vector_at(builder, value, k) for k in range(tile.rows * tile.vectors)]
        self.numbers = list(range(len(self.registers) * tile.lanes))

    def place(self, of):
        """{number: (register, lane)} of the registers `of`."""
        return {self.numbers[k * self.lanes + lane]: (k, lane) for k in of for lane in range(self.lanes)}

    def shuffled(self, a, b, lanes):
        """The vector of lanes of a, and of b from `self.lanes` on."""
        return self.builder.shuffle_vector(a, b, int32_vector(lanes))

    def add_neighbours(self):
        """Elements 2 i and 2 i + 1 become element i of half as many registers."""
        if len(self.registers) % 2:
            self.numbers += range(len(self.numbers), len(self.numbers) + self.lanes)
            self.registers.append(self.zeros)
        registers, numbers = [], []
        for a in range(0, len(self.registers), 2):
            place = self.place((a, a + 1))
            evens = [number for number in place if number % 2 == 0]
            near = all(place[number][1] // self.block == place[number + 1][1] // self.block for number in evens)
            ordered = sorted((place[number][1] // self.block if near else 0, place[number], number) for number in evens)
            evens = [number for _, _, number in ordered]
            lanes = [[(place[number + i][0] - a) * self.lanes + place[number + i][1] for number in evens] for i in (0, 1)]
            registers.append(self.builder.fadd(*(self.shuffled(*self.registers[a : a + 2], chosen) for chosen in lanes)))
            numbers += [number // 2 for number in evens]
        self.registers, self.numbers = registers, numbers

    def every(self, width, first):
        """A vector of elements first, first + width, first + 2 width, ...; zeros where there are no more."""
        place = self.place(range(len(self.registers)))
        wanted = [place.get(first + i * width) for i in range(self.lanes)]
        found = [at for at in wanted if at]
        if len({lane for _, lane in found}) == len(found) == self.lanes:  # no two in one lane: blended where they lie, then moved once
            result = self.registers[0]
            for k, register in enumerate(self.registers[1:], 1):
                result = self.shuffled(result, register, [lane + (self.lanes if (k, lane) in found else 0) for lane in range(self.lanes)])
            return self.shuffled(result, self.zeros, [lane for _, lane in wanted])
        result = self.zeros
        for k, register in enumerate(self.registers):
            lanes = [at[1] + self.lanes if at and at[0] == k else i for i, at in enumerate(wanted)]
            result = self.shuffled(result, register, lanes)
        return result


@implement(sum_runs)
def _sum_runs(typing_context, tile, width):
    def codegen(context, builder, signature, args):
        sums, left = _Lanes(builder, tile, args[0]), width.value
        while left % 2 == 0:
            sums.add_neighbours()
            left //= 2
        total = sums.every(left, 0)
        for i in range(1, left):
            total = builder.fadd(total, sums.every(left, i))
        return put(builder, ir.Constant(context.get_value_type(signature.return_type), None), total, 0)

    if tile.rows * tile.vectors <= width.value:
        return tile.with_shape(1, 1)(tile, width), codegen
