"""Who is measured: this project and the peers that are installed, each in the forms it offers, given the same layer.

A contender takes a layer or block and returns {form: Entry} (refconv/bench/entry.py). What can be done beforehand is: weights packed, layouts
changed, outputs allocated. A peer with several forms is quoted by its best one. Each peer is a module of this package with

- layer_entries(operands, threads): its forms of a layer, {} where it has none of that element type;
- block_entries(record, x, threads): its forms of a residual block, a record of refconv/problem/blocks.py, on x, NCHW;
- vector_bytes(): the widest vectors that it says it uses, in this process; None if it does not tell.
"""

import importlib
import importlib.metadata
import importlib.util

import numpy as np

from refconv import reference
from refconv.bench.entry import Entry
from refconv.ops.layers import conv2d, partial_conv2d
from refconv.ops.prepare import prepare
from refconv.problem.conv import PartialConv2d
from refconv.weights.packed import empty

PEERS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "ncnn": ("ncnn",)}
"""The packages that each peer needs, its own first."""


class Operands:
    """Input NCHW and NHWC, weight and output of a layer: normal data, weights of variance 1 / (terms of a sum), so that outputs are of order 1."""

    def __init__(self, problem, dtype):
        rng = np.random.default_rng(0)
        problem = _without_unread(problem)
        self.problem, self.dtype = problem, np.dtype(dtype)
        self.conv = problem.conv if isinstance(problem, PartialConv2d) else problem
        self.x = rng.standard_normal((problem.n, problem.c, problem.h, problem.w)).astype(dtype)
        self.x_last = empty((problem.n, problem.h, problem.w, problem.c), dtype)  # on a cache line, as torch's tensors are
        self.x_last[...] = self.x.transpose(0, 2, 3, 1)
        self.weight = (rng.standard_normal(problem.weight_shape) / np.prod(problem.weight_shape[1:]) ** 0.5).astype(dtype)

    @property
    def sides(self):
        """Padding of the convolution: (top, left, bottom, right)."""
        return self.conv.pad_top, self.conv.pad_left, self.conv.pad_bottom, self.conv.pad_right

    @property
    def options(self):
        """Keyword arguments of the convolution beside input and weight, as refconv.conv2d and its definition take them."""
        conv = self.conv
        steps = {"stride": (conv.stride_h, conv.stride_w), "dilation": (conv.dilation_h, conv.dilation_w)}
        return {**steps, "padding": self.sides, "groups": conv.groups}

    def expected(self):
        """The output by the definition, float64."""
        if isinstance(self.problem, PartialConv2d):
            return reference.partial_conv2d(self.x, self.weight)
        return reference.conv2d(self.x, self.weight, **self.options)


def _without_unread(problem):
    """The problem without the bottom rows and right columns that a negative padding leaves unread: not every peer takes negative padding."""
    if isinstance(problem, PartialConv2d):
        return problem
    unread_h, unread_w = min(0, problem.pad_bottom), min(0, problem.pad_right)
    return problem._replace(
        h=problem.h + unread_h, w=problem.w + unread_w, pad_bottom=problem.pad_bottom - unread_h, pad_right=problem.pad_right - unread_w
    )


def _operation(operands, threads, layout):
    """(operation, arguments, options) of a layer with the output's memory given."""
    problem, last = operands.problem, layout == "NHWC"
    shape = (problem.n, problem.p, problem.q, problem.k) if last else (problem.n, problem.k, problem.p, problem.q)
    options = {"layout": layout, "out": empty(shape, operands.dtype), "threads": threads}
    arguments = operands.x_last if last else operands.x, operands.weight
    if isinstance(problem, PartialConv2d):
        return partial_conv2d, arguments, options
    return conv2d, arguments, {**options, **operands.options}


def call(operands, threads, layout="NHWC"):
    """The operation of a layer, called on NHWC or NCHW arrays."""
    operation, arguments, options = _operation(operands, threads, layout)
    return operation(*arguments, **options)


def ours(operands, threads, layout="NHWC"):
    """The Entry of this project: a prepared call, NHWC arrays in and out; or NCHW arrays, which pay the conversion."""
    operation, arguments, options = _operation(operands, threads, layout)
    x, prepared = arguments[0], prepare(operation, *arguments, **options)
    result = lambda: prepared(x).transpose(0, 3, 1, 2) if layout == "NHWC" else prepared(x)
    return Entry(lambda: prepared(x), result, measured=prepared.measured)


def peer(name):
    """The module of an installed peer, whose packages it imports."""
    return importlib.import_module(f"refconv.bench.peers.{name}")


def installed(wanted):
    """Names of the wanted peers that can be imported."""
    return [name for name in wanted if all(map(importlib.util.find_spec, PEERS[name]))]


def versions(names):
    """{name: version} of installed peers."""
    return {name: importlib.metadata.version(PEERS[name][0]) for name in names}
