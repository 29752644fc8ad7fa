"""A network being drawn: from blocks one after another to a graph of steps (refconv/problem/steps.py), its arrays zeros that take no memory.

Batch norms are drawn as at inference, folded into the bias of the convolution before them. Published counts of parameters are of networks in
training: a batch norm has two a channel beside what the convolution has of its own, and `Draft` counts those.
"""

from typing import Any, NamedTuple

import numpy as np

from refconv.problem.steps import INPUT, Graph, Step, activation, conv, max_pool, norm

IMAGE_CHANNELS = 3
"""Of every network's input."""


class Block(NamedTuple):
    """Steps of a network that one kernel may run: a residual block, or what comes between such blocks (a convolution or pool with what follows).

    stage: the part of the network that it belongs to; steps: their names, in order; kind: what drew it, of refconv/networks/language.py;
    parameters: learned in training; record: the block's weights (refconv/problem/blocks.py, zeros), which is what `refconv.fused_block` takes,
    None where this project has no fused kernel for it.
    """

    name: str
    stage: str
    steps: tuple
    kind: Any
    parameters: int
    record: Any = None


def zeros(*shape):
    """A float32 array of zeros of that shape, which cannot be written to: one element in memory."""
    return np.broadcast_to(np.float32(0), shape)


class Draft:
    """A network from its input to `source`, the last step so far, which makes `channels` channels. What is drawn next goes on from there.

    learned: the parameters of the network in training, whose batch norms are not folded; batch_norms: names of the convolutions before one.
    """

    def __init__(self):
        self.source, self.channels = INPUT, IMAGE_CHANNELS
        self.steps, self.parameters, self.blocks, self.learned = [], {}, [], 0
        self.batch_norms = []
        self._name, self._record = "", None

    def block(self, stage, name, kind):
        """Draw the next block, of a record of refconv/networks/language.py; the names of its steps and arrays begin with `name` and a point."""
        first, before, self._name, self._record = len(self.steps), self.learned, name, None
        kind.draw(self)
        steps = tuple(step.name for step in self.steps[first:])
        self.blocks.append(Block(name, stage, steps, kind, self.learned - before, self._record))

    def conv(self, role, channels, kernel=(1, 1), stride=1, *, groups=1, batch_norm=True, bias=False, padded=True):
        """A convolution, by default with a batch norm and without a bias of its own; a 1x1 kernel is a matrix (K, C)."""
        width = self.channels // groups
        weight = zeros(channels, width) if (*kernel, groups) == (1, 1, 1) else zeros(channels, width, *kernel)
        arrays = {"weight": weight, **({"bias": zeros(channels)} if batch_norm or bias else {})}
        self.learned += (2 * batch_norm + bias - (batch_norm or bias)) * channels
        self._add(conv(self._full(role), self.source, kernel, stride, groups, padded), arrays, channels)
        if batch_norm:
            self.batch_norms.append(self.source)

    def norm(self, role, eps):
        """A LayerNorm over the channels of each pixel."""
        self._add(norm(self._full(role), self.source, eps), {"weight": zeros(self.channels), "bias": zeros(self.channels)})

    def activation(self, kind):
        """The activation of the last step; none where kind is None."""
        if kind is not None:
            self._add(activation(self.source, kind))

    def max_pool(self, role, size, stride):
        """A max pool."""
        self._add(max_pool(self._full(role), self.source, size, stride))

    def mean(self, role):
        """The mean over the map."""
        self._add(Step(self._full(role), "mean", (self.source,)))

    def add(self, role, other):
        """The sum of the last step and step `other`."""
        self._add(Step(self._full(role), "add", (self.source, other)))

    def residual_block(self, record, batch_norms=()):
        """A residual block that this project has a record of; batch_norms: its convolutions with one, folded into their biases."""
        self._graph(record.steps(), record.arrays)
        self.learned += sum(record.arrays[f"{name}_bias"].size for name in batch_norms)
        self.batch_norms += map(self._full, batch_norms)
        self.channels, self._record = record.k, record

    def squeeze_excite(self, gates):
        """Squeeze-excitation, by a SqueezeExcite, of the last step."""
        self._graph(gates.steps(INPUT), {f"se_{name}": array for name, array in gates.arrays.items()})

    def branch(self):
        """(source, channels) as they are now, to go on from again with `resume`."""
        return self.source, self.channels

    def resume(self, branch):
        """Go on from what `branch` gave."""
        self.source, self.channels = branch

    def graph(self):
        """The Graph drawn."""
        return Graph(tuple(self.steps), self.parameters)

    def _full(self, role):
        return f"{self._name}.{role}"

    def _graph(self, steps, arrays):
        """Steps of a graph of its own, "input" among their sources being `source`, and its arrays."""
        rename = {INPUT: self.source, **{step.name: self._full(step.name) for step in steps}}
        for step in steps:
            parameters = {role: self._full(array) for role, array in step.parameters.items()}
            sources = tuple(rename[source] for source in step.sources)
            self.steps.append(step._replace(name=rename[step.name], sources=sources, parameters=parameters))
        self._arrays({self._full(name): array for name, array in arrays.items()})
        self.source = self.steps[-1].name

    def _add(self, step, arrays=None, channels=None):
        self.steps.append(step)
        self._arrays({step.parameters[role]: array for role, array in (arrays or {}).items()})
        self.source, self.channels = step.name, channels or self.channels

    def _arrays(self, arrays):
        self.parameters |= arrays
        self.learned += sum(array.size for array in arrays.values())
