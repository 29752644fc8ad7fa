"""Traced buffers: the instruction set's second implementation. An instruction notes the lines it would touch; nothing is computed.

A kernel compiled for Traced arguments is the same source as the one compiled for arrays. Its tiles have the type they would have on
the machine simulated, whose vector may be shorter or longer than this host's.
"""

from typing import NamedTuple

from numba import types
from numba.extending import overload

from refconv import tile as op
from refconv.jit import routine
from refconv.routine_code import INLINED
from refconv.static import Static
from refconv.tile.arrays import zero_code
from refconv.tile.instructions import slide_schedule
from refconv.tile.machine import implement
from refconv.tile.operands import Below, View, Weights
from refconv.tile.types import TileType
from sim.hierarchy.hierarchy import call_loop
from sim.hierarchy.words import CHUNK, HEADER, TENSOR_BITS, whole_lines, words_at

EVENTS_AT, GATHERED, LOOP = HEADER.events_at, HEADER.gathered, HEADER.loop
"""Plain numbers: these are compiled into every kernel."""


class Traced(NamedTuple):
    """A buffer of `size` elements at a byte address, on a machine with the given vector and line (of the first level).

    words: the address of a Hierarchy's words; the Hierarchy must outlive the buffer. References to an array would be counted at every instruction.
    """

    address: int
    size: int
    itemsize: Static
    vector_bytes: Static
    line_shift: Static
    words: int


class Trace:
    """Buffers laid one after the other in memory, and the hierarchy their accesses run through.

    Each begins on a line of the last level, of longest_line_bytes (None: the first level's), so that no line belongs to two.
    """

    def __init__(self, hierarchy, vector_bytes, longest_line_bytes=None):
        self.hierarchy, self.vector_bytes, self._line = hierarchy, Static(vector_bytes), longest_line_bytes or hierarchy.line_bytes
        self.names, self.sizes, self._offset = [], [], 0

    def buffer(self, name, elements, itemsize):
        """A traced buffer of that many elements of `itemsize` bytes (2: halves, computed in float32), named in the counts."""
        address, shift = len(self.names) << TENSOR_BITS | self._offset, self.hierarchy.line_bytes.bit_length() - 1
        self.names.append(name)
        self.sizes.append(elements * itemsize)
        self._offset += whole_lines(elements * itemsize, self._line)
        if self._offset >= 1 << TENSOR_BITS:
            raise ValueError(f"{name}: all tensors together have {self._offset} bytes or more: must be below {1 << TENSOR_BITS}")
        return Traced(address, elements, Static(itemsize), self.vector_bytes, Static(shift), self.hierarchy.words.ctypes.data)

    def overlay(self, whole, name, elements, itemsize, at):
        """A buffer that lies in the memory of another, `whole`, from its byte `at` on, a line of the last level; named and counted apart from it."""
        address = len(self.names) << TENSOR_BITS | (whole.address + at) & (1 << TENSOR_BITS) - 1
        self.names.append(name)
        self.sizes.append(elements * itemsize)
        return whole._replace(address=address, size=elements, itemsize=Static(itemsize))


def is_traced(buffer):
    """Whether a Numba type is that of a traced buffer."""
    return isinstance(buffer, types.BaseNamedTuple) and buffer.instance_class is Traced


def _lanes_of(buffer):
    itemsize, vector_bytes = buffer[2], buffer[3]
    return vector_bytes.value // max(4, itemsize.value)


def _tile_of(buffer, rows, vectors):
    element = types.float64 if buffer[2].value == 8 else types.float32
    return TileType(element, rows.value, vectors.value, _lanes_of(buffer))


@routine
def begin(buffer):
    """Where the next event goes among the words; the events gathered are run first if they are many."""
    words = words_at(buffer.words)
    if words[GATHERED] > CHUNK:
        call_loop(words[LOOP], words)
    return words[EVENTS_AT] + words[GATHERED]


@routine
def end(buffer, n):
    """The events up to position n are gathered."""
    words = words_at(buffer.words)
    words[GATHERED] = n - words[EVENTS_AT]


