"""When a kernel's shares are computed side by side, and when one after another because threads would end the process.

Numba's threads come from one of three libraries, its threading layers, and two of them have a hole:

    omp         GNU OpenMP kills a process that was forked after its parent had started the layer, at its first parallel loop
    workqueue   two Python threads in parallel loops at once abort the process
    tbb         has neither

There the calling thread computes the same shares one after another: the same additions in the same order, so the same bits.
"""

import os
import threading

import numba
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as layers

from refconv.jit import compiled, native, parallel, part_of
from refconv.messages import warn_caller

_FORKED = []
"""Not empty in a process whose parent had started OpenMP: None, and "told" once that has been said."""
_ONE_AT_A_TIME = threading.RLock()
"""Held during a parallel loop of workqueue."""


def layer():
    """The threading layer that Numba has started, or None."""
    try:
        return numba.threading_layer()
    except ValueError:
        return None


class Split:
    """A kernel as f(x, ..., tiling, units, threads): its units in `threads` equal shares, on as many threads where that is safe.

    run: the kernel; operands: Numba types of its arguments up to the tiling.
    """

    __slots__ = ("_operands", "_parallel", "_run", "_serial", "_serialised")

    def __init__(self, run, operands):
        self._run, self._operands, self._serial = run, tuple(operands), None
        self._parallel = None if _FORKED else compiled(parallel(run), (*self._operands, types.intp, types.intp))
        self._serialised = layer() == "workqueue"

    def __call__(self, *arguments):
        return self.safely(self._parallel, self._one_by_one, *arguments)

    def safely(self, side_by_side, one_by_one, *arguments):
        """Call the first of two functions, which computes the shares on threads, where that is safe now, else the second."""
        if _FORKED:
            _tell()
            return one_by_one(*arguments)
        if not self._serialised:
            return side_by_side(*arguments)
        if not _ONE_AT_A_TIME.acquire(blocking=False):  # rather than wait for the other thread, which has no more than this call to compute either
            return one_by_one(*arguments)
        try:
            return side_by_side(*arguments)
        finally:
            _ONE_AT_A_TIME.release()

    def native(self):
        """(address, argument types) of the loop over threads (refconv.jit.native), or None where threads were not safe from the beginning."""
        return native(parallel(self._run), (*self._operands, types.intp, types.intp)) if self._parallel else None

    def _one_by_one(self, *arguments):
        *operands, units, threads = arguments
        if self._serial is None:
            self._serial = compiled(self._run, (*self._operands, numba.typeof(part_of(0, 1, units))))
        for slot in range(threads):
            self._serial(*operands, part_of(slot, threads, units))


def _tell():
    if "told" not in _FORKED:
        _FORKED.append("told")
        text = "this process was forked from one that had started GNU OpenMP, which does not survive that: the shares of `threads` are computed one "
        text += "after another; start processes with 'spawn', or set NUMBA_THREADING_LAYER to tbb or workqueue"
        warn_caller(text)


_LOCKS = (global_compiler_lock, layers._backend_init_thread_lock, _ONE_AT_A_TIME)
"""What another thread of the parent may hold at a fork, and nobody would release in the child."""


def _before():
    for lock in _LOCKS:
        lock.acquire()


def _after():
    for lock in reversed(_LOCKS):
        lock.release()


def _in_child():
    _after()
    layers._backend_init_process_lock = None  # Numba's is shared with the parent; where another thread held it, it would never be released again
    if layer() == "omp":
        _FORKED[:] = [None]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
