"""The schedule of a network as data: calls in order, for inputs of known sizes, and where every tensor lies.

A call is one step by one kernel, or by NumPy. Two kinds of steps are none: what is known beforehand (the arithmetic of shapes), and what only
sees a tensor in another shape or order (Reshape, Transpose): its tensor lies in the same buffer. What needs another order in memory than a
tensor has gets a call "convert" before it.
"""

import math
from types import MappingProxyType
from typing import Any, NamedTuple

from refconv.graph import orders
from refconv.graph.model import printable, sizes_text
from refconv.problem.steps import Step

CONVERT, NUMPY, ACTIVATED, POOLED, GATED, NORMED, MISSING = "convert", "numpy", "activated", "pooled", "scaled", "normed", "missing"
"""Kernels of calls that are not of the table of kernels; MISSING: there is none, so that the schedule can be read but not run."""
OF_MAPS = POOLED, GATED, NORMED
"""Kernels of maps that lie channels-last (refconv/problem/pools.py), but for activations."""
SUM = "sum"
"""Of NetworkCall.after."""


class Tensor(NamedTuple):
    """shape; dtype; order: of its axes in memory (refconv/graph/orders.py); buffer: the tensor whose memory it has, its own name where it has its
    own, None for a constant."""

    shape: tuple
    dtype: Any
    order: tuple
    buffer: Any

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize


class NetworkCall(NamedTuple):
    """kernel: a name of the table of kernels, or CONVERT, NUMPY, ACTIVATED, one of OF_MAPS, MISSING; sources: names of tensors, "" for one left out;
    out: the name of a tensor.

    call: the Call of a kernel of the table. run: of NUMPY, (function of the sources, whether it takes `out`); of OF_MAPS, its record of
    refconv/problem/pools.py. macs: multiply-adds, those of a block each once. block: of a "block" its Schedule, of several kernels where it has
    gates; between: {tensor of that schedule: name of a tensor} of what one of them makes for another.
    """

    step: Step
    kernel: str
    sources: tuple
    out: str
    call: Any = None
    run: Any = None
    macs: int = 0
    block: Any = None
    between: Any = MappingProxyType({})

    @property
    def kernel_calls(self):
        """The Calls of kernels of the table, in order."""
        return self.block.calls if self.block else (self.call,) if self.call else ()

    @property
    def op(self):
        """What the step is called in a table: its op, or the record of a block, with what has joined it."""
        own = type(self.step.attributes["record"]).__name__ if self.block else self.step.op
        added, given = "Add" if self.kernel_calls and len(self.sources) > 1 else None, self.step.attributes
        return " + ".join(filter(None, (own, given.get("before_sum"), added, given.get("activation"))))

    @property
    def after(self):
        """Passes over what the kernels of a block have made, in place, in order, each where there is one: the attributes "before_sum", SUM of the
        second source, "activation". The kernel of a layer does all that as it stores."""
        if not self.block:
            return ()
        return tuple(op for op in ("before_sum", SUM, "activation") if (len(self.sources) > 1 if op == SUM else op in self.step.attributes))


class NetworkSchedule(NamedTuple):
    """calls; tensors: {name: Tensor}; constants: {name: array} of the tensors that are; inputs, outputs: names of tensors.

    offsets: {buffer: where it lies in the arena, in bytes}; arena_bytes: of the arena; workspace_bytes: of what kernels keep between their loops.
    parameters: {name: array} of the weights and biases of kernels, as they are before they are packed. missing: an OtherNode for each step that
    cannot be run, where such may be left out.
    """

    calls: tuple
    tensors: dict
    constants: dict
    inputs: tuple
    outputs: tuple
    offsets: dict
    arena_bytes: int
    workspace_bytes: int
    parameters: dict
    missing: tuple = ()

    @property
    def peak_bytes(self):
        """The arena and the workspace of kernels. Weights, the arrays given and returned, and what NumPy makes within an operator come on top."""
        return self.arena_bytes + self.workspace_bytes

    @property
    def macs(self):
        """Multiply-adds of all calls."""
        return sum(call.macs for call in self.calls)

    def table(self):
        """The tables.Table of its calls."""
        from refconv import tables  # which needs rich, an import of its own

        title = f"{len(self.calls)} calls, {self.macs:,} multiply-adds, {self.peak_bytes:,} bytes at the peak"
        table = tables.Table(title, "step", "op", "kernel", "output", "order", "MACs", "at", "bytes", left=("op", "kernel", "output", "order"))
        for call in self.calls:
            tensor = self.tensors[call.out]
            where = tables.size(self.offsets[tensor.buffer]), tables.size(tensor.nbytes)
            order = orders.name(tensor.order, tensor.shape)
            table.add_row(printable(call.out), call.op, call.kernel, sizes_text(tensor.shape), order, tables.count(call.macs), *where)
        return table

    def __str__(self):
        from refconv import tables

        return tables.as_text(self.table())