@routine
def note(buffer, n, at, elements, write):
    """Append the lines of `elements` elements from `at` on, at most a vector; returns the next position.

    A vector no longer than a line lies in one line or two, which are noted without a loop: a loop at each access of a kernel, which LLVM would
    unroll and put in vectors, takes half of the time that a traced kernel is compiled in.
    """
    if elements > 0:
        first = (buffer.address + at * buffer.itemsize) >> buffer.line_shift
        last = (buffer.address + (at + elements) * buffer.itemsize - 1) >> buffer.line_shift
        events = words_at(buffer.words)
        if buffer.vector_bytes <= 1 << buffer.line_shift:
            events[n] = first << 1 | write
            n += last - first + 1
            events[n - 1] = last << 1 | write
        else:
            for line in range(first, last + 1):
                events[n] = line << 1 | write
                n += 1
    return n


@routine
def note_one(buffer, n, at, write):
    """Append the line of one element, which lies in one since buffers begin on a line, or its lines where they are shorter than elements."""
    first, events = (buffer.address + at * buffer.itemsize) >> buffer.line_shift, words_at(buffer.words)
    events[n] = first << 1 | write
    n += 1
    if buffer.itemsize > 1 << buffer.line_shift:
        for line in range(first + 1, first + (buffer.itemsize >> buffer.line_shift)):
            events[n] = line << 1 | write
            n += 1
    return n


def read(buffer, i):
    """Load one element, in a loop nest of your own: an event of a traced buffer, the value of an array."""
    return buffer[i]


def write(buffer, i, value):
    """Store one element, in a loop nest of your own."""
    buffer[i] = value


@overload(read, jit_options=INLINED)
def _read(buffer, i):
    if not is_traced(buffer):
        return read

    def traced(buffer, i):
        n = begin(buffer)
        end(buffer, note_one(buffer, n, i, 0))
        return 0.0

    return traced


@overload(write, jit_options=INLINED)
def _write(buffer, i, value):
    if not is_traced(buffer):
        return write

    def traced(buffer, i, value):
        n = begin(buffer)
        end(buffer, note_one(buffer, n, i, 1))

    return traced


@implement(op.lanes)
def _lanes(typing_context, buffer):
    if is_traced(buffer):
        n = _lanes_of(buffer)
        return types.intp(buffer), lambda context, builder, signature, args: context.get_constant(types.intp, n)


@implement(op.zero)
def _zero(typing_context, rows, vectors, like):
    if is_traced(like):
        tile = _tile_of(like, rows, vectors)
        return tile(rows, vectors, like), zero_code(tile)


@overload(op.length, jit_options=INLINED)
def _length(buffer):
    if is_traced(buffer):
        return lambda buffer: buffer.size


@implement(op.prefetch)
def _prefetch(typing_context, buffer, at, level):
    if is_traced(buffer):  # a hint moves nothing that its load would not: the simulator has no prefetcher
        return types.none(buffer, types.intp, level), lambda context, builder, signature, args: context.get_dummy_value()


@overload(op.load, jit_options=INLINED)
def _load(rows, vectors, x, at, row_stride, columns):
    if not is_traced(x):
        return None
    r_count, v_count, n_lanes = rows.value, vectors.value, _lanes_of(x)

    def load(rows, vectors, x, at, row_stride, columns):
        n = begin(x)
        for r in range(r_count):
            for v in range(v_count):
                n = note(x, n, at + r * row_stride + v * n_lanes, min(n_lanes, columns - v * n_lanes), 0)
        end(x, n)
        return op.zero(rows, vectors, x)

    return load


@overload(op.add_from, jit_options=INLINED)
def _add_from(acc, x, at, row_stride, columns, first_row):
    if not is_traced(x):
        return None
    rows, vectors, n_lanes = acc.rows, acc.vectors, acc.lanes

    def add_from(acc, x, at, row_stride, columns, first_row):
        n = begin(x)
        for r in range(first_row, rows):
            for v in range(vectors):
                n = note(x, n, at + r * row_stride + v * n_lanes, min(n_lanes, columns - v * n_lanes), 0)
        end(x, n)
        return acc

    return add_from


@overload(op.store, jit_options=INLINED)
def _store(out, at, row_stride, tile, columns, first_row):
    if not is_traced(out):
        return None
    rows, vectors, n_lanes = tile.rows, tile.vectors, tile.lanes

    def store(out, at, row_stride, tile, columns, first_row):
        n = begin(out)
        for r in range(first_row, rows):
            for v in range(vectors):
                n = note(out, n, at + r * row_stride + v * n_lanes, min(n_lanes, columns - v * n_lanes), 1)
        end(out, n)

    return store


