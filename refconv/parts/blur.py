"""The blur pool of ConvFirst's stride 2: [1, 2, 1] x [1, 2, 1] / 16 at every second pixel of a map that is reflected by 1 at its border."""

from refconv.jit import routine
from refconv.parts.operands import ONE
from refconv.tile.instructions import lanes, load, store
from refconv.tile.registers import add_row, scaled
from refconv.weights.packed import ceil_div


@routine
def reflected(i, size):
    """The index within a map of `size` >= 2 that i stands for, which lies outside by one at most: 1 for -1, size - 2 for size."""
    return size - 1 - abs(size - 1 - abs(i))


@routine
def binomial(a, b, c):
    """a + 2 b + c."""
    return add_row(add_row(a, b), add_row(b, c))


@routine
def summed_column(x, rows, at, columns):
    """The vector at `at` of each of three rows, summed with the weights 1, 2, 1."""
    above, middle, below = rows
    top, bottom = load(ONE, ONE, x, above + at, 0, columns), load(ONE, ONE, x, below + at, 0, columns)
    return binomial(top, load(ONE, ONE, x, middle + at, 0, columns), bottom)


@routine
def blur_row(to, x, rows, pitch, width, channels):
    """An output row of ceil(width / 2) pixels, a View; rows: the places in x of the three rows of `width` pixels that it sees.

    The pixels of x are `pitch` elements apart. A column is summed once for the two output pixels that meet it; the weights are powers of
    two, so only sums are rounded.
    """
    n_lanes = lanes(to.buffer)
    for c in range(0, channels, n_lanes):
        left = summed_column(x, rows, reflected(-1, width) * pitch + c, channels - c)
        for q in range(ceil_div(width, 2)):
            centre = summed_column(x, rows, 2 * q * pitch + c, channels - c)
            right = summed_column(x, rows, reflected(2 * q + 1, width) * pitch + c, channels - c)
            store(to.buffer, to.at + q * to.pitch + c, 0, scaled(binomial(left, centre, right), 1 / 16), channels - c, 0)
            left = right
