"""A network's steps in the words of a block's graph (refconv/problem/steps.py), so that the two can be compared.

A block's graph knows NHWC maps alone. In a network a tensor has its axes in any order, Transposes change it, and a step may be several in one:

    conv(x, y), activation relu    conv, add, activation; with before_sum an activation before the sum, too
    product                        conv by a 1x1 window, on the last axis
    LayerNormalization             norm, over the last axis
    GlobalAveragePool, ReduceMean  mean
    Mul                            multiply
    Add of a constant              shift, one number for each channel
    1 + weight * n                 response, n = ReduceL2(x) / (ReduceMean of that + epsilon)
    Concat(conv(a), b)             partial_conv of x, where a and b are the parts of a Split of x, or Slices; any other of two: concatenate
    Pad, conv                      pad, by reflection; blur_pool, where the weight is its filter
"""

from typing import Any, NamedTuple

import numpy as np

from refconv.graph import orders
from refconv.graph.passes.join import PRODUCERS, SUMS
from refconv.graph.passes.responses import both_ways, relative_norm
from refconv.problem.conv import same_pads
from refconv.problem.steps import BLUR

SEEN_THROUGH = ("Transpose", "Identity")
MAP_AXES = 4
OF_CONV = orders.channels_last(MAP_AXES)
OF_PRODUCT = ()
NCHW_CHANNELS = (1, -3)


class Map(NamedTuple):
    """A tensor of the network as a map.

    name: of the tensor; perm: its axes in the order N, H, W, C, () where they lie so already; done: how many of the parts of the step that makes
    it are done (of a conv with a residual and an activation 1 to 3), so that what only lies between two of them is a map, too.
    """

    name: str
    perm: tuple
    done: int


class Part(NamedTuple):
    """A step of a block's graph, as found: op, sources (Maps), {role: array}, attributes in the words of such a graph."""

    op: str
    sources: tuple
    arrays: Any
    attributes: Any


class Maps:
    """The maps of a network and what makes them."""

    def __init__(self, network):
        self.network, self.makers = network, network.makers

    def parts(self, name):
        """The ops, in the words of a block's graph, that the step makes one after another that makes a tensor."""
        step = self.makers.get(name)
        if step is None or step.op not in PRODUCERS:
            return ("",)
        there = "before_sum" in step.attributes, len(step.sources) > 1, "activation" in step.attributes
        return ("conv", *(op for op, is_there in zip(("activation", "add", "activation"), there, strict=True) if is_there))

    def made(self, name, perm):
        """The Map of a tensor taken in that order of axes: of the one that Transposes have made it of."""
        step = self.makers.get(name)
        while step is not None and step.op in SEEN_THROUGH:
            if step.op == "Transpose":
                own = step.attributes.get("perm") or ()
                if len(perm or own) != len(own) or sorted(own) != list(orders.plain(len(own))):
                    break
                perm = tuple(own[axis] for axis in perm or range(len(own)))
            name = step.sources[0]
            step = self.makers.get(name)
        return Map(name, OF_PRODUCT if perm == orders.plain(len(perm)) else perm, len(self.parts(name)))

    def part(self, made):
        """The Part that makes a Map; None where it is none of those of blocks."""
        step = self.makers.get(made.name)
        if step is None:
            return None
        op = self.parts(made.name)[made.done - 1]
        if op == "activation":
            kind = step.attributes["before_sum" if "add" in self.parts(made.name)[made.done :] else "activation"]
            return Part(op, (made._replace(done=made.done - 1),), {}, {"kind": kind})
        if op == "add":
            return Part(op, (made._replace(done=made.done - 1), self.made(step.sources[1], made.perm)), {}, {})
        read = _READ.get(step.op)
        return read and read(self, step, made.perm)

    def arrays(self, step):
        """{role: array} of a step's parameters."""
        return {role: self.network.parameters[name] for role, name in step.parameters.items()}


