"""LayerNorm over the channels of a pixel. Inside a block without weight and bias, which the next matrix takes over (refconv/weights/blocks.py)."""

from refconv.jit import routine
from refconv.parts.copy import FOUR
from refconv.parts.operands import ONE
from refconv.tile.instructions import lanes, length, load, store, zero
from refconv.tile.operands import shifted
from refconv.tile.registers import add_row, first_columns, fused_multiply_add, inverse_deviation, mean_of, multiply_row, subtract_row


@routine
def _affine(tile, c, channels, weight, bias):
    """tile * weight + bias of channels c on; either may be None, and the bias empty."""
    if weight is not None:
        tile = multiply_row(tile, load(ONE, ONE, weight, c, 0, channels - c))
    if bias is not None:  # noqa: SIM102  the compiler decides a test that stands alone, and leaves out what depends on it
        if length(bias) > 0:
            tile = add_row(tile, load(ONE, ONE, bias, c, 0, channels - c))
    return tile


@routine
def _some_pixels(to, source, channels, eps, weight, bias, rows):
    """As normalise, for so many pixels at once as `rows`."""
    n_lanes = lanes(to.buffer)
    total, squares = zero(rows, ONE, to.buffer), zero(rows, ONE, to.buffer)
    for c in range(0, channels, n_lanes):
        total = add_row(total, load(rows, ONE, source.buffer, source.at + c, source.pitch, channels - c))
    mean = mean_of(total, channels)
    for c in range(0, channels, n_lanes):
        difference = subtract_row(load(rows, ONE, source.buffer, source.at + c, source.pitch, channels - c), mean)
        difference = first_columns(difference, channels - c)  # behind them lie 0 - mean
        squares = fused_multiply_add(squares, difference, difference)
    factor = inverse_deviation(squares, channels, eps)
    for c in range(0, channels, n_lanes):
        difference = subtract_row(load(rows, ONE, source.buffer, source.at + c, source.pitch, channels - c), mean)
        store(to.buffer, to.at + c, to.pitch, _affine(multiply_row(difference, factor), c, channels, weight, bias), channels - c, 0)


@routine
def normalise(to, source, pixels, channels, eps, weight, bias):
    """to[i, c] = (source[i, c] - mean) / sqrt(variance + eps) * weight[c] + bias[c] for each pixel i, mean and variance over its channels.

    to, source: Views, which may be the same; weight, bias: flat buffers, or None for neither; the bias may be empty. The variance is that of the
    differences to the mean, in a second pass over the pixel: E[x^2] - mean^2 would cancel. Four pixels at a time: a sum of lanes, a root and two
    divisions one after the other take some 200 cycles, in which there is little else to do for one pixel.
    """
    whole = pixels - pixels % 4
    for i in range(0, whole, 4):
        _some_pixels(shifted(to, i * to.pitch), shifted(source, i * source.pitch), channels, eps, weight, bias, FOUR)
    for i in range(whole, pixels):
        _some_pixels(shifted(to, i * to.pitch), shifted(source, i * source.pitch), channels, eps, weight, bias, ONE)
