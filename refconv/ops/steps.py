"""Graphs of steps (refconv/problem/steps.py) run step by step on arrays: each is one pass, by a kernel of this project or by NumPy."""

import functools

import numpy as np
from numba import typeof, types
from numpy.lib.stride_tricks import sliding_window_view

from refconv.elements import element
from refconv.frames import NativeCall
from refconv.jit import compiled, native, plain
from refconv.kernels.activation import activated
from refconv.operators.windows import axes_of
from refconv.ops.layers import conv2d, depthwise_conv2d, partial_conv2d
from refconv.ops.pools import pooler
from refconv.plan import flat
from refconv.problem.activations import ACTIVATIONS
from refconv.problem.pools import MapMean, Pool, in_kernels
from refconv.problem.steps import BLUR, matrix_shape
from refconv.weights.packed import empty


def run_graph(graph, x, threads=None):
    """The output of a graph for an NHWC array x: every step's output is a tensor of its own, of x's dtype."""
    options = {"layout": "NHWC", "threads": threads}

    def make(step, tensors):
        return _RUN[step.op](*tensors, {role: graph.array(step, role) for role in step.parameters}, step.attributes, options)

    return graph.run(x, make)


def _conv(x, parameters, attributes, options):
    weight = parameters["weight"].reshape(matrix_shape(parameters["weight"]))
    return conv2d(x, weight, parameters["bias"], attributes["stride"], attributes["pads"], 1, attributes["groups"], **options)


def _partial_conv(x, parameters, attributes, options):
    return partial_conv2d(x, parameters["weight"], parameters["bias"], **options)


def _norm(x, parameters, attributes, options):
    wide = x.astype(element(x.dtype).work)
    normed = (wide - wide.mean(axis=3, keepdims=True)) / np.sqrt(wide.var(axis=3, keepdims=True) + wide.dtype.type(attributes["eps"]))
    normed = normed * parameters["weight"] + (0 if parameters["bias"] is None else parameters["bias"])
    return normed.astype(x.dtype)


def _mean(x, parameters, attributes, options):
    n, h, w, c = x.shape
    if in_kernels(x.dtype):
        out = empty((n, 1, 1, c), x.dtype)
        pooler([x.reshape(-1)], out.reshape(-1), MapMean(n, h * w, c))()
        return out
    return x.astype(element(x.dtype).work).mean(axis=(1, 2), keepdims=True).astype(x.dtype)


def _response(x, parameters, attributes, options):
    wide = x.astype(element(x.dtype).work)
    norms = np.sqrt((wide * wide).sum(axis=(1, 2), keepdims=True))
    relative = norms / (norms.mean(axis=3, keepdims=True) + wide.dtype.type(attributes["eps"]))
    return (1 + relative * parameters["weight"]).astype(x.dtype)


def _max_pool(x, parameters, attributes, options):
    (top, left, bottom, right), size, stride = attributes["pads"], attributes["size"], attributes["stride"]
    if in_kernels(x.dtype):
        n, h, w, c = x.shape
        rows, columns = axes_of((h, w), (size, size), (stride, stride), attributes["pads"])
        out = empty((n, rows.count, columns.count, c), x.dtype)
        pooler([x.reshape(-1)], out.reshape(-1), Pool(n, c, rows, columns))()
        return out
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=x.dtype.type(-np.inf))
    return sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride].max(axis=(4, 5))


def _blur_pool(x, parameters, attributes, options):
    binomial = np.tile(BLUR, (x.shape[3], 1, 1, 1)).astype(x.dtype)
    return depthwise_conv2d(x, binomial, stride=2, **options)


def _pad(x, parameters, attributes, options):
    border = (attributes["border"],) * 2
    return np.pad(x, ((0, 0), border, border, (0, 0)), "reflect")


def _activation(x, parameters, attributes, options):
    """The activation of every element, by this project's instruction."""
    out = empty(x.shape, x.dtype)
    activator(x.reshape(-1), out.reshape(-1), attributes["kind"])()
    return out


def activator(x, out, kind):
    """A function of no arguments that computes an activation, by name, of the flat array x into the flat array out, which may be x itself."""
    static = ACTIVATIONS[kind]
    entry = compiled(activated, _activation_signature(x.dtype, static))
    bits = element(x.dtype).compiled if entry is not plain(activated) else x.dtype
    return functools.partial(entry, x.view(bits), out.view(bits), x.size, static)


def activating(x, out, kind):
    """What the function of `activator` does, as a NativeCall."""
    static = ACTIVATIONS[kind]
    return NativeCall(*native(activated, _activation_signature(x.dtype, static)), (x, out, x.size, static))


def _activation_signature(dtype, static):
    array = flat(dtype)
    return array, array, types.intp, typeof(static)


_RUN = {
    "conv": _conv,
    "partial_conv": _partial_conv,
    "norm": _norm,
    "mean": _mean,
    "max_pool": _max_pool,
    "blur_pool": _blur_pool,
    "pad": _pad,
    "concatenate": lambda x, y, parameters, attributes, options: np.concatenate([x, y], axis=3),
    "activation": _activation,
    "scale": lambda x, parameters, attributes, options: x * parameters["weight"],
    "shift": lambda x, parameters, attributes, options: x + parameters["bias"],
    "response": _response,
    "multiply": lambda x, gates, parameters, attributes, options: x * gates,
    "add": lambda x, y, parameters, attributes, options: x + y,
}
"""A step's output, by op, from the outputs of its sources, {role: array or None}, its attributes and the options of this project's functions."""
