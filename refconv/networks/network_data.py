"""A network as data: its stages, what follows from them (graph, sizes, parameters, MACs), and what has been published about it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from refconv.networks.draft import IMAGE_CHANNELS, Draft
from refconv.problem.conv import is_integer


class Published(NamedTuple):
    """A number that someone has published about a network.

    what: "parameters", "macs" (of one image), "top1" (accuracy), "latency" or "throughput"; unit: of the value; source: who says so, and where.
    standing: "read" in the source, "digitised" from a figure of it, or "recomputed" from what the source has. machine, batch, dtype, size (of the
    input, in pixels): what the number holds for, None where that does not matter or is not said.
    """

    what: str
    value: float
    unit: str
    source: str
    standing: str = "read"
    machine: Any = None
    batch: Any = None
    dtype: Any = None
    size: Any = None


@dataclass(frozen=True, eq=False)
class Network:
    """A convolutional network for images of three channels and 1000 classes.

    family: networks that differ in their numbers alone; size: rows and columns of the input it was made for; stages: of
    refconv/networks/language.py; published: Published records; remark: what must be known of its origin, such as that it is a reconstruction.
    """

    name: str
    family: str
    size: int
    stages: tuple = field(repr=False)
    published: tuple = field(default=(), repr=False)
    remark: str = ""

    @cached_property
    def _draft(self):
        draft = Draft()
        for stage in self.stages:
            for i, kind in enumerate(stage.blocks):
                draft.block(stage.name, f"{stage.name}.{i}", kind)
        return draft

    @cached_property
    def graph(self):
        """The refconv.problem.steps.Graph, batch norms folded as at inference; its arrays are zeros of stride 0, which take no memory."""
        return self._draft.graph()

    @property
    def blocks(self):
        """The Blocks, in order: every step is in exactly one."""
        return tuple(self._draft.blocks)

    @property
    def batch_norms(self):
        """Names of the convolutions that a batch norm follows in training, folded in the graph."""
        return tuple(self._draft.batch_norms)

    @property
    def parameters(self):
        """Numbers learned in training: weights, biases, two a channel of each batch norm and LayerNorm, layer scales."""
        return self._draft.learned

    def shape(self, n=1, size=None):
        """(n, h, w, c) of the input: n images of size x size pixels (None: the network's own size). ValueError says what is wrong with n or size."""
        size = self.size if size is None else size
        for name, value in (("n", n), ("size", size)):
            if not is_integer(value) or value < 1:
                raise ValueError(f"{name} = {value!r}: must be an integer of 1 or more")
        return n, size, size, IMAGE_CHANNELS

    def steps(self, n=1, size=None):
        """{name: refconv.problem.steps.SizedStep} in order, for n images of size x size pixels (None: the network's own size).

        ValueError says what is wrong with n or size: an image that is too small leaves a convolution no outputs.
        """
        shape = self.shape(n, size)
        try:
            return self.graph.sized(*shape)
        except ValueError as error:
            raise ValueError(f"n = {n}, size = {shape[1]}: not legal for {self.name}: {error}") from None

    def macs(self, size=None):
        """Multiply-adds of the convolutions and matrix products for one image of size x size pixels; a pool, norm, activation or sum has none."""
        return sum(sized.macs for sized in self.steps(1, size).values())
