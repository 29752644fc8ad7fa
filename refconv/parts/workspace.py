"""A thread's part of the workspace, and tensors stored as halves, which are widened into it.

Halves that are read again and again are widened once: one conversion an element instead of one a read. For other element types there is
nothing to do: the elements are used where they are.
"""

from numba import types
from numba.extending import overload

from refconv.jit import routine
from refconv.parts.copy import copy
from refconv.routine_code import INLINED
from refconv.tile.instructions import length
from refconv.tile.operands import Place, Weights


@routine
def own_part(buffer, part):
    """The Place where a thread's part of a workspace buffer begins."""
    return Place(buffer, length(buffer) // part.slots * part.slot)


def in_work_type(raw, work):
    """The Place of elements in the type of the workspace: `raw` where they are of it, else `work`, which `widen` fills with a copy."""
    return raw if raw.buffer.dtype == work.buffer.dtype else work


def widen(work, raw, elements):
    """work[i] = raw[i] for i < elements, both Places, unless `raw` is of the workspace's type (see `in_work_type`)."""
    if raw.buffer.dtype != work.buffer.dtype:
        copy(work.buffer, work.at, raw.buffer, raw.at, elements)


@overload(in_work_type, jit_options=INLINED)
def _in_work_type(raw, work):
    if raw.types[0] == work.types[0]:
        return lambda raw, work: raw
    return lambda raw, work: work


@overload(widen, jit_options=INLINED)
def _widen(work, raw, elements):
    if raw.types[0] == work.types[0]:
        return lambda work, raw, elements: None
    return lambda work, raw, elements: copy(work.buffer, work.at, raw.buffer, raw.at, elements)


@routine
def widened(raw, elements, work):
    """The Place of those elements in the type of the workspace: the same where they are of it, else their copy in `work`."""
    widen(work, raw, elements)
    return in_work_type(raw, work)


def widened_weights(weights, elements, work):
    """The Weights as floats of the workspace: the same, or their copy at `work`, a Place; work is None where they are that already."""
    return weights if work is None else _widened_copy(weights, elements, work)


@routine
def _widened_copy(weights, elements, work):
    place = widened(Place(weights.buffer, weights.at), elements, work)
    return Weights(place.buffer, place.at, weights.stride)


@overload(widened_weights, jit_options=INLINED)
def _widened_weights(weights, elements, work):
    if work == types.none:
        return lambda weights, elements, work: weights
    return lambda weights, elements, work: _widened_copy(weights, elements, work)
