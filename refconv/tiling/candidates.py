"""Tilings to choose from: the legal candidates of a problem, and the rule's choice with its reasons in numbers."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from refconv import host, kernels
from refconv.elements import element
from refconv.parts.staging import staged_count
from refconv.problem.conv import Conv2d
from refconv.tiling.checked import checked
from refconv.tiling.layers import ROWS, GroupedTiling, PointwiseTiling, most_rows
from refconv.tiling.shapes import slide_shape
from refconv.tiling.shapes import tail_of as tail
from refconv.weights.packed import MOST_VECTORS, ceil_div


class Choice(NamedTuple):
    """The kernel and tiling that the rule takes for a problem, and one line that says which cache holds what."""

    kernel: str
    tiling: Any
    explanation: str

    def __str__(self):
        return f"{self.kernel} {self.tiling}: {self.explanation}"


def _row(problem, kernel, lanes):
    if kernel is None:
        return kernels.choose(problem, lanes)
    if kernel not in kernels.KERNELS:
        raise ValueError(f"kernel {kernel!r}: must be {', '.join(kernels.KERNELS)}")
    kernels.KERNELS[kernel].check(problem, lanes)
    return kernels.KERNELS[kernel]


def tilings(problem, kernel=None, dtype=np.float32, target=None):
    """Yield the legal tilings of a problem that fit the registers, for its kernel or the one named; the rule's choice comes first.

    problem: a Conv2d, a PartialConv2d or a benchdnn descriptor. Tile heights from refconv.tiling.ROWS, every legal width, and for
    each block size one unit, the rule's, and all. ValueError names an unknown kernel or what the problem lacks for it.
    """
    problem = Conv2d.parse(problem) if isinstance(problem, str) else problem.checked()
    target, itemsize = target or host.target(), element(dtype).work.itemsize
    lanes = target.lanes(itemsize)
    row = _row(problem, kernel, lanes)
    rule = row.tiling(problem, itemsize, target)
    yield rule
    for candidate in _grid(rule, problem, lanes, target):
        if candidate != rule:
            yield checked(candidate, rule, problem, lanes)


def _grid(rule, problem, lanes, target):
    """Every combination of the choices for each field of the rule's tiling."""
    pixels = problem.n * problem.p * problem.q if isinstance(rule, PointwiseTiling) else problem.q
    k_group = problem.weight_shape[0] // problem.groups
    widths = range(1, min(MOST_VECTORS, ceil_div(k_group, lanes)) + 1) if hasattr(rule, "vectors") else (1,)
    slides = {(rule.taps, rule.stride), (1, 1), slide_shape(problem.s, problem.stride_w, problem.dilation_w)} if hasattr(rule, "taps") else {None}
    for vectors, slide in itertools.product(widths, sorted(slides, key=str)):
        most = most_rows(vectors, target) if slide is None else target.registers - slide[0] - 1
        if isinstance(rule, GroupedTiling):
            most = max(1, most // (rule.inputs + slide[1]))
        for rows in (rows for rows in ROWS if rows <= min(pixels, most)):
            fields = {"rows": [rows], "vectors": [vectors]}
            if slide is not None:
                fields.update(taps=[slide[0]], stride=[slide[1]])
            if hasattr(rule, "lines"):
                fields["lines"] = sorted({1, rule.lines, problem.p})
            if hasattr(rule, "pixels"):
                fields["pixels"] = sorted({rows, ceil_div(rule.pixels, rows) * rows})
            if hasattr(rule, "channels"):
                block = vectors * lanes
                channels = problem.c if slide is not None else k_group
                fields["channels"] = sorted({block, ceil_div(rule.channels, block) * block, ceil_div(channels, block) * block})
            if hasattr(rule, "ahead"):
                fields["ahead"] = sorted({0, rule.ahead})
            if hasattr(rule, "tail"):
                fields["tail"] = [tail(problem, vectors, lanes)]
            if hasattr(rule, "vectors_per_unit"):
                fields["vectors_per_unit"] = sorted({1, rule.vectors_per_unit})
            known = {name: values for name, values in fields.items() if name in rule._fields}
            for values in itertools.product(*known.values()):
                yield rule._replace(**dict(zip(known, values, strict=True)))


def choose(problem, dtype=np.float32, target=None):
    """The rule's Choice for a problem: kernel, tiling, and in one line the bytes of what each cache is meant to hold."""
    problem = Conv2d.parse(problem) if isinstance(problem, str) else problem.checked()
    target, itemsize = target or host.target(), element(dtype).work.itemsize
    row = kernels.choose(problem, target.lanes(itemsize))
    tiling = row.tiling(problem, itemsize, target)
    return Choice(row.name, tiling, _EXPLAIN[row.name](getattr(problem, "conv", problem), tiling, itemsize, target))


def _kib(size):
    return f"{size / 1024:.1f} KiB"


def _registers(tiling, target, weights):
    used = tiling.rows * getattr(tiling, "vectors", 1) + weights + 1
    return f"{tiling.rows} x {getattr(tiling, 'vectors', 1)} accumulators, {used} of {target.registers} registers"


def _explain_dense(conv, tiling, itemsize, target):
    lines = staged_count(min(tiling.lines, conv.p), conv.stride_h, conv.r, conv.dilation_h)
    staged = lines * staged_count(conv.q, conv.stride_w, conv.s, conv.dilation_w) * conv.c_group * itemsize
    block = conv.r * conv.s * conv.c_group * tiling.vectors * target.vector_bytes
    return (
        f"{_registers(tiling, target, tiling.vectors)}; {lines} staged input rows {_kib(staged)} and a block of weights {_kib(block)} "
        f"in L2 {_kib(target.l2_bytes)}"
    )


def _explain_pointwise(conv, tiling, itemsize, target):
    block = conv.c * tiling.vectors * target.vector_bytes
    return (
        f"{_registers(tiling, target, tiling.vectors)}; a block of weights {_kib(block)} beside {tiling.rows} pixels in L1 {_kib(target.l1_bytes)} "
        f"or L2, {tiling.pixels} pixels {_kib(tiling.pixels * conv.c * itemsize)} in L2 {_kib(target.l2_bytes)}"
    )


def _explain_depthwise(conv, tiling, itemsize, target):
    rows = conv.r * conv.w * min(conv.c, tiling.channels) * itemsize
    near = "L1" if rows <= target.l1_bytes else "L2"
    held = {"L1": target.l1_bytes, "L2": target.l2_bytes}[near]
    return f"{_registers(tiling, target, tiling.taps)}; {conv.r} input rows of {tiling.channels} channels {_kib(rows)} in {near} {_kib(held)}"


def _explain_grouped(conv, tiling, itemsize, target):
    pixels, weights = (tiling.rows - 1) * tiling.stride + tiling.taps, conv.r * tiling.inputs * conv.s * target.vector_bytes
    used = tiling.rows * tiling.inputs + pixels + 1
    return (
        f"{tiling.rows} x {tiling.inputs} accumulators, {used} of {target.registers} registers; {tiling.groups} groups a vector, "
        f"{tiling.groups * tiling.inputs} of {target.lanes(itemsize)} lanes; weights of a vector {_kib(weights)} in L1 {_kib(target.l1_bytes)}"
    )


def _explain_spread(conv, tiling, itemsize, target):
    columns = staged_count(tiling.rows, conv.stride_w, conv.s, conv.dilation_w)
    strip = conv.r * tiling.inputs * columns * target.vector_bytes
    weights = conv.r * tiling.inputs * conv.s * target.vector_bytes
    return (
        f"{_registers(tiling, target, tiling.taps)}; {tiling.groups} groups a vector, "
        f"{tiling.groups * tiling.outputs} of {target.lanes(itemsize)} lanes; "
        f"spread strip {_kib(strip)} and weights {_kib(weights)} in L1 {_kib(target.l1_bytes)}"
    )


_EXPLAIN = {
    "conv2d": _explain_dense,
    "partial": _explain_dense,
    "pointwise": _explain_pointwise,
    "depthwise": _explain_depthwise,
    "grouped": _explain_grouped,
    "spread": _explain_spread,
}
