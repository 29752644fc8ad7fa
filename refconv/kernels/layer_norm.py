"""The norm of each pixel over its channels, alone: as ConvNeXt has it before the convolutions that make its map smaller.

    out[i, c] = (x[i, c] - mean[i]) / sqrt(variance[i] + eps) * weight[c] + bias[c]

pixels
  vectors of channels, three times: their sum; the differences to the mean, and the sum of their squares; the results (parts/normalise.py)
"""

from refconv.jit import kernel
from refconv.parts.normalise import normalise
from refconv.tile.operands import View


@kernel
def layer_norm(x, weight, bias, out, norm):
    """x and out (pixels, channels) of a LayerNorm, weight (channels), bias likewise or empty: flat, of one element type; out may be x."""
    channels = norm.channels
    normalise(View(out, 0, channels), View(x, 0, channels), norm.pixels, channels, norm.eps, weight, bias)
