"""Watching a trace: a Python function sees each chunk of events before the caches take it. One pass, and the trace is never kept.

    with watching(start):
        sim.simulate(...)

start(buffers, line_bytes) is called for each sim.run.Run made within, with its [(name, elements, itemsize)]; what it returns is called with
the Run's events, int64, line << 1 | is_store, a view that is valid during the call. The counts of the run do not change.

A Run itself may take events out before anyone sees them (sim/trace/nontemporal.py).
"""

import contextlib
import contextvars
import ctypes

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_START = contextvars.ContextVar("start", default=None)
_FUNCTION = ctypes.CFUNCTYPE(None)
NOBODY = 0


@contextlib.contextmanager
def watching(start):
    """Runs made within, in this thread, are watched."""
    token = _START.set(start)
    try:
        yield
    finally:
        _START.reset(token)


@intrinsic
def call(typing_context, address):
    """Call the C function of no arguments at an address: one that is data is no part of compiled code, which then can be kept on disk."""

    def codegen(context, builder, signature, args):
        builder.call(builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), []).as_pointer()), [])
        return context.get_dummy_value()

    return types.none(types.int64), codegen


class Watcher:
    """What watches one run: `address` is for `call`, NOBODY if nobody does. An error of the observer ends the watching; `check` raises it.

    hierarchy: a sim.cache.Hierarchy. take: None, or what takes events out of a chunk and returns how many are left, in front.
    """

    def __init__(self, hierarchy, buffers, line_bytes, take=None):
        start, self.address, self._error = _START.get(), NOBODY, None
        observe = None if start is None else start(buffers, line_bytes)
        if observe or take:
            self._function = _FUNCTION(lambda: self._see(hierarchy, observe, take))
            self.address = ctypes.cast(self._function, ctypes.c_void_p).value

    def _see(self, hierarchy, observe, take):
        if self._error is None:
            try:
                if take:
                    hierarchy.keep(take(hierarchy.gathered()))
                if observe:
                    observe(hierarchy.gathered())
            except BaseException as error:  # C code lies between here and the caller: an exception cannot pass
                self._error = error

    def check(self):
        """Raise what the observer has raised."""
        if self._error is not None:
            raise self._error
