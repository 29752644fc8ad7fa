"""Networks as named steps: what runs a network, fuses it and accounts for it works on this form.

    file     -> Network            onnx_network.py
             -> Network            passes/*.py, each a rewrite
    shapes   -> NetworkSchedule    network_schedule.py
    arrays   -> results            refconv/ops/network.py, network_program.py

A Network has the `Step` of a block's graph (refconv/problem/steps.py): a name, which is that of the one tensor that it makes, an op, sources,
parameters and attributes. It differs from a block's Graph in its ends: inputs and outputs are several and have names. A node of several outputs
is a step for each that is used, with the attribute `output`.

Two vocabularies of ops, told apart by their first letter:

    Capitals    operators of ONNX in their own words (refconv/operators): axes as in ONNX, channels second; sources may be constants
    small       what this project's kernels run; passes make them of operators:
                "conv"        x [, residual]   weight, bias   strides, pads, dilations, groups, auto_pad    a convolution of (N, C, W) or (N, C, H, W)
                "product"     x [, residual]   weight, bias                                                 a matrix (K, C) times the last axis
                "activation"  x                               kind                                          of every element
                "block"       x [, residual]   those of `steps`   record, read, write, steps, always        a residual block by its fused kernel
                A conv, product or block may have a second source, which is added to its result, and an attribute `activation`, which comes
                last; with a second source also `before_sum`, an activation of the result before that is added. Of a block, record is one of
                refconv/problem/blocks.py; read and write: the axes of x and of the result in the order N, H, W, C, () where they lie so
                already; steps: the Steps that it was, which run where its kernel cannot, or unless `always` is set, where it does not pay.

Sources name steps, inputs or parameters. How a tensor lies in memory is no part of the steps: the schedule gives each an order of its axes, so
that convolutions meet channels last, a Transpose is no work, and whatever comes in between follows its source.
"""

from typing import Any, NamedTuple

import numpy as np

from refconv.graph.model import printable
from refconv.problem.steps import Step


class NetworkInput(NamedTuple):
    """An input: sizes are ints, or where the file leaves them open their names, "" for one without; None for any number of them."""

    name: str
    sizes: Any
    dtype: Any


class Network(NamedTuple):
    """inputs: NetworkInputs; outputs: names; steps: each after its sources; parameters: {name: array}.

    labels: {name of a step: what its node is called in the file}; opset: the version of the operators.
    """

    inputs: tuple
    outputs: tuple
    steps: tuple
    parameters: dict
    labels: dict
    opset: int

    @property
    def makers(self):
        """{name: Step}."""
        return {step.name: step for step in self.steps}

    def label(self, step):
        """How an error calls a step: its node and its tensor."""
        return f"{self.labels.get(step.name, step.op)} (tensor {step.name})"

    def label_of_both(self, before, step, labels):
        """The label of a step that does what `before` and `step` did, one after the other; labels: those that are new."""
        name = lambda one: labels.get(one.name) or self.labels.get(one.name, one.op)
        return f"{name(before)} with {name(step)}"

    def takers(self):
        """{name: the Steps that take it}; the network's own outputs have None among them, once."""
        found = {name: [None] for name in self.outputs}
        for step in self.steps:
            for source in dict.fromkeys(step.sources):
                found.setdefault(source, []).append(step)
        return found

    def constant(self, name):
        """The parameter called `name`, or None."""
        return self.parameters.get(name)

    def changed(self, steps, parameters=(), labels=()):
        """The network with more parameters and labels, and some steps instead of others, {name: Step}; without what no output needs.

        Several steps, of which the last makes the tensor called so, may replace one.
        """
        whole = []
        for step in self.steps:
            instead = steps.get(step.name, step)
            whole += [instead] if isinstance(instead, Step) else instead
        parameters = {**self.parameters, **dict(parameters)}
        needed, kept = set(self.outputs), []
        for step in reversed(whole):
            if step.name in needed and step.name not in parameters:
                kept.append(step)
                needed.update(step.sources)
                needed.update(step.parameters.values())
        used = {name: array for name, array in parameters.items() if name in needed}
        return self._replace(steps=tuple(reversed(kept)), parameters=used, labels={**self.labels, **dict(labels)})


def input_shapes(inputs, deciding, given, batch=None):
    """{input: shape, or array} of all NetworkInputs: those given, by name; else the file's, an open first size being `batch` (None: 1).

    deciding: names of the inputs that must be given as arrays, since shapes depend on their values. A size that has a name is one size
    everywhere. ValueError says which input lacks what.
    """
    listed = ", ".join(f"{printable(one.name)} [{shape_text(one.sizes)}]" for one in inputs)
    strange = [name for name in given if name not in {one.name for one in inputs}]
    if strange:
        raise ValueError(f"input_shapes = {printable(strange[0])}: no such input; legal: {listed}")
    named = {}
    for one in inputs:
        shape = getattr(given.get(one.name, ()), "shape", given.get(one.name, ()))
        named |= {symbol: size for symbol, size in zip(one.sizes or (), shape, strict=False) if isinstance(symbol, str) and symbol}
    whole, counted = dict(given), False
    for one in inputs:
        if one.name in deciding and not isinstance(given.get(one.name), np.ndarray):
            raise ValueError(f"input_shapes: shapes depend on the values of {printable(one.name)} [{shape_text(one.sizes)}]; legal: an array of them")
        if one.name in whole:
            continue
        first = one.sizes[0] if one.sizes else None
        if isinstance(first, str) and first not in named:
            counted = True
            named |= {first: batch or 1} if first else {}
        known = [named.get(size, size) for size in one.sizes or ()]
        known[:1] = [batch or 1] if first == "" else known[:1]
        if one.sizes is None or any(isinstance(size, str) for size in known):
            raise ValueError(f"input_shapes: lacks sizes of {printable(one.name)} [{shape_text(one.sizes)}]; legal: NAME:SIZES for it")
        counted = counted or first == ""
        whole[one.name] = tuple(known)
    if batch is not None and not counted:
        raise ValueError(f"batch = {batch}: no input has a first size that is left open; inputs: {listed}")
    return {one.name: whole[one.name] for one in inputs}


def shape_text(sizes):
    """Sizes as text, symbols by their names."""
    return "?" if sizes is None else ", ".join(str(size) if size not in (None, "") else "?" for size in sizes)


def with_attributes(step, **attributes):
    """A step with more attributes."""
    return step._replace(attributes={**step.attributes, **attributes})


__all__ = ["Network", "NetworkInput", "Step", "input_shapes", "shape_text", "with_attributes"]
