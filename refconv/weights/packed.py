"""How operands lie in memory: weights packed into whole vectors once, workspace buffers aligned to cache lines.

Packed orders, with the last axis one vector of `lanes` output channels, zero where there is none:
    dense      (G, V, R, S, C/G, lanes)        V vectors hold the K/G outputs of a group: a column of x meets a vector of outputs
    grouped    (V, R, S, C/G, lanes)           a vector holds whole groups of equal width: lane m of diagonal t is input m, output (m - t) mod g
    spread     (V, R, C/G, S, lanes)           a vector holds whole groups: each lane meets the j-th input of its own group
    depthwise  (V, R, S, lanes)                either of the two with one input a group
"""

import math

import numpy as np

from refconv.jit import routine

LINE_BYTES = 64
MOST_VECTORS = 4
"""A tile is at most this many vectors wide."""


@routine
def ceil_div(a, b):
    """The least integer not below a / b."""
    return -(-a // b)


def pixels_of_whole_vectors(channels, lanes):
    """The least number of contiguous pixels of so many channels that fill whole vectors."""
    return lanes // math.gcd(channels, lanes)


def groups_per_vector(c_group, k_group, lanes):
    """Groups whose inputs and outputs both fit into one vector; 0 if not even one does (then the group is packed dense)."""
    return lanes // max(c_group, k_group)


def order_of(weight_shape, groups, lanes):
    """The packed order a weight is kept in: the narrowest groups share vectors, wide ones are dense matrices."""
    k, c_group = weight_shape[:2]
    if groups == k and c_group == 1 and groups > 1:
        return "depthwise"
    if groups == 1 or groups_per_vector(c_group, k // groups, lanes) < 2:
        return "dense"
    return "grouped" if c_group == k // groups else "spread"


def spare_vectors(vectors):
    """Zero vectors after the last of `vectors`, so that tiles of any legal width cover them with whole tiles."""
    return max(-vectors % width for width in range(1, min(MOST_VECTORS, vectors) + 1))


def weight_vectors(weight_shape, groups, order, lanes):
    """Vectors of output channels that hold the weight, each of R * S * C/G vectors of elements."""
    k, c_group = weight_shape[:2]
    if order == "dense":
        return groups * ceil_div(k // groups, lanes)
    return ceil_div(groups, groups_per_vector(c_group, k // groups, lanes))


def packed_size(weight_shape, groups, order, lanes):
    """Elements of the packed weight."""
    k, c_group, r, s = weight_shape
    spare = spare_vectors(ceil_div(k // groups, lanes)) if order == "dense" else 0
    return (weight_vectors(weight_shape, groups, order, lanes) + spare) * r * s * c_group * lanes


def pack_weight(weight, groups, order, lanes):
    """The weight (K, C/G, R, S) as a flat, line-aligned array in the packed `order`."""
    k, c_group, r, s = weight.shape
    k_group = k // groups
    flat = aligned_zeros(packed_size(weight.shape, groups, order, lanes), weight.dtype)
    if order == "dense":
        vectors = ceil_div(k_group, lanes)
        padded = np.zeros((groups, vectors * lanes, c_group, r, s), weight.dtype)
        padded[:, :k_group] = weight.reshape(groups, k_group, c_group, r, s)
        packed = padded.reshape(groups, vectors, lanes, c_group, r, s).transpose(0, 1, 4, 5, 3, 2)
    else:
        per_vector = groups_per_vector(c_group, k_group, lanes)
        vectors = ceil_div(groups, per_vector)
        padded = np.zeros((vectors * per_vector, k_group, c_group, r, s), weight.dtype)
        padded[:groups] = weight.reshape(groups, k_group, c_group, r, s)
        lined = np.zeros((vectors, lanes, c_group, r, s), weight.dtype)
        if order == "grouped":  # lane m of vector t: input m, output (m - t) mod g
            m, t = np.meshgrid(np.arange(k_group), np.arange(k_group), indexing="ij")
            padded = padded[:, (m - t) % k_group, m].reshape(vectors, per_vector, k_group, k_group, r, s)
        lined[:, : per_vector * k_group] = padded.reshape(vectors, per_vector * k_group, c_group, r, s)
        packed = lined.transpose(0, 3, 4, 2, 1) if order == "grouped" else lined.transpose(0, 3, 2, 4, 1)
    flat[: packed.size] = packed.reshape(-1)
    return flat


def empty(shape, dtype=np.float32):
    """An uninitialised C-contiguous array of `shape` that starts on a cache line.

    NumPy aligns to 16 bytes only; vector loads that straddle lines cost a depthwise layer up to a third of its time.
    """
    dtype = np.dtype(dtype)
    shape = shape if isinstance(shape, tuple) else tuple(np.atleast_1d(shape).tolist())
    raw = np.empty(math.prod(map(int, shape)) * dtype.itemsize + LINE_BYTES, np.uint8)
    return np.ndarray(shape, dtype, raw, -raw.__array_interface__["data"][0] % LINE_BYTES)


def aligned_zeros(elements, dtype):
    """A flat array of zeros that starts on a cache line."""
    flat = empty(elements, dtype)
    flat[...] = 0
    return flat
