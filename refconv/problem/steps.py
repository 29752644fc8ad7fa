"""A graph of named steps: the one place that says in which order the layers of a block come, for all that run, count or measure them one by one.

Tensors are NHWC. A step takes the outputs of others and makes one tensor; run layer by layer, every step is one pass over its tensors.

    op              sources   parameters     attributes                output, of sources (n, h, w, c)
    "conv"          x         weight, bias   stride, pads, groups      the convolution by weight (K, C/groups, R, S) or (K, C); stride: a number,
                                                                       or (vertical, horizontal)
    "partial_conv"  x         weight, bias                             the first Cp channels by weight (Cp, Cp, R, S), the others as they are
    "norm"          x         weight, bias   eps                       LayerNorm over the channels of each pixel
    "mean"          x                                                  the mean over the map: (n, 1, 1, c)
    "max_pool"      x                        size, stride, pads        the largest of each window of size x size pixels, padding left out
    "blur_pool"     x                                                  [1, 2, 1] x [1, 2, 1] / 16 at every second pixel, without padding
    "pad"           x                        border                    the map reflected by `border` pixels on every side
    "concatenate"   x, y                                               the channels of one after those of the other
    "activation"    x                        kind                      of every element; kind: a name of refconv.problem.activations
    "scale"         x         weight                                   times a vector of c factors
    "shift"         x         bias                                     plus a vector of c numbers
    "response"      x         weight         eps                       gates (n, 1, 1, c): 1 + weight * norm / (mean of norm over c + eps), norm
                                                                       being the root of the sum of squares of a channel over the map
    "multiply"      x, gates                                           times gates of (n, h, w, c) or (n, 1, 1, c)
    "add"           x, y                                               the sum
"""

import math
from collections import Counter
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from refconv.problem.conv import Conv2d, PartialConv2d, same_pads

INPUT = "input"
"""The name of a graph's input among the sources of its steps."""
BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16
"""The filter of a "blur_pool"."""
CONVOLUTIONS = ("conv", "partial_conv")
WHILE_READING = ("multiply", "shift", "concatenate", "pad")
WHILE_STORING = ("activation", "scale", "add")
"""What needs one element of each source for one of its output, so that it could happen as the step after it reads, or as the step before stores."""

LINEAR = ("scale", "blur_pool", "pad", "concatenate")
"""What maps a tensor that is constant over the map, channel by channel, to such a tensor, and sums to sums."""


class Step(NamedTuple):
    """name; op: of the table above; sources: names of steps, or "input"; parameters: {role: name of an array of the graph, which may lack it}."""

    name: str
    op: str
    sources: tuple
    parameters: Any = MappingProxyType({})
    attributes: Any = MappingProxyType({})


class SizedStep(NamedTuple):
    """A step on an input of a known size: the Conv2d or PartialConv2d that a kernel runs for it (None: none does), and its output (n, h, w, c)."""

    step: Step
    problem: Any
    shape: tuple

    elements = property(lambda self: math.prod(self.shape), doc="Of the output.")
    macs = property(lambda self: self.problem.macs if self.step.op in CONVOLUTIONS else 0, doc="Multiply-adds: of convolutions and products alone.")


class MergedStep(NamedTuple):
    """A step and those beside it that could happen as it reads or stores: what a program that merges them moves.

    source: the tensor that the step itself takes, besides: others that are read with it; the names are those of steps whose outputs are stored,
    or "input". parameters: names of the arrays of all steps merged. read, written: elements of tensors, those of parameters left out.
    """

    name: str
    problem: Any
    source: str
    besides: tuple
    parameters: tuple
    read: int
    written: int


