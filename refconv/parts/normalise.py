"""LayerNorm over the channels of a pixel. Inside a block without weight and bias, which the next matrix takes over (refconv/weights/blocks.py)."""

from refconv.jit import routine
from refconv.parts.operands import ONE
from refconv.tile.instructions import lanes, length, load, store, zero
from refconv.tile.registers import add_row, fused_multiply_add, inverse_deviation, mean_of, multiply_row, subtract_row


@routine
def _affine(row, c, channels, weight, bias):
    """row * weight + bias of channels c on; either may be None, and the bias empty."""
    if weight is not None:
        row = multiply_row(row, load(ONE, ONE, weight, c, 0, channels - c))
    if bias is not None:  # noqa: SIM102  the compiler decides a test that stands alone, and leaves out what depends on it
        if length(bias) > 0:
            row = add_row(row, load(ONE, ONE, bias, c, 0, channels - c))
    return row


@routine
def normalise(to, source, pixels, channels, eps, weight, bias):
    """to[i, c] = (source[i, c] - mean) / sqrt(variance + eps) * weight[c] + bias[c] for each pixel i, mean and variance over its channels.

    to, source: Views, which may be the same; weight, bias: flat buffers, or None for neither; the bias may be empty. The variance is that of the
    differences to the mean, in a second pass over the pixel: E[x^2] - mean^2 would cancel. The differences are stored and read again, so that lanes
    past the last channel, which hold 0 - mean, become zeros.
    """
    out, x, n_lanes = to.buffer, source.buffer, lanes(to.buffer)
    for i in range(pixels):
        given, pixel = source.at + i * source.pitch, to.at + i * to.pitch
        total, squares = zero(ONE, ONE, x), zero(ONE, ONE, x)
        for c in range(0, channels, n_lanes):
            total = add_row(total, load(ONE, ONE, x, given + c, 0, channels - c))
        mean = mean_of(total, channels)
        for c in range(0, channels, n_lanes):
            store(out, pixel + c, 0, subtract_row(load(ONE, ONE, x, given + c, 0, channels - c), mean), channels - c, 0)
            difference = load(ONE, ONE, out, pixel + c, 0, channels - c)
            squares = fused_multiply_add(squares, difference, difference)
        factor = inverse_deviation(squares, channels, eps)
        for c in range(0, channels, n_lanes):
            normed = multiply_row(load(ONE, ONE, out, pixel + c, 0, channels - c), factor)
            store(out, pixel + c, 0, _affine(normed, c, channels, weight, bias), channels - c, 0)
