"""What is computed: 2-D convolutions as records, the sizes and costs that follow from them, and oneDNN's text form.

A `Conv2d` in benchdnn's words: `g96mb1ic96ih56oc96kh7ph3`, any order, `_` optional, a name last after `n`. 1 MAC = 2 FLOP.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from refconv.jit import routine

LARGEST = 1 << 31
"""No size, stride, pad or block may reach this."""
LARGEST_KERNEL = 1 << 16
"""No kernel may be as high or wide as this: what is counted tap by tap stays a matter of milliseconds."""
MOST_ELEMENTS = 1 << 40
"""No tensor may have as many elements: all address arithmetic then stays within 64 bits."""


@routine
def out_size(size, pad_before, pad_after, kernel, stride, dilation):
    """Outputs along one axis: positions at which the dilated window fits into the padded input."""
    return (size + pad_before + pad_after - ((kernel - 1) * dilation + 1)) // stride + 1


@routine
def out_reach(outputs, kernel, stride, dilation):
    """Inputs along one axis between the first and the last that `outputs` windows touch, both counted."""
    return (outputs - 1) * stride + (kernel - 1) * dilation + 1


@routine
def out_height(conv):
    """Output rows of a Conv2d."""
    return out_size(conv.h, conv.pad_top, conv.pad_bottom, conv.r, conv.stride_h, conv.dilation_h)


@routine
def out_width(conv):
    """Output columns of a Conv2d."""
    return out_size(conv.w, conv.pad_left, conv.pad_right, conv.s, conv.stride_w, conv.dilation_w)


@routine
def same_pads(kernel, dilation):
    """(before, after) along one axis that keep its size at stride 1; the odd element goes after, as in torch."""
    total = (kernel - 1) * dilation
    return total // 2, total - total // 2


def auto_pads(size, kernel, stride, dilation):
    """(fewer, more) zeros for the two ends of an axis so that ceil(size / stride) outputs come out: ONNX's auto_pad, where SAME_UPPER has more at the
    end and SAME_LOWER at the beginning, and TensorFlow's SAME, which is the former.

    They follow from the size: a window of 3 and stride 2 has (0, 1) on an even size and (1, 1) on an odd one, where same_pads has (1, 1) on any.
    """
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def touched(size, pad_before, outputs, kernel, stride, dilation):
    """How many of the `size` inputs along one axis any window touches (a stride larger than the kernel skips some).

    Tap r meets the inputs r * dilation - pad + stride * i for i < outputs: runs in the residue classes of the stride, in each of which the
    taps' runs begin one after another.
    """
    count, covered = 0, {}
    for r in range(kernel):
        first, residue = divmod(r * dilation - pad_before, stride)
        low, high = max(first, covered.get(residue, -1) + 1, 0), min(first + outputs - 1, (size - 1 - residue) // stride)
        if low <= high:
            count += high - low + 1
            covered[residue] = high
    return count


def used_taps(size, pad_before, outputs, kernel, stride, dilation):
    """How many taps along one axis meet an input in any window: in the border of a small map, not all."""
    starts = (r * dilation - pad_before for r in range(kernel))
    return sum(max(0, -(start // stride)) <= min(outputs - 1, (size - 1 - start) // stride) for start in starts)


def is_integer(value):
    """Whether a value is an int of Python or NumPy; a bool is not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def integers(problem):
    """The record with plain ints, or a ValueError that names the first field that is no integer."""
    for name, value in zip(problem._fields, problem, strict=True):
        if not is_integer(value):
            raise ValueError(f"{LONG_NAME[name]} = {value!r}: must be an integer")
    return problem._make(map(int, problem))