def _conv(maps, step, perm):
    arrays, given = maps.arrays(step), step.attributes
    window, strides, pads = arrays["weight"].shape[2:], given["strides"] or [1, 1], _pads(given, arrays["weight"].shape[2:])
    plain = given["dilations"] in (None, [1, 1]) and given["kernel_shape"] in (None, list(window)) and len(strides) == 2
    if perm != OF_CONV or len(window) != len(OF_CONV) - 2 or pads is None or not plain:
        return None
    if _blurs(arrays, pads, strides, given["group"]):
        return Part("blur_pool", (maps.made(step.sources[0], perm),), {}, {})
    attributes = {"stride": strides[0] if strides[0] == strides[1] else tuple(strides), "pads": pads, "groups": given["group"]}
    return Part("conv", (maps.made(step.sources[0], perm),), arrays, attributes)


def _blurs(arrays, pads, strides, groups):
    """Whether a convolution is the blur pool of a block's graph, its filter the weight of every channel."""
    weight = arrays["weight"]
    alone = set(arrays) == {"weight"} and weight.shape == (groups, 1, 3, 3) and not any(pads) and strides == [2, 2]
    return alone and bool((weight == BLUR).all())


def _pads(given, window):
    """(top, left, bottom, right); None where they depend on the size of the map."""
    if given["auto_pad"] == b"NOTSET":
        return tuple(given["pads"] or (0, 0, 0, 0))
    if given["auto_pad"] == b"VALID":
        return 0, 0, 0, 0
    if given["strides"] not in (None, [1, 1]):
        return None
    (top, bottom), (left, right) = (same_pads(size, 1) for size in window)
    return (top, left, bottom, right) if given["auto_pad"] == b"SAME_UPPER" else (bottom, right, top, left)


def _product(maps, step, perm):
    attributes = {"stride": 1, "pads": (0, 0, 0, 0), "groups": 1}
    return Part("conv", (maps.made(step.sources[0], perm),), maps.arrays(step), attributes) if perm == OF_PRODUCT else None


def _elementwise(op):
    """What reads and makes elements one by one, in whatever order their axes are."""

    def read(maps, step, perm):
        attributes = {"kind": step.attributes["kind"]} if op == "activation" else {}
        fits = len(step.sources) == (1 if op == "activation" else 2)
        return Part(op, tuple(maps.made(name, perm) for name in step.sources), {}, attributes) if fits else None

    return read


def _sum(maps, step, perm):
    """A response, the shift of every channel by a constant, or the sum of two tensors."""
    return _response(maps, step, perm) or _shift(maps, step, perm) or _elementwise("add")(maps, step, perm)


def _response(maps, step, perm):
    """1 + weight * n, of gates that have one pixel."""
    for one, weighted in both_ways(step, "Add"):
        array = maps.network.constant(one)
        for weight, relative in both_ways(maps.makers.get(weighted), "Mul") if array is not None and array.size == 1 and array == 1 else ():
            vector, divided = _by_channel(maps, weight, perm), maps.makers.get(relative)
            norm = maps.makers.get(divided.sources[0]) if vector is not None and divided is not None else None
            found = norm and relative_norm(maps.network, maps.makers, relative, norm.sources[0])
            if found:
                norm, mean, eps = found
                lying = perm or tuple(range(MAP_AXES))
                fits = _axes(maps, norm) == {*lying[1:3]} and _axes(maps, mean) == {lying[3]}
                return Part("response", (maps.made(norm.sources[0], perm),), {"weight": vector}, {"eps": eps}) if fits else None
    return None


def _shift(maps, step, perm):
    for name, constant in both_ways(step, "Add"):
        vector = _by_channel(maps, constant, perm)
        if vector is not None:
            return Part("shift", (maps.made(name, perm),), {"bias": vector}, {})
    return None


def _by_channel(maps, name, perm):
    """A constant as a number for each channel of a map whose axes are NHWC in the order `perm`; None where it is not one."""
    array = maps.network.constant(name)
    if array is None or array.ndim > MAP_AXES or array.size != max(array.shape, default=1):
        return None
    whole = array.reshape((1,) * (MAP_AXES - array.ndim) + array.shape)
    channels = (perm or tuple(range(MAP_AXES)))[3]
    return array.reshape(-1) if whole.shape[channels] == array.size and array.ndim else None


def _axes(maps, step):
    """The axes that a reduction of a map goes over."""
    return {axis % MAP_AXES if -MAP_AXES <= axis < MAP_AXES else axis for axis in _numbers(maps, step, "axes") or ()}


