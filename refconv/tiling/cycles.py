"""What a register tile is expected to take on a target: cycles of a step, cycles besides its steps, and the pixels that its L1 holds."""

import math

from refconv.tile.fit import product_registers

LINE_BYTES = 64


def step_cycles(rows, vectors, near, target):
    """Cycles of a step of a tile's sum: rows * vectors multiply-adds, each waiting for the one that the step before has added to its sum.

    A step takes no less than its multiply-adds at the target's rate, than the latency of one, than its loads (a row's broadcast, a vector of
    weights; one that stays in memory for each row, refconv/tile/fit.py), than its instructions take to be started, and, unless the block of weights
    is `near`, than its vectors of weights take to come from the L2. It takes more than the greatest of these where another is close, since waiting
    for one leaves less time for the other: what the quartic norm of them says. That form is fitted, once for both instruction sets; the bounds are
    the target's. Over 21 tiles, of which four take more registers or rows than is legal, it is off the cycles measured by 3.2 % (RMS), without the
    loads by 5.9 %. Cycles measured from the L1, the loop alone beside one of independent multiply-adds, on a core that starts six instructions and
    three loads a cycle (by this formula; the multiply-adds alone):

        AVX-512   14x2 14.5 (14.3; 14)   7x4 14.6 (14.3; 14)   9x3 14.1 (13.7; 13.5)   6x4 12.4 (12.2; 12)   8x2 8.4 (8.3; 8)   14x1 7.5 (7.9; 7)
        AVX2      14x1 7.5 (7.9; 7)   7x2 7.4 (7.7; 7)   4x3 6.3 (6.4; 6)   6x2 6.2 (6.4; 6)   5x2 5.5 (5.6; 5)   7x1 4.8 (4.6; 3.5)

    Where a vector that stays in memory is a line of its own, which the L1 does not have, all its multiply-adds meet it on its way: another cycle
    (7x4 with weights from the L2: 15.0 to 15.6 cycles, from the L1 14.6; 7x2 on AVX2, where a line is two steps' vector, 7.7 from either).
    """
    in_memory = product_registers(rows, vectors, target.fused) > target.registers
    loads, products = rows + vectors + (rows - 1 if in_memory else 0), rows * vectors
    stream = 0 if near else vectors * target.vector_bytes / target.l2_bytes_per_cycle
    started = (products + rows + vectors) / target.instructions_per_cycle
    bounds = products / target.multiply_adds_per_cycle, target.latency_cycles, loads / target.loads_per_cycle, started, stream
    held_up = target.vector_bytes // LINE_BYTES if in_memory and not near else 0
    return sum(bound**4 for bound in bounds) ** (1 / 4) + held_up


def finish_cycles(rows, vectors, target):
    """Cycles of beginning and storing a tile: 4 a row and 3.5 for each line of 64 bytes of it, measured as those that a tile of any
    depth takes besides its steps (4x3 on AVX2 37, estimated 37; 14x1 113, 105; with AVX-512 14x2 150 to 210, 154; 6x4 100, 108)."""
    return rows * (4 + 3.5 * max(1, vectors * target.vector_bytes / 64))


def rows_in_l1(pitch_bytes, target):
    """The most pixels, `pitch_bytes` apart, whose lines stay in the L1 beside two more: what weights and outputs pass through.

    A way holds a page of 4096 bytes (as in every L1 that is looked up by virtual and holds physical addresses), so pixels a multiple of a page
    apart share one set: with 1024 channels and 12 ways on AVX2 14x1 and 12x1 reached 76 GFLOP/s, 6x2 and 4x3 85.
    """
    return max(1, target.l1_bytes // max(64, math.gcd(pitch_bytes, 4096)) - 2)
