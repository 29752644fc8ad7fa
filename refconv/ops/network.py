"""Networks from ONNX files, run: `net = refconv.load("model.onnx")`, `net(x)`. Source of what operators mean: ONNX, docs/Operators.md.

What is decided once for the sizes of a call is a NetworkProgram (refconv/ops/network_program.py)."""

import os

import numpy as np

from refconv.graph.model import printable
from refconv.graph.network import input_shapes, shape_text
from refconv.graph.network_schedule import network_schedule
from refconv.graph.onnx_network import OnnxNetwork
from refconv.graph.passes import ALWAYS, improved
from refconv.ops.network_program import NetworkProgram
from refconv.plan import thread_count
from refconv.problem.arrays import read_array
from refconv.problem.block_base import one_of
from refconv.problem.conv import is_integer
from refconv.recent import Recent
from refconv.weights.packed import LINE_BYTES

MOST_SCHEDULES = 16
"""Kept of one network: one for each combination of input sizes and number of threads."""


def load(source, *, threads=None, fuse=True, strict=True):
    """The network in an ONNX file, ready to be called (extra `onnx`).

    source: the path of a file, whose weights may lie beside it as external data, or an onnx.ModelProto. threads: at most this many in every call
    that does not say otherwise (None: Numba's current number). Operator sets 11 and later; what of older ones means the same works, too.
    fuse: whether residual blocks that this project has records of (refconv/problem/blocks.py) run as by fused_block, where that is expected to
    take less time than their layers (refconv.graph.lower_blocks.pays); "always": wherever it is possible; False: every convolution is a call
    of its own. The same numbers come out up to rounding. True takes sizes, vectors and caches into account, so that the rounding depends on them;
    the sums of a fused squeeze-excitation are made thread by thread, as in fused_block.
    strict: operators that there are not are refused here; else by a call, while schedule_on has the rest of the network.

    Returns a Net. ValueError says what is wrong with the file, or lists the operators that there are not, with the shapes of what they read.
    """
    check_options(threads=threads, fuse=fuse, strict=strict)
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    try:
        if path and not os.path.isfile(path):
            raise ValueError("must be a file" if os.path.exists(path) else "no such file")
        return Net(OnnxNetwork(source, strict), threads, path, fuse)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path else str(error)) from None


def check_options(*, threads=None, fuse=True, strict=True):
    """TypeError or ValueError unless `load` takes these."""
    one_of("fuse", fuse, (True, False, ALWAYS))
    one_of("strict", strict, (True, False))
    thread_count(threads)