class Conv2d(NamedTuple):
    """A 2-D convolution: n images of c channels and h x w pixels to k channels, an r x s kernel, g groups of channels.

    Padding is given for the four sides; a negative bottom or right pad leaves the last rows or columns unread. `dilation` is
    torch's (1 = dense). Strides and dilations are (vertical, horizontal).
    """

    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    stride_h: int = 1
    stride_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    pad_bottom: int = 0
    pad_right: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1

    @property
    def p(self):
        """Output rows."""
        return out_height(self)

    @property
    def q(self):
        """Output columns."""
        return out_width(self)

    @property
    def c_group(self):
        """Input channels of one group (the group width)."""
        return self.c // self.groups

    @property
    def k_group(self):
        """Output channels of one group."""
        return self.k // self.groups

    @property
    def weight_shape(self):
        """(K, C/groups, R, S)."""
        return (self.k, self.c_group, self.r, self.s)

    @property
    def turned(self):
        """The same with rows and columns exchanged."""
        turned = {"h": "w", "r": "s", "stride_h": "stride_w", "pad_top": "pad_left", "pad_bottom": "pad_right", "dilation_h": "dilation_w"}
        return self._replace(**{a: getattr(self, b) for pair in turned.items() for a, b in (pair, pair[::-1])})

    @property
    def tensors(self):
        """Elements of {input, weight, output}."""
        image = self.n * self.c * self.h * self.w
        return {"input": image, "weight": math.prod(self.weight_shape), "output": self.n * self.k * self.p * self.q}

    @property
    def macs(self):
        """Multiply-adds as frameworks count them: windows at the border count whole."""
        return self.n * self.k * self.p * self.q * self.c_group * self.r * self.s

    @property
    def flops(self):
        """2 * MACs; a bias does not count."""
        return 2 * self.macs

    @property
    def touched_input(self):
        """Input elements that some window touches: what has to be read at least."""
        return self.n * self.c * math.prod(touched(*axis) for axis in self.axes)

    @property
    def touched_weight(self):
        """Weight elements that meet an input in some window: taps that only ever lie in the border are not needed."""
        return self.k * self.c_group * math.prod(used_taps(*axis) for axis in self.axes)

    @property
    def axes(self):
        """(size, pad before, outputs, kernel, stride, dilation), vertical and horizontal."""
        return (
            (self.h, self.pad_top, self.p, self.r, self.stride_h, self.dilation_h),
            (self.w, self.pad_left, self.q, self.s, self.stride_w, self.dilation_w),
        )

    @property
    def compulsory(self):
        """Elements of each tensor that any algorithm moves: inputs and weights that meet read once, outputs written once."""
        return {**self.tensors, "input": self.touched_input, "weight": self.touched_weight}

    def checked(self):
        """This problem in plain ints, or a ValueError that names the first field out of range and what would be legal."""
        self = integers(self)
        for name in ("n", "c", "h", "w", "k", "r", "s", "stride_h", "stride_w", "dilation_h", "dilation_w", "groups"):
            value = getattr(self, name)
            most = LARGEST_KERNEL if name in ("r", "s") else LARGEST
            if not 1 <= value < most:
                raise ValueError(f"{LONG_NAME[name]} = {value}: must be from 1 to {most - 1}")
        for name in ("pad_top", "pad_left", "pad_bottom", "pad_right"):
            value = getattr(self, name)
            lowest = 0 if name in ("pad_top", "pad_left") else -LARGEST + 1
            if not lowest <= value < LARGEST:
                raise ValueError(f"{LONG_NAME[name]} = {value}: must be from {lowest} to {LARGEST - 1}")
        for name in ("c", "k"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"{LONG_NAME[name]} = {getattr(self, name)}: must be a multiple of groups = {self.groups}")
        for size, pads, taps, dilation, axis in (
            (self.h, self.pad_top + self.pad_bottom, self.r, self.dilation_h, "height"),
            (self.w, self.pad_left + self.pad_right, self.s, self.dilation_w, "width"),
        ):
            reach = (taps - 1) * dilation + 1
            if size + pads < reach:
                raise ValueError(
                    f"output has no elements: the dilated kernel is {reach} in {axis}, the padded input only {size + pads}; "
                    f"legal: padding of at least {reach - size} in all, or a kernel reach of at most {size + pads}"
                )
        for name, elements in self.tensors.items():
            if elements >= MOST_ELEMENTS:
                raise ValueError(f"{name} has {elements} elements: must be below {MOST_ELEMENTS}")
        return self

    def __str__(self):
        """benchdnn's text, defaults left out, widths where they differ.

        It gives the outputs, from which the bottom and right pads follow: parsed again, those are what the windows reach.
        """
        height = (self.h, self.p, self.r, self.stride_h, self.pad_top, self.dilation_h - 1)
        width = (self.w, self.q, self.s, self.stride_w, self.pad_left, self.dilation_w - 1)

        def both(letter, i):
            return f"{letter}h{height[i]}" + (f"{letter}w{width[i]}" if width != height else "")

        text = f"g{self.groups}" if self.groups > 1 else ""
        text += f"mb{self.n}ic{self.c}{both('i', 0)}oc{self.k}{both('o', 1)}{both('k', 2)}"
        text += both("s", 3) if (height[3], width[3]) != (1, 1) else ""
        text += both("p", 4)
        return text + (both("d", 5) if (height[5], width[5]) != (0, 0) else "")

    @classmethod
    def parse(cls, text):
        """The problem a benchdnn descriptor describes (see `parse_named`)."""
        return parse_named(text)[1]


