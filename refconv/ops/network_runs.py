"""The calls of a network made ready: those of kernels that follow one another are one step into compiled code.

By itself a call costs some microseconds of Python, and a light network has a hundred calls of which many take no longer than that. Kernels that have
nothing of Python's between them are laid out as a chain of frames (refconv/frames.py); what NumPy does is between two chains.
"""

import functools
from typing import Any, NamedTuple

import numba
import numpy as np

from refconv import frames
from refconv.weights.packed import LINE_BYTES, ceil_div, empty


class Run(NamedTuple):
    """A piece of a network's call, made ready.

    make: a function of no arguments that makes it; native: a function that returns it as NativeCalls, None where Python has a part in it; split: the
    refconv.threads.Split in it, None where it has none.
    """

    make: Any
    native: Any = None
    split: Any = None


def alone(runs):
    """A function of no arguments that makes the Runs of one call."""
    return runs[0].make if len(runs) == 1 else functools.partial(_all, [run.make for run in runs])


def chained(calls):
    """[(number of the first call, function of no arguments), ...] that together make all calls, each a list of Runs, in order."""
    found, waiting = [], []

    def finish():
        if waiting:
            found.append((waiting[0][0], _together([run for _, run in waiting])))
            waiting.clear()

    for number, runs in enumerate(calls):
        for run in runs:
            if run.native is None or numba.config.DISABLE_JIT:
                finish()
                found.append((number, run.make))
            else:
                waiting.append((number, run))
    finish()
    return found


def _together(runs):
    """A function of no arguments that makes native Runs one after another: at once, or one by one where threads are not safe."""
    at_once = frames.chain([call for run in runs for call in run.native()])
    split = next((run.split for run in runs if run.split is not None), None)
    return at_once if split is None else functools.partial(split.safely, at_once, functools.partial(_all, [run.make for run in runs]))


def _all(functions):
    for function in functions:
        function()


def side_by_side(arrays):
    """Copies of flat arrays that lie one after another in memory, each from a cache line on.

    So weights lie in the order in which they are read. What a kernel prefetches behind its last block is then the beginning of the next one's, which
    between the calls of a network lies beyond the L2: 49 pixels of 160 channels to 960 took 1.25 times as long with weights that came from there.
    """
    places = np.cumsum([0, *(ceil_div(array.nbytes, LINE_BYTES) * LINE_BYTES for array in arrays)]).tolist()
    whole, copies = empty(places[-1], np.uint8), []
    for array, at in zip(arrays, places, strict=False):
        copies.append(whole[at : at + array.nbytes].view(array.dtype))
        copies[-1][...] = array
    return copies