@overload(op.outer, jit_options=INLINED)
def _outer(acc, x, x_at, x_row_stride, w, w_at, w_vector_stride):
    if not is_traced(x):
        return None
    rows, vectors, n_lanes = acc.rows, acc.vectors, acc.lanes

    def outer(acc, x, x_at, x_row_stride, w, w_at, w_vector_stride):
        n = begin(x)
        for v in range(vectors):
            n = note(w, n, w_at + v * w_vector_stride, n_lanes, 0)
        for r in range(rows):
            n = note_one(x, n, x_at + r * x_row_stride, 0)
        end(x, n)
        return acc

    return outer


@overload(op.outer_sum, jit_options=INLINED)
def _outer_sum(acc, pixels, weights, steps, ahead):
    if not is_traced(pixels[0]):
        return None

    def outer_sum(acc, pixels, weights, steps, ahead):
        n_lanes = op.lanes(weights.buffer)
        for c in range(steps):
            acc = op.outer(acc, pixels.buffer, pixels.at + c, pixels.pitch, weights.buffer, weights.at + c * n_lanes, weights.stride)
        return acc

    return outer_sum


@overload(op.slide, jit_options=INLINED)
def _slide(acc, strip, pixels, columns, first_pixel, last_pixel, taps, below):
    if not is_traced(pixels[0]):
        return None
    n_taps, n_vectors, n_lanes = int(strip.record.taps), acc.vectors, acc.lanes
    apart = n_vectors * n_lanes
    if taps[2] == types.none:

        def side_by_side(acc, strip, pixels, columns, first_pixel, last_pixel, taps, below):
            return op.slide(acc, strip, pixels, columns, first_pixel, last_pixel, Weights(taps.buffer, taps.at, apart), below)

        return side_by_side
    if below != types.none and below[2] == types.none:

        def following(acc, strip, pixels, columns, first_pixel, last_pixel, taps, below):
            return op.slide(acc, strip, pixels, columns, first_pixel, last_pixel, taps, Below(below.rows, below.pixels, n_taps * taps.stride))

        return following
    if below != types.none:

        def rows(acc, strip, pixels, columns, first_pixel, last_pixel, taps, below):
            for r in range(below.rows):
                under = View(pixels.buffer, pixels.at + r * below.pixels, pixels.pitch)
                here = Weights(taps.buffer, taps.at + r * below.taps, taps.stride)
                acc = op.slide(acc, strip, under, columns, first_pixel, last_pixel, here, None)
            return acc

        return rows
    met = tuple(i for i, _ in slide_schedule(acc.rows, strip.record.taps, strip.record.stride))
    if first_pixel == types.none:
        return lambda acc, strip, pixels, columns, first_pixel, last_pixel, taps, below: op.slide(
            acc, strip, pixels, n_lanes, 0, 1 << 30, taps, below
        )

    if columns == types.none:
        return lambda acc, strip, pixels, columns, first_pixel, last_pixel, taps, below: op.slide(
            acc, strip, pixels, n_lanes, first_pixel, last_pixel, taps, below
        )

    def slide(acc, strip, pixels, columns, first_pixel, last_pixel, taps, below):
        n = begin(pixels.buffer)
        for s in range(n_taps):
            for v in range(n_vectors):
                n = note(taps.buffer, n, taps.at + s * taps.stride + v * n_lanes, n_lanes, 0)
        for i in met:
            if first_pixel <= i < last_pixel:
                n = note(pixels.buffer, n, pixels.at + i * pixels.pitch, min(n_lanes, columns), 0)
        end(pixels.buffer, n)
        return acc

    return slide


@overload(op.spread, jit_options=INLINED)
def _spread(strip, at, input_stride, pixel, inputs, outputs):
    if not is_traced(strip):
        return None
    count, n_lanes = inputs.value, pixel.lanes

    def spread(strip, at, input_stride, pixel, inputs, outputs):
        n = begin(strip)
        for j in range(count):
            n = note(strip, n, at + j * input_stride, n_lanes, 1)
        end(strip, n)

    return spread
