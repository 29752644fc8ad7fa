"""What records of weights share: how their arrays are checked, and the sizes and costs of a block that follow from its graph of steps."""

import math
from dataclasses import dataclass

import numpy as np

from refconv.problem.arrays import check_array
from refconv.problem.conv import is_integer
from refconv.problem.steps import CONVOLUTIONS, INPUT, Graph, Step, activation, conv

record = dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False, repr=False)
"""A class of records: built by keyword, never changed, compared by identity, usable as a key of a weak dictionary."""


class Weights:
    """What all records share: their arrays, and how they print."""

    __slots__ = ()

    def __repr__(self):
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        shown = (f"{name}={v.dtype}{list(v.shape)}" if isinstance(v, np.ndarray) else f"{name}={v!r}" for name, v in values.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def arrays(self):
        """{field: array} of those that are not None; those of a record within are its field, _, and theirs."""
        found = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, Weights):
                found |= {f"{name}_{inner}": array for inner, array in value.arrays.items()}
            elif isinstance(value, np.ndarray):
                found[name] = value
        return found


class Block(Weights):
    """What the records of blocks share. n, h, w: images, rows and columns of the input; a ValueError says what is wrong with them."""

    __slots__ = ()

    stride = 1
    pads = None
    residual = True
    project_activation = "identity"
    c = property(lambda self: self.expand_weight.shape[1], doc="Channels in.")
    k = property(lambda self: self.project_weight.shape[0], doc="Channels out.")
    hidden = property(lambda self: self.project_weight.shape[1], doc="Channels that are projected.")
    dtype = property(lambda self: self.project_weight.dtype, doc="Of every array.")

    def steps(self):
        """The Steps of a layer-by-layer run, in order (refconv/problem/steps.py): the one definition of what comes after what."""
        raise NotImplementedError

    @property
    def graph(self):
        """The Graph of `steps`, its parameters being `arrays`."""
        return Graph(tuple(self.steps()), self.arrays)

    def sized(self, n, h, w):
        """{name: SizedStep} of the graph on an input: the passes of a layer-by-layer run, with their convolutions and outputs."""
        return self.graph.sized(n, h, w, self.c)

    def layers(self, n, h, w):
        """[(name, Conv2d or PartialConv2d)] in order: the convolutions of a layer-by-layer run.

        `name` is that of the fields with its weight and bias; se_reduce and se_expand are fields of `se`. LayerNorm, blur pool, the pool of
        squeeze-excitation and activations are no convolutions and not in the list.
        """
        return [(name, sized.problem) for name, sized in self.sized(n, h, w).items() if sized.step.op in CONVOLUTIONS]

    def macs(self, n, h, w):
        """Multiply-adds of the `layers`, nothing computed twice; those of a blur pool, which has no weights, are not counted."""
        return sum(problem.macs for _, problem in self.layers(n, h, w))

    def out_shape(self, n, h, w):
        """(n, p, q, k): NHWC."""
        *_, last = self.sized(n, h, w).values()
        return last.shape

    def compulsory(self, n, h, w):
        """Elements that any algorithm moves (derived here, as Conv2d.compulsory): {input, weight, bias, output}.

        Input pixels and weights that some output depends on and every other parameter read once, the output written once; but no vector that
        may be folded into a convolution beforehand (Graph.foldable), such as layer scale and the weights of a LayerNorm.
        """
        layers, folded = self.layers(n, h, w), self.graph.foldable()
        pixels = min(problem.compulsory["input"] // problem.c for _, problem in layers if (problem.h, problem.w) == (h, w))
        vectors = {name: array.size for name, array in self.arrays.items() if array.ndim == 1 and name not in folded}
        bias = sum(size for name, size in vectors.items() if name.endswith("bias"))
        weight = sum(problem.compulsory["weight"] for _, problem in layers)
        return {
            "input": self.c * pixels,
            "weight": weight + sum(vectors.values()) - bias,
            "bias": bias,
            "output": math.prod(self.out_shape(n, h, w)),
        }

    def unfused_elements(self, n, h, w):
        """{step: (read, written)}: activation elements that a layer-by-layer run moves at least; parameters do not count. Derived here.

        A convolution moves its compulsory input and output. LayerNorm, blur pool and the pool of squeeze-excitation, which need more than
        one element for a result, are steps of their own; the blur pool reads the two tensors it concatenates where they are. What needs one
        only (bias, activation, layer scale, gate, residual) happens as a convolution reads or writes, and costs what it reads besides:
        n * hidden gates, n * c * h * w elements of the residual.

        An FFN of P = n * h * w pixels without residual moves P * (C + hidden) + P * (hidden + C), so the share of its hidden layer is
        alpha / (alpha + 1): the share that Lavin's Sec. 5.2 states. The residual, which that formula has not, reads P * C more.
        """
        self.sized(n, h, w)  # raises where the map is illegal
        return {step.name: (step.read, step.written) for step in self.graph.merged(n, h, w, self.c)}

    def _projected(self, source):
        """The last Steps: the projection of what step `source` makes, its scale, its activation and the residual where the block has them."""
        steps = [conv("project", source)]
        if getattr(self, "scale", None) is not None:
            steps.append(Step("scaled", "scale", ("project",), {"weight": "scale"}))
        if self.project_activation != "identity":
            steps.append(activation(steps[-1].name, self.project_activation))
        if self.residual:
            steps.append(Step("added", "add", (steps[-1].name, INPUT)))
        return steps

    def _expanded(self, source):
        """The Steps that expand what step `source` makes, with the activation, and project it."""
        return [conv("expand", source), activation("expand", self.activation), *self._projected("expand_activation")]


def check_arrays(weights, **shapes):
    """Check every array of a record against shapes given in letters: conv_weight="C g R S"; a letter means the same size everywhere.

    2C is twice C, 1 is one. Biases and `scale` may be None. TypeError or ValueError names the first field that does not agree with those
    before it, and the shape that would.
    """
    sizes, first = {"1": 1}, None
    for name, text in shapes.items():
        array = getattr(weights, name)
        if array is None and name.endswith(("bias", "scale")):
            continue
        check_array(name, array)
        first = first or name
        dtype = getattr(weights, first).dtype
        if array.dtype != dtype:
            raise TypeError(f"{name} of dtype {array.dtype}: must be {dtype} as {first}")
        letters = text.split()
        wanted = f"({', '.join(letters)})"
        known = f"({', '.join(str(sizes.get(letter, letter)) for letter in letters)})"
        agrees = len(letters) == array.ndim and 0 not in array.shape
        if not agrees or any(sizes.setdefault(letter, size) != size for letter, size in zip(letters, array.shape, strict=True)):
            raise ValueError(f"{name} of shape {array.shape}: must be {wanted}{'' if known == wanted else ' = ' + known}, none of them 0")
        sizes["2C"] = 2 * sizes.get("C", 0)


def one_of(name, value, legal):
    """ValueError unless the value is one of those legal, and of its type: 1 is not True."""
    if not any(type(value) is type(option) and value == option for option in legal):
        raise ValueError(f"{name} = {value!r}: must be {', '.join(map(str, legal[:-1]))} or {legal[-1]}")


def check_stride(block):
    """ValueError unless the stride is 1 or 2."""
    one_of("stride", int(block.stride) if is_integer(block.stride) else block.stride, (1, 2))


def settle_window(block):
    """Check `stride` and `pads`: a stride of equal numbers becomes one number, pads a tuple of ints. ValueError names what is illegal."""
    given = block.stride
    pair = given if isinstance(given, tuple | list) else (given, given)
    if len(pair) != 2 or not all(is_integer(step) and step in (1, 2) for step in pair):
        raise ValueError(f"stride = {given!r}: must be 1 or 2, or a pair (vertical, horizontal) of them")
    object.__setattr__(block, "stride", int(pair[0]) if pair[0] == pair[1] else tuple(map(int, pair)))
    if block.pads is None:
        return
    r, s = block.conv_weight.shape[2:]
    sides = block.pads if isinstance(block.pads, tuple | list) else ()
    if len(sides) != 4 or not all(is_integer(pad) and 0 <= pad < size for pad, size in zip(sides, (r, s, r, s), strict=True)):
        raise ValueError(
            f"pads = {block.pads!r}: must be None or (top, left, bottom, right), from 0 to {r - 1} at top and bottom, to {s - 1} at left and right"
        )
    object.__setattr__(block, "pads", tuple(map(int, sides)))


def check_groups(block):
    """ValueError unless the group width divides the channels of a grouped convolution."""
    channels, width = block.conv_weight.shape[:2]
    if channels % width:
        raise ValueError(f"conv_weight of shape {block.conv_weight.shape}: must be (C, g, R, S), C a multiple of the group width g")


def check_eps(eps, name="eps"):
    """ValueError unless eps, called so, is a finite number above 0."""
    if isinstance(eps, bool) or not isinstance(eps, int | float | np.integer | np.floating) or not 0 < eps < math.inf:
        raise ValueError(f"{name} = {eps!r}: must be a finite number above 0")


def keeps_shape(block):
    """Whether the output of a block has the shape of its input."""
    top, left, bottom, right = block.pads or (0, 0, 0, 0)
    window = (1 + top + bottom, 1 + left + right)
    return block.stride == 1 and block.c == block.k and (block.pads is None or block.conv_weight.shape[2:] == window)


def settle_residual(block):
    """Check `residual`, and replace "auto" by a bool: x is added where it has the shape of the output and the projection no activation."""
    one_of("residual", block.residual, ("auto", True, False))
    linear = block.project_activation == "identity"
    if block.residual is True and not keeps_shape(block):
        raise ValueError(
            f"residual = True with stride = {block.stride}, C = {block.c}, K = {block.k}{'' if block.pads is None else f', pads = {block.pads}'}: "
            "must be auto or False, since x has another shape"
        )
    if block.residual is True and not linear:
        raise ValueError(f"residual = True with project_activation = {block.project_activation!r}: must be auto or False, since x is added to sums")
    object.__setattr__(block, "residual", keeps_shape(block) and linear if block.residual == "auto" else block.residual)