class Graph(NamedTuple):
    """steps: each after its sources, the last makes the output; parameters: {name: array} of those that there are."""

    steps: tuple
    parameters: dict

    def array(self, step, role):
        """The parameter of a step, None where there is none."""
        return self.parameters.get(step.parameters.get(role))

    def sized(self, n, h, w, c):
        """{name: SizedStep} in order, for an input of that shape. ValueError says what is wrong with it."""
        shapes, result = {INPUT: (n, h, w, c)}, {}
        for step in self.steps:
            problem, shape = _SHAPES[step.op](self, step, *(shapes[source] for source in step.sources))
            result[step.name], shapes[step.name] = SizedStep(step, problem, shape), shape
        return result

    def takers(self):
        """{name of a step, or "input": the Steps that take its output}; without those that none takes."""
        found = {}
        for step in self.steps:
            for source in step.sources:
                found.setdefault(source, []).append(step)
        return found

    def foldable(self):
        """Names of the vectors that a program may fold into the arrays of a convolution beside them, beforehand: it need not read them.

        Factors of a "scale" that alone takes a convolution's output; weight and bias of a LayerNorm, factors and the bias of a convolution
        whose output reaches 1x1 convolutions without padding, by way of LINEAR steps at most, and nothing else. Derived here.
        """
        takers, found = self.takers(), set()
        ops = {step.name: step.op for step in self.steps}

        def absorbs(step):
            if step.op == "conv":
                return matrix_shape(self.array(step, "weight"))[2:] == (1, 1) and not any(step.attributes["pads"])
            return step.op in LINEAR and reaches(step.name)

        def reaches(name):
            return name in takers and all(map(absorbs, takers[name]))

        for step in self.steps:
            folded = step.op == "scale" and ops.get(step.sources[0]) == "conv" and len(takers[step.sources[0]]) == 1
            roles = {"conv": ("bias",), "partial_conv": ("bias",), "norm": ("weight", "bias"), "scale": ("weight",), "shift": ("bias",)}.get(
                step.op, ()
            )
            if roles and (folded or reaches(step.name)):
                found.update(step.parameters[role] for role in roles)
        return found & set(self.parameters)

    def run(self, x, make):
        """The output for an input x, step by step: make(step, tensors) makes a step's output of those of its sources.

        A tensor is let go after the last step that takes it.
        """
        left, tensors = Counter(source for step in self.steps for source in step.sources), {INPUT: x}
        for step in self.steps:
            tensors[step.name] = make(step, [tensors[source] for source in step.sources])
            for source in step.sources:
                left[source] -= 1
                if not left[source]:
                    del tensors[source]
        return tensors[self.steps[-1].name]

    def merged(self, n, h, w, c):
        """The MergedSteps for an input of that shape, in order."""
        sized = self.sized(n, h, w, c)
        elements = tensor_elements((n, h, w, c), sized)
        stored, groups = {INPUT: INPUT}, {}  # the step that stores a tensor; {step that others are merged into: [those others]}
        for step in self.steps:
            before = stored.get(step.sources[0])
            if step.op in WHILE_STORING and before in groups:
                stored[step.name] = before
                groups[before].append(step)
            elif step.op not in WHILE_READING:
                stored[step.name] = step.name
                groups[step.name] = [step]

        def through(source):
            """The steps that happen as a step reads `source`."""
            if source in stored:
                return []
            return [sized[source].step, *(step for inner in sized[source].step.sources for step in through(inner))]

        def read_by(source):
            """The tensors that are read where a step takes `source`."""
            if source in stored:
                return [source]
            return [tensor for inner in sized[source].step.sources for tensor in read_by(inner)]

        result = []
        for name, (step, *after) in groups.items():
            source, *besides = read_by(step.sources[0])
            besides += [tensor for other in after for more in other.sources[1:] for tensor in read_by(more)]
            merged = *through(step.sources[0]), step, *after
            parameters = tuple(array for one in merged for array in one.parameters.values() if array in self.parameters)
            problem, last = sized[name].problem if step.op in CONVOLUTIONS else None, after[-1].name if after else name
            own = problem.compulsory["input"] if problem else elements[source]
            read, besides = own + sum(elements[tensor] for tensor in besides), tuple(stored[tensor] for tensor in besides)
            result.append(MergedStep(name, problem, stored[source], besides, parameters, read, elements[last]))
        return result


def tensor_elements(shape, sized):
    """{tensor: elements} of a graph's input of that shape, and of the outputs of its SizedSteps."""
    return {INPUT: math.prod(shape), **{name: step.elements for name, step in sized.items()}}


def conv(name, source, kernel=(1, 1), stride=1, groups=1, padded=True, pads=None):
    """The Step of a convolution; its arrays are <name>_weight and <name>_bias.

    pads: (top, left, bottom, right), or None: as centred_pads, or not padded at all where `padded` is False.
    """
    attributes = {"stride": stride, "pads": pads or centred_pads(kernel if padded else (1, 1)), "groups": groups}
    return Step(name, "conv", (source,), _arrays(name), attributes)