class Net:
    """A network that is called with arrays: `net(x)`, or `net(name=x, ...)`; `threads=` says how many each kernel may use.

    Inputs have the dtypes of the file, and its sizes; a size that the file leaves open may be any, of one name the same everywhere. What has been
    decided for the sizes of a call is kept: the schedule, and in every Python thread the memory, which its networks share. Several Python threads
    may call it at once. Returns a new array, or a tuple of them where the network has several outputs. ValueError or TypeError says what is wrong
    with an input. `threads` is for kernels: NumPy's matrix products of two activations use as many as its own settings say.

    inputs, outputs: their names; notes: what had to be assumed of the file.
    """

    def __init__(self, file, threads, path="", fuse=True):
        self._file, self._threads, self._path, self._fuse = file, threads, path, fuse
        network = file.network()
        self._network, self._packed = network and improved(network, fuse), {}
        self._programs, self._last, self._before = Recent(MOST_SCHEDULES), None, (None, None)
        self.inputs, self.outputs, self.notes = tuple(given.name for given in file.inputs), file.outputs, tuple(file.notes)

    @property
    def path(self):
        """Of the file; "" where it was a ModelProto."""
        return self._path

    def __repr__(self):
        inputs = ", ".join(f"{printable(given.name)} [{shape_text(given.sizes)}] {given.dtype}" for given in self._file.inputs)
        return f"Net({printable(self._path)}: {inputs} -> {', '.join(map(printable, self.outputs))})"

    def __call__(self, *arrays, threads=None, **named):
        alike = self._alike(arrays, threads)
        known, program = self._before
        if named or self._file.deciding or alike is None or alike != known:
            given = self._given(arrays, named)
            program = self._program(given, threads)
            self._before = None if named else alike, program
            return program.run(given)
        self._last = program
        return program.run(dict(zip(self.inputs, arrays, strict=True)))

    def _alike(self, arrays, threads):
        """What two calls have in common that need not both be checked, None where one of the arrays is another kind of object."""
        if any(type(array) is not np.ndarray for array in arrays):
            return None
        return thread_count(self._threads if threads is None else threads), *((array.shape, array.dtype) for array in arrays)

    def call_times(self, *arrays, threads=None, **named):
        """A CallTime for each call of one run on these inputs, in order."""
        given = self._given(arrays, named)
        return self._program(given, threads).call_times(given)

    def schedule_for(self, *shapes, threads=None, **named):
        """The NetworkSchedule for inputs of these shapes, in order or by name; nothing is run, compiled or allocated.

        Inputs whose values decide shapes are given as arrays.
        """
        return self._program(self._shaped(shapes, named), threads).schedule

    def compile(self, *shapes, threads=None, **named):
        """Make ready what a call on inputs of these shapes runs, and run nothing: kernels compiled and kept on disk, weights packed, memory laid out.

        shapes: as of schedule_for. The first such call then compiles nothing, in this process or in another that loads the same network.
        """
        self._program(self._shaped(shapes, named), threads).bound()

    def schedule_on(self, target, /, *shapes, line_bytes=LINE_BYTES, strict=True, **named):
        """The NetworkSchedule for another CPU, a refconv.host.Target with the number of threads: kernels and tilings by rule, nothing measured.

        shapes: as of schedule_for. line_bytes: of the longest cache lines there, on which buffers begin. strict: else what cannot be run is
        among the schedule's `missing`, and the rest of the network is there.
        """
        return network_schedule(self._sized(*self._known(self._shaped(shapes, named))), target.threads, target, line_bytes, strict)

    def shapes(self, given=(), batch=None):
        """{input: shape} for schedule_for and schedule_on: those given, {name: shape or array}; else the file's, an open first size being `batch`.

        ValueError says which input lacks what.
        """
        return input_shapes(self._file.inputs, self._file.deciding, dict(given), batch)

    @property
    def schedule(self):
        """The NetworkSchedule of the last call, or before any, for the sizes in the file; print it for a table of its calls."""
        if self._last is None:
            open_ones = [given for given in self._file.inputs if given.name in self._file.deciding or not fixed(given)]
            if open_ones:
                told = ", ".join(f"{printable(given.name)} [{shape_text(given.sizes)}]" for given in open_ones)
                raise ValueError(f"the sizes of {told} are not known before a call; legal: schedule_for(shape)")
            self.schedule_for(*(given.sizes for given in self._file.inputs))
        return self._last.schedule

    @property
    def peak_bytes(self):
        """Of `schedule`: bytes of tensors between steps and of workspace."""
        return self.schedule.peak_bytes

    def _by_name(self, given, named):
        inputs = self.inputs
        if len(given) > len(inputs):
            raise TypeError(f"{len(given)} arrays: must be at most {len(inputs)}, {', '.join(map(printable, inputs))}")
        twice = [name for name in inputs[: len(given)] if name in named]
        strange = [name for name in named if name not in inputs]
        missing = [name for name in inputs[len(given) :] if name not in named]
        for names, what in ((twice, "is given twice"), (strange, "is no input"), (missing, "is missing")):
            if names:
                raise TypeError(f"input {printable(names[0])} {what}; inputs: {', '.join(map(printable, inputs))}")
        return {**dict(zip(inputs, given, strict=False)), **named}

    def _shaped(self, shapes, named):
        """{name: shape} of what schedule_for takes, checked; of inputs whose values decide shapes {name: array}."""
        deciding = self._file.deciding
        by_name = {name: read_array(printable(name), value) if name in deciding else value for name, value in self._by_name(shapes, named).items()}
        for name, value in by_name.items():
            if name not in deciding and not (isinstance(value, tuple | list) and all(map(is_integer, value))):
                raise TypeError(f"{printable(name)} = {value!r}: must be its shape, a tuple of integers, as in schedule_for((1, 3, 224, 224))")
        self._check_sizes({name: value.shape if name in deciding else tuple(value) for name, value in by_name.items()})
        return by_name

    def _given(self, arrays, named):
        """{name: array} of a call, checked."""
        found = {}
        for name, value in self._by_name(arrays, named).items():
            wanted = self._file.inputs[self.inputs.index(name)]
            array = read_array(printable(name), value)
            if array.dtype != wanted.dtype:
                raise TypeError(f"{printable(name)} of dtype {array.dtype}: must be {wanted.dtype}")
            found[name] = array
        self._check_sizes({name: array.shape for name, array in found.items()})
        return {name: found[name] for name in self.inputs}

    def _check_sizes(self, shapes):
        """ValueError unless inputs may have these shapes, {name: shape}, and a size of one name is the same everywhere."""
        named = {}
        for given in self._file.inputs:
            name, sizes, shape = printable(given.name), given.sizes, shapes[given.name]
            whole = all(is_integer(size) and size >= 0 for size in shape)
            fits = sizes is None or (len(sizes) == len(shape) and all(isinstance(a, str) or a == b for a, b in zip(sizes, shape, strict=True)))
            if not whole or not fits:
                raise ValueError(f"{name} of shape {tuple(shape)}: must be [{shape_text(sizes)}]")
            for symbol, size in zip(sizes or (), shape, strict=False):
                if isinstance(symbol, str) and symbol and named.setdefault(symbol, size) != size:
                    raise ValueError(f"{name} of shape {tuple(shape)}: {printable(symbol)} is {named[symbol]} elsewhere; must be one size")

    def _program(self, given, threads):
        """The NetworkProgram for arrays, or shapes, by input; made at the first call with those sizes."""
        count = thread_count(self._threads if threads is None else threads)
        sizes, values = self._known(given)
        key = tuple(sizes.values()), tuple(array.tobytes() for array in values.values()), count
        program = self._programs.get(key)
        if program is None:
            program = NetworkProgram(self._sized(sizes, values), count, {} if self._network is None else self._packed)
            self._programs.keep(key, program)
        self._last = program
        return program

    def _known(self, given):
        """({input: shape}, {input: array} of those whose values decide shapes) of arrays, or shapes, by input."""
        values = {name: np.asarray(given[name]) for name in self._file.deciding}
        sizes = {name: values[name].shape if name in values else tuple(map(int, getattr(value, "shape", value))) for name, value in given.items()}
        return sizes, values

    def _sized(self, sizes, values):
        """The network on inputs of these sizes, after all passes; other sizes may take other branches."""
        sized = self._file.sized(sizes, values)
        return sized._replace(network=improved(sized.network, self._fuse) if self._network is None else self._network)


def fixed(given):
    """Whether all sizes of a NetworkInput are known."""
    return given.sizes is not None and all(isinstance(size, int) for size in given.sizes)