LONG_NAME = {
    "n": "batch",
    "c": "input channels",
    "h": "height",
    "w": "width",
    "k": "output channels",
    "r": "kernel height",
    "s": "kernel width",
    "stride_h": "vertical stride",
    "stride_w": "horizontal stride",
    "dilation_h": "vertical dilation",
    "dilation_w": "horizontal dilation",
    "groups": "groups",
    "convolved": "convolved channels",
    "pad_top": "top padding",
    "pad_left": "left padding",
    "pad_bottom": "bottom padding",
    "pad_right": "right padding",
}


class PartialConv2d(NamedTuple):
    """FasterNet's partial convolution: the first `convolved` of c channels convolved (stride 1, same padding), the rest passed through.

    Source: Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", Sec. 3.2.
    """

    n: int
    c: int
    h: int
    w: int
    convolved: int
    r: int
    s: int

    k = property(lambda self: self.c, doc="Output channels, those passed through included.")
    p = property(lambda self: self.h, doc="Output rows.")
    q = property(lambda self: self.w, doc="Output columns.")
    groups = property(lambda self: 1, doc="Of the convolved part.")
    conv = property(lambda self: convolved_part(self), doc="The convolution of the first channels, a Conv2d.")
    macs = property(lambda self: self.conv.macs, doc="Of the convolved channels.")
    flops = property(lambda self: self.conv.flops, doc="2 * MACs.")
    weight_shape = property(lambda self: self.conv.weight_shape, doc="(convolved, convolved, R, S).")

    @property
    def tensors(self):
        """Elements of {input, weight, output}."""
        image = self.n * self.c * self.h * self.w
        return {"input": image, "weight": self.conv.tensors["weight"], "output": image}

    @property
    def compulsory(self):
        """Every channel is read and written once (the output is a new tensor), every weight that meets an input read once."""
        return {**self.tensors, "weight": self.conv.touched_weight}

    def checked(self):
        """This problem in plain ints, or a ValueError that names what is out of range and what would be legal."""
        self = integers(self)
        self.conv.checked()
        if not self.convolved <= self.c < LARGEST:
            raise ValueError(f"input channels = {self.c}: must be from {self.convolved} (those convolved) to {LARGEST - 1}")
        return self

    def __str__(self):
        """The convolved part in benchdnn's text, and the channels it is part of."""
        return f"{self.conv} of {self.c} channels"


@routine
def convolved_part(partial):
    """The Conv2d of a PartialConv2d; of an even kernel's padding the odd element goes to the bottom and right, as in torch."""
    c, r, s = partial.convolved, partial.r, partial.s
    (top, bottom), (left, right) = same_pads(r, 1), same_pads(s, 1)
    return Conv2d(partial.n, c, partial.h, partial.w, c, r, s, 1, 1, top, left, bottom, right, 1, 1, 1)


TOKEN = re.compile(r"(mb|[iokspd][dhw]|ic|oc|g)(-?\d+)")
FLAT_DEPTH = {"id": 1, "od": 1, "kd": 1, "sd": 1, "pd": 0, "dd": 0}
KNOWN = "g mb ic id ih iw oc od oh ow kd kh kw sd sh sw pd ph pw dd dh dw"


