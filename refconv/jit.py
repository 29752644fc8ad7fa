"""The decorators: how a function of this project is compiled.

    @routine   a piece of a kernel. It is compiled as part of the kernel that calls it; from Python it is the plain function.
    @kernel    an entry point: compiled without the GIL and kept on disk. `plain(k)` is its Python source.
    parallel(k)   the same kernel with its units split over threads.

How a routine becomes part of kernels: refconv/routine_code.py. Where compiled code is kept: refconv/code_cache.py. When threads are
safe: refconv/threads.py.
"""

import contextlib
import functools
import types
from typing import NamedTuple

from numba import intp, njit, prange
from numba.core import event
from numba.extending import register_jitable

from refconv.cli import note, on_terminal, progress
from refconv.code_cache import KernelCache
from refconv.routine_code import INLINED

routine = register_jitable(**INLINED)


class Part(NamedTuple):
    """What one thread of a call does: units first to last - 1, on the part number `slot` of `slots` of each workspace buffer."""

    slot: int
    slots: int
    first: int
    last: int


@routine
def part_of(slot, slots, units):
    """The Part of `slot` where `slots` have equal shares of the units."""
    return Part(slot, slots, slot * units // slots, (slot + 1) * units // slots)


def kernel(function, **options):
    """Compile `function` on first call for each tuple of argument types, without the GIL, and keep the code on disk.

    Nothing is allocated in a kernel, so no references are counted: Numba's counting calls, where a branch keeps it from pruning them, make
    the code around them save all vector registers (a strip of a depthwise 3x3 convolution took 240 cycles instead of 89).
    """
    options = {"_nrt": False, "no_cfunc_wrapper": True, **options}  # entry points of native callers are `native`
    jitted = njit(nogil=True, error_model="numpy", **options)(function)
    if jitted is not function:  # they are the same under NUMBA_DISABLE_JIT
        jitted._cache = KernelCache(function)  # where cache=True would put one of Numba's own
    return jitted


def plain(jitted):
    """The Python source of a kernel, to be called without the compiler (also under NUMBA_DISABLE_JIT=1)."""
    return getattr(jitted, "py_func", jitted)


def compiled(run, signature):
    """The machine entry point of a kernel for a signature; under NUMBA_DISABLE_JIT the plain function."""
    if not hasattr(run, "compile"):
        return run
    run.compile(signature)
    return run.overloads[signature].entry_point


def native(run, signature):
    """(address, Numba types of its arguments) of a kernel's machine code for a signature, as compiled code calls it."""
    run.compile(signature)
    result = run.overloads[signature]
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name), tuple(result.fndesc.argtypes)


def _split(operands, out, work, problem, tiling, units, threads):
    for slot in prange(threads):
        run(operands, out, work, problem, tiling, part_of(intp(slot), threads, units))  # noqa: F821


@functools.cache
def parallel(jitted):
    """The kernel with its units in equal shares over `threads` Numba threads: f(operands, ..., tiling, units, threads).

    The loop above is compiled once for each kernel, with the kernel as the global name `run`: a closure would carry it
    into the key of the disk cache, where a compiled function is never equal to itself in the next process. prange counts in unsigned integers,
    for which the kernel would be compiled once more: the slot is made the integer that it is in a call on one thread.
    """
    name = f"{plain(jitted).__name__}_parallel"
    known = {"run": jitted, "part_of": part_of, "intp": intp, "prange": prange, "__name__": __name__}
    split = types.FunctionType(_split.__code__.replace(co_name=name), known, name)
    split.__qualname__ = f"{plain(jitted).__module__}.{name}"  # kernels of two files may have one name
    split.__module__ = __name__
    return kernel(split, parallel=True, _nrt=True)


class Compiling(event.Listener):
    """Shows a line on a terminal while kernels are being compiled; nothing where all of them are read from disk.

    kernels: those that this process has compiled. Numba's events of other functions, such as routines, are not counted.
    """

    def __init__(self):
        self.kernels = self._depth = 0
        self._waiting, self._told = None, False

    @contextlib.contextmanager
    def announced(self, text):
        """Where a kernel is compiled within, and stderr is no terminal: a line there as it begins, text(); the first one of this process alone."""
        self._waiting = text
        try:
            yield
        finally:
            self._waiting = None

    def on_start(self, about):
        """A function is being compiled; a kernel in parallel compiles the serial one within."""
        dispatcher = about.data["dispatcher"]
        if isinstance(dispatcher._cache, KernelCache):
            if self._waiting and not self._told and not on_terminal():
                self._told = True
                note(self._waiting())
            self.kernels += 1
            self._depth += 1
            s = "s" if self.kernels > 1 else ""
            progress(f"compiling {self.kernels} kernel{s} for this CPU, once: {dispatcher.py_func.__name__}")

    def on_end(self, about):
        """It is compiled."""
        if isinstance(about.data["dispatcher"]._cache, KernelCache):
            self._depth -= 1
            if self._depth == 0:
                progress()


compiling = Compiling()
event.register("numba:compile", compiling)
