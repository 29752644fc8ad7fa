"""Operators that move elements: to other shapes, orders and places."""

import numpy as np

from refconv.operators.types import NotSupported, axis_in, numpy_type


def _axes(given, rank):
    return tuple(axis_in(axis, rank) for axis in np.ravel(given))


def reshape(x, shape, *, allowzero=0):
    """The elements in the same order with other sizes: 0 keeps a size (unless allowzero), -1 is what is left."""
    sizes = [x.shape[i] if size == 0 and not allowzero else int(size) for i, size in enumerate(np.ravel(shape))]
    return x.reshape(sizes)


def flatten(x, *, axis=1):
    """A matrix: the axes before `axis`, and the others."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def squeeze(x, given=None, *, axes=None):
    """Without axes of size 1: those given, or all."""
    axes = given if given is not None else axes
    return x.reshape([size for size in x.shape if size != 1]) if axes is None else np.squeeze(x, _axes(axes, x.ndim))


def unsqueeze(x, given=None, *, axes=None):
    """With axes of size 1 where the result's axes are said to be such."""
    axes = np.ravel(given if given is not None else axes)
    return np.expand_dims(x, _axes(axes, x.ndim + len(axes)))


def transpose(x, *, perm=None):
    """The axes in another order, or the reverse."""
    return x.transpose(perm)


def concat(*operands, axis, out=None):
    """Arrays one after another along an axis."""
    return np.concatenate(operands, axis, out=out)


def dropout(x, ratio=None, training_mode=None, *, seed=0, is_test=1, **attributes):
    """x as it is, and where it is kept: everywhere, at inference."""
    if not is_test or (training_mode is not None and np.any(training_mode)):
        raise NotSupported("training: must be inference")
    return x, np.ones(x.shape, bool)


def split(x, sizes=None, *, axis=0, split=None, num_outputs=None, outputs):
    """Pieces along an axis: of the sizes given, or equal ones, of which the last may be smaller."""
    sizes = sizes if sizes is not None else split
    if sizes is None:
        piece = -(-x.shape[axis] // (num_outputs or outputs))
        sizes = [piece] * (outputs - 1)
    else:
        sizes = np.ravel(sizes)[:-1]
    return tuple(np.split(x, np.cumsum(sizes, dtype=np.int64), axis))


def slice_(x, starts=None, ends=None, axes=None, steps=None, **attributes):
    """Elements starts, starts + steps, ... before ends of each of the axes."""
    starts, ends, axes = (attributes.get(name) if given is None else given for name, given in (("starts", starts), ("ends", ends), ("axes", axes)))
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(*(np.ravel(given).tolist() for given in (starts, ends, axes, steps)), strict=True):
        size = x.shape[axis]
        start = min(max(start + size if start < 0 else start, 0), size if step > 0 else size - 1)
        end = end + size if end < 0 else end
        end = min(max(end, 0), size) if step > 0 else min(max(end, -1), size - 1)
        index[axis] = slice(start, None if step < 0 and end < 0 else end, step)
    return x[tuple(index)]


def gather(x, indices, *, axis=0):
    """Slices of x along an axis, by number; numbers below 0 count from the end."""
    return np.take(x, np.where(indices < 0, indices + x.shape[axis], indices), axis)


def gather_elements(x, indices, *, axis=0):
    """Elements of x, at their own place but along an axis at that of the index."""
    at = list(np.indices(indices.shape, sparse=True))
    at[axis] = np.where(indices < 0, indices + x.shape[axis], indices)
    return x[tuple(at)]


def gather_nd(x, indices, *, batch_dims=0):
    """Slices of x by rows of leading indices; the first batch_dims axes are both's own."""
    outer = tuple(np.indices(indices.shape[:-1], sparse=True)[:batch_dims])
    return x[(*outer, *np.moveaxis(indices, -1, 0))]


SCATTERED = {b"add": np.add, b"mul": np.multiply, b"max": np.maximum, b"min": np.minimum}


def scatter_nd(x, indices, updates, *, reduction=b"none"):
    """x with slices, by rows of leading indices, replaced by updates, or reduced with them."""
    return _scattered(x, tuple(np.moveaxis(indices, -1, 0)), updates, reduction)


def scatter_elements(x, indices, updates, *, axis=0, reduction=b"none"):
    """x with elements, at the updates' own place but along an axis at that of the index, replaced by them, or reduced with them."""
    at = [np.broadcast_to(one, indices.shape) for one in np.indices(indices.shape, sparse=True)]
    at[axis] = np.where(indices < 0, indices + x.shape[axis], indices)
    return _scattered(x, tuple(at), updates, reduction)


def _scattered(x, at, updates, reduction):
    result = x.copy()
    if reduction == b"none":
        result[at] = updates
    else:
        SCATTERED[reduction].at(result, at, updates)
    return result


def expand(x, shape):
    """x broadcast with a shape."""
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(size) for size in shape)))


