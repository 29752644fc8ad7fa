"""A network as a list of layers: what the readers of ONNX graphs and SCALE-Sim topologies return."""

from typing import Any, NamedTuple


class ModelLayer(NamedTuple):
    """A layer of a model that there is a kernel for. problem: a Conv2d or PartialConv2d; op: the nodes it was; bias: whether it has one."""

    name: str
    op: str
    problem: Any
    bias: bool = False

    @property
    def elements(self):
        """Elements of its tensors, each once."""
        return sum(self.problem.tensors.values())

    @property
    def bias_elements(self):
        """Of its bias: one for each channel that is convolved, 0 without."""
        return self.problem.weight_shape[0] if self.bias else 0

    @property
    def parameters(self):
        """Elements of its weight and bias."""
        return self.problem.tensors["weight"] + self.bias_elements

    @property
    def macs(self):
        """Its multiply-adds."""
        return self.problem.macs


class OtherNode(NamedTuple):
    """A node that was not modelled, and why (remark).

    elements: of its inputs and outputs, each once; None where a shape is not known. macs: the multiply-adds of its products; None where they
    are not known.
    """

    name: str
    op: str
    elements: Any
    remark: str
    macs: Any = 0


class Model(NamedTuple):
    """The layers of a model in the order of the file, what was left out, and what the reader must tell the user."""

    path: str
    layers: tuple
    others: tuple
    notes: tuple = ()

    @property
    def elements(self):
        """Elements moved by all nodes whose shapes are known: inputs and outputs of each, once."""
        return sum(node.elements or 0 for node in (*self.layers, *self.others))

    @property
    def modelled_share(self):
        """The layers' part of `elements`, of 1."""
        return sum(layer.elements for layer in self.layers) / self.elements

    @property
    def macs(self):
        """Multiply-adds of all nodes for which they are known."""
        return sum(node.macs or 0 for node in (*self.layers, *self.others))


def printable(text):
    """A name from a file as one line that a terminal takes as text."""
    return text if text.isprintable() else ascii(text)


def sizes_text(sizes):
    """Sizes as `1x3x?x?`; a question mark where one is not known."""
    return "x".join("?" if size is None else str(size) for size in sizes)