def parse_named(text):
    """(name or "", Conv2d) from a benchdnn descriptor.

    Defaults: g1 mb2, strides 1, dilations 0 (benchdnn counts the gaps, torch's dilation is one more). A missing width token
    copies the height's. ph is the pad at the top; the pad at the bottom is what the last window reaches, and may be negative.
    Without oh there are as many outputs as symmetric padding allows; with oh and without ph the top pad is half of what oh
    needs. 1-D and 3-D descriptors raise a ValueError that says so, as does anything unknown.
    Source: oneDNN, tests/benchdnn/conv/conv_aux.cpp and doc/knobs_desc.
    """
    if not isinstance(text, str):
        raise ValueError(f"descriptor {text!r}: must be text such as g96mb1ic96ih56oc96kh7ph3")
    described, named, name = text.partition("n")
    given, at = {}, 0
    described = described.replace("_", "")
    while at < len(described):
        match = TOKEN.match(described, at)
        if not match:
            raise ValueError(f"descriptor {text!r}: no token at {described[at : at + 12]!r}; legal: {KNOWN}, each followed by an integer")
        token, value = match[1], int(match[2])
        if token in given:
            raise ValueError(f"descriptor {text!r}: {token} is given twice")
        if value < 0:
            raise ValueError(f"descriptor {text!r}: {token} = {value}: must be 0 or more")
        given[token], at = value, match.end()
    for token, flat in FLAT_DEPTH.items():
        if given.get(token, flat) != flat:
            raise ValueError(f"descriptor {text!r}: {token}{given[token]} makes it a 3-D convolution; legal: 2-D (no depth)")
    if "ih" not in given and "iw" in given:
        raise ValueError(f"descriptor {text!r}: iw without ih is a 1-D convolution; legal: 2-D (ih, and iw where it differs)")
    for token in ("ic", "oc", "ih", "kh"):
        if token not in given:
            raise ValueError(f"descriptor {text!r}: {token} is missing; needed: ic, oc, ih, kh")
    own_width = any(f"{letter}w" in given for letter in "iokspd")
    height = {letter: given.get(f"{letter}h") for letter in "iokspd"}
    width = {letter: given.get(f"{letter}w") for letter in "iokspd"} if own_width else height
    copied = "iksd" if width["o"] is not None else "iokspd"
    width = {letter: height[letter] if value is None and letter in copied else value for letter, value in width.items()}
    try:
        h, top, bottom, r, sh, dh = _axis("h", height)
        w, left, right, s, sw, dw = _axis("w", width)
        if right < 0 and "oh" in given and "ow" not in given and own_width:
            raise ValueError(f"ow is missing, and oh's {given['oh']} in its place leaves {-right} input columns unread; legal: give ow")
        problem = Conv2d(given.get("mb", 2), given["ic"], h, w, given["oc"], r, s, sh, sw, top, left, bottom, right, dh, dw, given.get("g", 1))
        return name.strip('"') if named else "", problem.checked()
    except ValueError as error:
        raise ValueError(f"descriptor {text!r}: {error}") from None


def _axis(axis, tokens):
    """(size, pad before, pad after, kernel, stride, dilation) from the tokens of one axis, None where not given."""
    size, kernel, outputs, pad = (tokens[letter] for letter in "ikop")
    stride = 1 if tokens["s"] is None else tokens["s"]
    dilation = (tokens["d"] or 0) + 1
    if stride < 1:
        raise ValueError(f"s{axis} = {stride}: must be 1 or more")
    if outputs is None:
        pad = pad or 0
        outputs = out_size(size, pad, pad, kernel, stride, dilation)
        if outputs < 1:
            return size, pad, pad, kernel, stride, dilation  # no output: `checked` says so
    elif outputs < 1:
        raise ValueError(f"o{axis} = {outputs}: must be 1 or more")
    needed = out_reach(outputs, kernel, stride, dilation) - size
    before = max(needed, 0) // 2 if pad is None else pad
    return size, before, needed - before, kernel, stride, dilation