def tile(x, repeats):
    """x repeated along each axis."""
    return np.tile(x, repeats)


PAD_MODES = {b"constant": "constant", b"reflect": "reflect", b"edge": "edge", b"wrap": "wrap"}


def pad(x, given=None, value=None, axes=None, *, mode=b"constant", pads=None, paddings=None, **attributes):
    """x with more elements before and after: a value, its reflection, its edge, or itself again. Fewer where a number is below 0."""
    amounts = np.ravel(given if given is not None else pads if pads is not None else paddings).tolist()
    axes = range(x.ndim) if axes is None else np.ravel(axes).tolist()
    around, within = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        before, after = amounts[i], amounts[i + len(axes)]
        around[axis] = max(before, 0), max(after, 0)
        within[axis] = slice(max(-before, 0), x.shape[axis] + min(after, 0))
    if mode not in PAD_MODES:
        raise NotSupported(f"mode = {mode!r}: must be {', '.join(name.decode() for name in PAD_MODES)}")
    if mode != b"constant":
        return np.pad(x[tuple(within)], around, PAD_MODES[mode])
    value = attributes.get("value", 0) if value is None else np.ravel(value)[0]
    return np.pad(x[tuple(within)], around, constant_values=x.dtype.type(value))


def shape(x, *, start=0, end=None):
    """The sizes of x."""
    return np.array(x.shape[start:end], np.int64)


def constant_of_shape(sizes, *, value=None):
    """An array of that shape of one value."""
    value = np.zeros(1, np.float32) if value is None else value
    return np.broadcast_to(value.reshape(()), tuple(int(size) for size in sizes))


def range_(start, limit, delta):
    """start, start + delta, ... before limit."""
    return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def depth_to_space(x, *, blocksize, mode=b"DCR"):
    """Channels moved to blocks of pixels: (N, C, H, W) to (N, C / b^2, H b, W b)."""
    n, c, h, w = x.shape
    b = blocksize
    if mode == b"DCR":
        moved = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        moved = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return moved.reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x, *, blocksize, mode=b"DCR"):
    """Blocks of pixels moved to channels: (N, C, H, W) to (N, C b^2, H / b, W / b)."""
    n, c, h, w = x.shape
    b = blocksize
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    return (blocks.transpose(0, 3, 5, 1, 2, 4) if mode == b"DCR" else blocks.transpose(0, 1, 3, 5, 2, 4)).reshape(n, c * b * b, h // b, w // b)


def trilu(x, k=None, *, upper=1):
    """The upper or lower triangle of matrices, zeros elsewhere."""
    return (np.triu if upper else np.tril)(x, 0 if k is None else int(np.ravel(k)[0]))


def eye_like(x, *, k=0, dtype=None):
    """A matrix of x's shape with ones on its k-th diagonal."""
    return np.eye(*x.shape, k=k, dtype=x.dtype if dtype is None else numpy_type(dtype))


def one_hot(indices, depth, values, *, axis=-1):
    """values[1] at the index along a new axis of `depth` elements, values[0] elsewhere."""
    count = int(np.ravel(depth)[0])
    axis = axis_in(axis, indices.ndim + 1)
    hit = np.expand_dims(indices % count, axis) == np.arange(count).reshape([-1 if i == axis else 1 for i in range(indices.ndim + 1)])
    return np.where(hit & np.expand_dims((indices >= -count) & (indices < count), axis), values[1], values[0])


TABLE = {
    "Identity": lambda x: x,
    "Dropout": dropout,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "Shape": shape,
    "Size": lambda x: np.array(x.size, np.int64),
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Trilu": trilu,
    "EyeLike": eye_like,
    "OneHot": one_hot,
}