def _norm(maps, step, perm):
    vectors = [maps.network.constant(name) for name in step.sources[1:]]
    given = step.attributes
    if perm != OF_PRODUCT or given.get("axis", -1) not in (-1, MAP_AXES - 1) or given.get("output") or any(vector is None for vector in vectors):
        return None
    attributes = {"eps": given.get("epsilon", 1e-5)}
    return Part("norm", (maps.made(step.sources[0], perm),), dict(zip(("weight", "bias"), vectors, strict=False)), attributes)


def _mean(maps, step, perm):
    whole = step.op == "GlobalAveragePool" or (_axes(maps, step) == {*(perm or range(MAP_AXES))[1:3]} and step.attributes.get("keepdims", 1))
    whole = whole and (perm == OF_CONV or step.op == "ReduceMean")
    return Part("mean", (maps.made(step.sources[0], perm),), {}, {}) if whole else None


def _numbers(maps, step, name, at=1):
    """Integers that are an attribute, or from some version on a constant input; None where they are neither."""
    array = maps.network.constant(step.sources[at]) if len(step.sources) > at else step.attributes.get(name)
    return None if array is None else [int(number) for number in np.ravel(array)]


def _pad(maps, step, perm):
    """Rows and columns reflected at every side, by as many."""
    border = _numbers(maps, step, "pads")
    one = border and {*border[2:4], *border[6:8]}
    whole = border and len(border) == 2 * MAP_AXES and not any((*border[:2], *border[4:6])) and len(one) == 1
    if perm != OF_CONV or not whole or len(step.sources) > 2 or step.attributes.get("mode") != b"reflect":
        return None
    return Part("pad", (maps.made(step.sources[0], perm),), {}, {"border": one.pop()})


def _concat(maps, step, perm):
    if perm != OF_CONV or step.attributes.get("axis") not in NCHW_CHANNELS or len(step.sources) != 2:
        return None
    return _partial(maps, step, perm) or Part("concatenate", tuple(maps.made(name, perm) for name in step.sources), {}, {})


def _partial(maps, step, perm):
    """Concat(conv(a), b): a conv without bias of the first channels of x, to as many, beside the others."""
    first, rest = step.sources
    conv = maps.part(maps.made(first, perm)) if maps.parts(first) == ("conv",) else None
    if conv is None or set(conv.arrays) != {"weight"}:
        return None
    weight = conv.arrays["weight"]
    channels = weight.shape[0]
    (top, bottom), (left, right) = (same_pads(size, 1) for size in weight.shape[2:])
    same = conv.attributes == {"stride": 1, "pads": (top, left, bottom, right), "groups": 1} and weight.shape[1] == channels
    one, other = (_channels(maps, maps.makers.get(name)) for name in (maps.makers[first].sources[0], rest))
    if not same or one is None or other is None or one[0] != other[0] or one[1:] != (0, channels) or other[1:] != (channels, None):
        return None
    return Part("partial_conv", (maps.made(one[0], perm),), conv.arrays, {})


def _channels(maps, step):
    """(tensor, first, end) where a step takes those channels of a tensor; end is None where it takes all from the first on, and the whole is None
    where it takes anything else."""
    if step is None:
        return None
    if step.op == "Split" and step.attributes.get("axis", 0) in NCHW_CHANNELS:
        sizes, which = _numbers(maps, step, "split"), step.attributes.get("output", 0)
        if sizes is None:
            return None
        return step.sources[0], sum(sizes[:which]), sum(sizes[: which + 1]) if which + 1 < len(sizes) else None
    if step.op == "Slice" and len(step.sources) > 3:
        starts, ends, axes, steps = (_numbers(maps, step, "", at) for at in (1, 2, 3, 4))
        if None not in (starts, ends, axes) and len(axes) == 1 and axes[0] in NCHW_CHANNELS and steps in (None, [1]) and starts[0] >= 0:
            return step.sources[0], starts[0], ends[0] if ends[0] < ALL else None
    return None


ALL = (1 << 31) - 1
"""The end of a Slice from which on exporters mean all."""

_READ = {
    "conv": _conv,
    "product": _product,
    "activation": _elementwise("activation"),
    **dict.fromkeys(SUMS, _sum),
    "Mul": _elementwise("multiply"),
    "LayerNormalization": _norm,
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), _mean),
    "Concat": _concat,
    "Pad": _pad,
}
