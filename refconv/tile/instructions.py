"""The instruction set: what a kernel may do to memory and registers. The Python body of an instruction IS its definition.

A *buffer* is flat (one dimension); positions and strides count its elements, which are floats or, in memory only, half as wide: 16-bit
floats are widened to float32 when loaded and rounded to the nearest when stored. A *tile* has rows of whole vectors; here it
is an ndarray of shape (rows, vectors * lanes). `columns` is how many elements of each row exist in memory (more than a row
holds means all): the rest of the row is neither read (it becomes zero) nor written. Sums run in the order written, so
results do not depend on the tiling.

Machines implement these functions for their own buffer types: tile/arrays.py for NumPy arrays (LLVM vector code),
sim/trace/traced.py for traced buffers. What only touches registers is in tile/registers.py. Derived here, after the "tensor machine" idea
of Lavin, "On the Efficiency of Convolutional Neural Networks"; the instruction set is this project's own.
"""

import numpy as np

from refconv import host


def _sums(buffer):
    """The dtype that elements of the buffer are computed in."""
    return np.dtype(np.float32) if buffer.dtype.itemsize == 2 else buffer.dtype


def lanes(buffer):
    """Elements in one vector of the type the buffer's elements are computed in."""
    return host.target().lanes(_sums(buffer).itemsize)


def length(buffer):
    """Elements in the buffer: 0 stands for an operand that is absent (a bias)."""
    return len(buffer)


def zero(rows, vectors, like):
    """A tile of zeros for elements of the type of the buffer `like`."""
    return np.zeros((rows, vectors * lanes(like)), _sums(like))


def load(rows, vectors, x, at, row_stride, columns):
    """tile[r, l] = x[at + r * row_stride + l] for l < columns, else 0."""
    tile = zero(rows, vectors, x)
    columns = min(columns, tile.shape[1])
    for r in range(rows):
        if columns > 0:
            tile[r, :columns] = x[at + r * row_stride : at + r * row_stride + columns]
    return tile


def store(out, at, row_stride, tile, columns, first_row):
    """out[at + r * row_stride + l] = tile[r, l] for r >= first_row, l < columns."""
    columns = min(columns, tile.shape[1])
    for r in range(first_row, len(tile)):
        if columns > 0:
            out[at + r * row_stride : at + r * row_stride + columns] = tile[r, :columns]


def add_from(acc, x, at, row_stride, columns, first_row):
    """acc[r, l] + x[at + r * row_stride + l] for r >= first_row, l < columns, else + 0: reads what `store` would write there."""
    more, columns = np.zeros_like(acc), min(columns, acc.shape[1])
    for r in range(first_row, len(acc)):
        if columns > 0:
            more[r, :columns] = x[at + r * row_stride : at + r * row_stride + columns]
    return acc + more


def prefetch(buffer, at, level):
    """A hint that the line of element `at` will be wanted in the cache of that level (1 or 2).

    Changes no value, may name any place, and counts as no access.
    """


def outer(acc, x, x_at, x_row_stride, w, w_at, w_vector_stride):
    """acc[r, v] + x[x_at + r * x_row_stride] * w[w_at + v * w_vector_stride :][:lanes]: a column times a row of vectors."""
    n = lanes(w)
    column = np.array([x[x_at + r * x_row_stride] for r in range(len(acc))])
    row = np.concatenate([w[at : at + n] for at in range(w_at, w_at + acc.shape[1] // n * w_vector_stride, w_vector_stride)])
    return acc + column[:, None].astype(acc.dtype) * row.astype(acc.dtype)


def outer_sum(acc, pixels, weights, steps, ahead):
    """acc + the outer products of `steps` steps: element c of every pixel of the View times vector c of the Weights' vectors, c = 0, 1, ...

    ahead: an Ahead, one more element of which is prefetched with every step, or None; like `prefetch` it changes no value.
    """
    (x, x_at, pitch), (w, w_at, stride) = pixels, weights
    for c in range(steps):
        acc = outer(acc, x, x_at + c, pitch, w, w_at + c * lanes(w), stride)
    return acc


def slide(acc, strip, pixels, columns, first_pixel, last_pixel, taps, below):
    """A window of strip.taps pixels slides over a strip: acc[q, v] + sum_s pixel[q * strip.stride + s] * tap[s, v], lane by lane.

    below: None, or a Below: then the same for as many rows of pixels and of taps as it says, at least one, one after another.

    pixels: a View, of which `columns` elements of pixel i are read once for all the rows and taps that meet it; pixels outside
    first_pixel <= i < last_pixel are border: neither read nor, where a row is one vector, multiplied (else taken as zeros). `columns`
    is None where every pixel is a whole vector and, of several taps, only the first strip.taps - 1 pixels and as many last ones may be border;
    the others are None, too, where all are inside. taps: Weights; those of tap s are as many
    vectors as a row has, from taps.at + s * taps.stride on (one tap's after another's where the stride is None).
    """
    if taps.stride is None:
        taps = taps._replace(stride=acc.shape[1])
    if below is not None:
        below = below if below.taps is not None else below._replace(taps=strip.taps * taps.stride)
        for r in range(below.rows):
            under, here = pixels._replace(at=pixels.at + r * below.pixels), taps._replace(at=taps.at + r * below.taps)
            acc = slide(acc, strip, under, columns, first_pixel, last_pixel, here, None)
        return acc
    (x, x_at, pitch), (w, w_at, tap_stride) = pixels, taps
    acc, n = acc.copy(), lanes(w)
    first_pixel, last_pixel = (0, 1 << 30) if first_pixel is None else (first_pixel, last_pixel)
    columns, vectors = n if columns is None else min(columns, n), acc.shape[1] // n
    weights = [w[w_at + s * tap_stride : w_at + s * tap_stride + vectors * n].astype(acc.dtype) for s in range(strip.taps)]
    for i, meetings in slide_schedule(len(acc), strip.taps, strip.stride):
        inside = first_pixel <= i < last_pixel
        if inside or vectors > 1:
            pixel = np.zeros(n, acc.dtype)
            if inside:
                pixel[:columns] = x[x_at + i * pitch : x_at + i * pitch + columns]
            for q, s in meetings:
                acc[q] = acc[q] + np.tile(pixel, vectors) * weights[s]
    return acc


def slide_schedule(rows, taps, stride):
    """[(pixel, [(row, tap), ...]), ...]: the pixels a slide visits, in order, and what each is multiplied for."""
    meetings = {}
    for q in range(rows):
        for s in range(taps):
            meetings.setdefault(q * stride + s, []).append((q, s))
    return sorted(meetings.items())


def spread(strip, at, input_stride, pixel, inputs, outputs):
    """strip[at + j * input_stride + l] = pixel[0, l // outputs * inputs + j], or 0 past the end, for every j < inputs.

    The pixel holds whole groups of `inputs` channels; vector j then holds, in each lane, the j-th input of that output's group.
    """
    n = pixel.shape[1]
    for j in range(inputs):
        source = spread_lanes(n, inputs, outputs, j)
        strip[at + j * input_stride : at + j * input_stride + n] = np.array([pixel[0, i] if i < n else 0 for i in source], pixel.dtype)


def spread_lanes(lanes, inputs, outputs, j):
    """For each lane of spread's vector j the lane of the pixel it takes; `lanes` and above stand for zero."""
    return [lane // outputs * inputs + j for lane in range(lanes)]
