"""The cost model of FasterNet, its equations (1) to (7), in the paper's terms. Pure functions.

Source: Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks" (arXiv 2303.03667), Sec. 3. One image of h x w pixels
and c channels in and out, a k x k kernel, stride 1. "FLOPs" of the paper are multiply-adds, here `_macs`; memory is in elements, here
`_elements`. Where the paper goes on with an approximation (h w 2 c, without the weights), `weights=False` gives it.

This project counts the same from the problem itself (Conv2d.macs, Conv2d.tensors); a test compares the two. They differ in one place: equation (5)
leaves out the channels that a partial convolution passes through, which an implementation by concatenation moves, too (PartialConv2d.compulsory).
"""


def latency_s(macs, macs_per_s):
    """Equation (1): Latency = FLOPs / FLOPS."""
    return macs / macs_per_s


def depthwise_elements(h, w, c, k, weights=True):
    """Equation (2): h w 2 c' + k^2 c', of a depthwise convolution of c' channels."""
    return h * w * 2 * c + weights * k**2 * c


def conv_elements(h, w, c, k, weights=True):
    """Equation (3): h w 2 c + k^2 c^2, of a dense convolution."""
    return h * w * 2 * c + weights * k**2 * c**2


def partial_macs(h, w, convolved, k):
    """Equation (4): h w k^2 c_p^2, of a partial convolution of c_p channels."""
    return h * w * k**2 * convolved**2


def partial_elements(h, w, convolved, k, weights=True):
    """Equation (5): h w 2 c_p + k^2 c_p^2; the channels passed through are not counted."""
    return conv_elements(h, w, convolved, k, weights)


def t_shaped_macs(h, w, c, convolved, k):
    """Equation (6): h w (k^2 c_p c + c (c - c_p)), of a T-shaped convolution: the kernel k x k on c_p channels, 1x1 on the others."""
    return h * w * (k**2 * convolved * c + c * (c - convolved))


def partial_and_pointwise_macs(h, w, c, convolved, k):
    """Equation (7): h w (k^2 c_p^2 + c^2), of a partial convolution and a pointwise one after it, which together replace (6)."""
    return partial_macs(h, w, convolved, k) + h * w * c**2
