"""How tensors lie in memory: densely, their axes in some order, outermost first. (0, 2, 3, 1) is NHWC of a tensor whose axes are N, C, H, W.

Axes of size 1 have no place in memory, so orders that differ in them alone are one.
"""

import math


def plain(rank):
    """The order of an array as NumPy makes it: the last axis innermost."""
    return tuple(range(rank))


def channels_last(rank):
    """The order that kernels read: (N, C, ...) with the channels innermost."""
    return (0, *range(2, rank), 1)


def same(one, other, shape):
    """Whether two orders of a tensor of that shape are one in memory."""
    seen = lambda order: [axis for axis in order if shape[axis] != 1]
    return math.prod(shape) == 0 or seen(one) == seen(other)


def transposed(order, perm):
    """The order of a tensor whose axes have been permuted as of Transpose, its memory as before."""
    at = {axis: i for i, axis in enumerate(perm)}
    return tuple(at[axis] for axis in order)


def name(order, shape):
    """What an order is called: of maps by their letters, of others by the numbers of their axes; "" as NumPy makes it."""
    if same(order, plain(len(order)), shape):
        return ""
    return "".join("NCHW"[axis] for axis in order) if len(order) == 4 else "-".join(map(str, order))
