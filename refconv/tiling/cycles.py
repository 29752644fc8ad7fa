"""What a register tile is expected to take on a target: cycles of a step, cycles besides its steps, and the pixels that its L1 holds."""

import math


def step_cycles(rows, vectors, near, target):
    """Cycles of a step of a tile's sum: rows * vectors multiply-adds, each waiting for the one that the step before has added to its sum.

    A step takes no less than its multiply-adds at the target's rate, than the latency of one, than its instructions (a load for each row and
    vector beside them) take to be started, and, unless the block of weights is `near`, than its vectors of weights take to come from the L2.
    It takes more than the greatest of these where another is close, since waiting for one leaves less time for the other: what the cubic norm
    of them says. That form is fitted, once for both instruction sets; the bounds are the target's. A step's loads (a row's broadcast, a vector of
    weights; operands in memory, too) count among its instructions and have no bound of their own: a bound of rows + vectors at the two or three loads
    a cycle that there are, in place of the instructions or beside them, is off the cycles below by 3.1 to 6.6 % (RMS, each with the exponent that
    fits it best), this form by 2.5 %: 14x1 would take 9.8 cycles with two loads a cycle. Cycles measured from the L1 on a core that
    starts six instructions a cycle (by this formula; the multiply-adds alone):

        AVX-512   14x2 14.6 (14.7; 14)   9x3 14.1 (14.1; 13.5)   6x4 12.4 (12.5; 12)   7x3 11.0 (11.1; 10.5)   8x2 9.0 (8.7; 8)   14x1 7.7 (8.0; 7)
        AVX2      14x1 7.9 (8.0; 7)   12x1 7.0 (7.1; 6)   4x3 6.8 (6.8; 6)   6x2 6.7 (6.8; 6)   5x2 5.9 (6.0; 5)   4x2 5.2 (5.2; 4)   4x1 4.5 (4.2; 2)
    """
    stream = 0 if near else vectors * target.vector_bytes / target.l2_bytes_per_cycle
    instructions = (rows * vectors + rows + vectors) / target.instructions_per_cycle
    bounds = rows * vectors / target.multiply_adds_per_cycle, target.latency_cycles, instructions, stream
    return sum(bound**3 for bound in bounds) ** (1 / 3)


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