def centred_pads(kernel):
    """(top, left, bottom, right) of a kernel (R, S): ceil(h / stride) rows come out on any map, of odd kernels as with torch's padding=k // 2."""
    (top, bottom), (left, right) = (same_pads(size, 1) for size in kernel)
    return top, left, bottom, right


def max_pool(name, source, size, stride):
    """The Step of a max pool over size x size pixels, padded so that ceil(h / stride) rows come out."""
    (before, after) = same_pads(size, 1)
    return Step(name, "max_pool", (source,), attributes={"size": size, "stride": stride, "pads": (before, before, after, after)})


def partial_conv(name, source):
    """The Step of a partial convolution; its arrays are <name>_weight and <name>_bias."""
    return Step(name, "partial_conv", (source,), _arrays(name))


def norm(name, source, eps):
    """The Step of a LayerNorm; its arrays are <name>_weight and <name>_bias."""
    return Step(name, "norm", (source,), _arrays(name), {"eps": eps})


def activation(source, kind):
    """The Step of an activation of what step `source` makes."""
    return Step(f"{source}_activation", "activation", (source,), attributes={"kind": kind})


def _arrays(name):
    return {"weight": f"{name}_weight", "bias": f"{name}_bias"}


def matrix_shape(weight):
    """(K, C/groups, R, S) of a weight that may be (K, C)."""
    return (*weight.shape, 1, 1) if weight.ndim == 2 else weight.shape


def _conv_shape(graph, step, shape):
    k, _, r, s = matrix_shape(graph.array(step, "weight"))
    (n, h, w, c), (top, left, bottom, right), stride = shape, step.attributes["pads"], step.attributes["stride"]
    vertical, horizontal = stride if isinstance(stride, tuple) else (stride, stride)
    problem = Conv2d(n, c, h, w, k, r, s, vertical, horizontal, top, left, bottom, right, 1, 1, step.attributes["groups"]).checked()
    return problem, (problem.n, problem.p, problem.q, problem.k)


def _partial_shape(graph, step, shape):
    (n, h, w, c), (convolved, _, r, s) = shape, graph.array(step, "weight").shape
    return PartialConv2d(n, c, h, w, convolved, r, s).checked(), shape


def _pool_shape(graph, step, shape):
    (n, h, w, c), size, stride = shape, step.attributes["size"], step.attributes["stride"]
    windows = Conv2d(n, c, h, w, c, size, size, stride, stride, *step.attributes["pads"], groups=c).checked()
    return None, (n, windows.p, windows.q, c)


def _blur_shape(graph, step, shape):
    n, h, w, c = shape
    problem = Conv2d(n, c, h, w, c, 3, 3, 2, 2, groups=c).checked()
    return problem, (n, problem.p, problem.q, c)


def _pad_shape(graph, step, shape):
    (n, h, w, c), border = shape, step.attributes["border"]
    for name, size in (("height", h), ("width", w)):
        if size <= border:
            raise ValueError(f"{name} = {size}: must be {border + 1} or more where a map is reflected by {border}, as before a blur pool")
    return None, (n, h + 2 * border, w + 2 * border, c)


_SHAPES = {
    "conv": _conv_shape,
    "partial_conv": _partial_shape,
    "norm": lambda graph, step, shape: (None, shape),
    "mean": lambda graph, step, shape: (None, (shape[0], 1, 1, shape[3])),
    "max_pool": _pool_shape,
    "blur_pool": _blur_shape,
    "pad": _pad_shape,
    "concatenate": lambda graph, step, one, other: (None, (*one[:3], one[3] + other[3])),
    "activation": lambda graph, step, shape: (None, shape),
    "scale": lambda graph, step, shape: (None, shape),
    "shift": lambda graph, step, shape: (None, shape),
    "response": lambda graph, step, shape: (None, (shape[0], 1, 1, shape[3])),
    "multiply": lambda graph, step, shape, gates: (None, shape),
    "add": lambda graph, step, one, other: (None, one),
}
"""(Conv2d, PartialConv2d or None, output shape) of a step, by op, from the graph, the step and the shapes of its sources."""
