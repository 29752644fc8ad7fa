"""LayerNorm over the channels of a pixel, without weight and bias, which the next matrix takes over (refconv/weights/blocks.py)."""

from refconv.jit import routine
from refconv.parts.operands import ONE
from refconv.tile.instructions import lanes, load, store, zero
from refconv.tile.registers import add_row, fused_multiply_add, inverse_deviation, mean_of, multiply_row, subtract_row


@routine
def normalise(view, pixels, channels, eps):
    """x[i, c] = (x[i, c] - mean) / sqrt(variance + eps) for each pixel i of a View, mean and variance over its channels.

    The variance is that of the differences to the mean, in a second pass over the pixel: E[x^2] - mean^2 would cancel. The differences are
    stored and read again, so that lanes past the last channel, which hold 0 - mean, become zeros.
    """
    x, n_lanes = view.buffer, lanes(view.buffer)
    for i in range(pixels):
        pixel = view.at + i * view.pitch
        total, squares = zero(ONE, ONE, x), zero(ONE, ONE, x)
        for c in range(0, channels, n_lanes):
            total = add_row(total, load(ONE, ONE, x, pixel + c, 0, channels - c))
        mean = mean_of(total, channels)
        for c in range(0, channels, n_lanes):
            store(x, pixel + c, 0, subtract_row(load(ONE, ONE, x, pixel + c, 0, channels - c), mean), channels - c, 0)
            difference = load(ONE, ONE, x, pixel + c, 0, channels - c)
            squares = fused_multiply_add(squares, difference, difference)
        factor = inverse_deviation(squares, channels, eps)
        for c in range(0, channels, n_lanes):
            store(x, pixel + c, 0, multiply_row(load(ONE, ONE, x, pixel + c, 0, channels - c), factor), channels - c, 0)
