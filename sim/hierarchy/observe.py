"""Observing a trace: a Python function sees each chunk of events before the caches take it. One pass, and the trace is never kept.

    with observing(start):
        sim.simulate(...)

start(buffers, line_bytes) is called for each sim.trace.run.Run made within, with its [(name, elements, itemsize)] and the bytes of a line of
the first level; what it returns is called with the Run's events (sim/hierarchy/words.py), int64, a view that is valid during the call. Of a
run on several cores it sees those of all cores, in the order of their turns. The counts of the run do not change.
"""

import contextlib
import contextvars
import ctypes

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refconv.jit import routine
from sim.hierarchy.words import HEADER

_START = contextvars.ContextVar("start", default=None)
_FUNCTION = ctypes.CFUNCTYPE(None)
NOBODY = 0


@contextlib.contextmanager
def observing(start):
    """Runs made within, in this thread, are observed."""
    token = _START.set(start)
    try:
        yield
    finally:
        _START.reset(token)


def observer_of(buffers, line_bytes):
    """What observes a run that is made now: a function of a chunk of events, or None."""
    start = _START.get()
    return None if start is None else start(buffers, line_bytes)


@intrinsic
def call(typing_context, address):
    """Call the C function of no arguments at an address: one that is data is no part of compiled code, which then can be kept on disk."""

    def codegen(context, builder, signature, args):
        builder.call(builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), []).as_pointer()), [])
        return context.get_dummy_value()

    return types.none(types.int64), codegen


@routine
def call_hook(m):
    """Let the Hook of a hierarchy have the gathered events before they are run."""
    if m[HEADER.hook] != NOBODY:
        call(m[HEADER.hook])


class Hook:
    """Python functions that compiled code calls before it runs a chunk of a hierarchy's events, in this order:

    turn() waits until this core may go on (sim/trace/cores.py); take(events) takes some out and returns how many are left, in front;
    observe(events) sees those. Each may be None. After an error of take or observe neither is called again; `check` raises it.
    """

    def __init__(self, hierarchy, turn=None, take=None, observe=None):
        self._hierarchy, self._turn, self._take, self._observe, self._error = hierarchy, turn, take, observe, None
        self._function = _FUNCTION(self._call) if turn or take or observe else None
        hierarchy.words[HEADER.hook] = ctypes.cast(self._function, ctypes.c_void_p).value if self._function else NOBODY

    def _call(self):
        if self._turn:
            self._turn()
        if self._error is None:
            try:
                if self._take:
                    self._hierarchy.keep(self._take(self._hierarchy.gathered()))
                if self._observe:
                    self._observe(self._hierarchy.gathered())
            except BaseException as error:  # C code lies between here and the caller: an exception cannot pass
                self._error = error

    def check(self):
        """Raise what an observer has raised."""
        if self._error is not None:
            raise self._error

    def remove(self):
        """The hierarchy calls nothing any more."""
        self._hierarchy.words[HEADER.hook] = NOBODY
