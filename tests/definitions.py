"""Steps of a graph by the definitions of refconv/reference.py, NCHW and float64."""

import numpy as np

from refconv import reference

by_channel = lambda vector: np.asarray(vector, np.float64)[:, None, None]


def make(graph):
    """A step's output by the definitions of refconv/reference.py, NCHW and float64."""

    def conv(x, step, weight, bias):
        stride, weight = step.attributes["stride"], weight[:, :, None, None] if weight.ndim == 2 else weight
        strides = stride if isinstance(stride, tuple) else (stride, stride)
        return reference.conv2d(x, weight, bias, strides, step.attributes["pads"], (1, 1), step.attributes["groups"])

    def blurred(x):
        binomial = np.tile(np.outer([1, 2, 1], [1, 2, 1]) / 16, (x.shape[1], 1, 1, 1))
        return reference.depthwise_conv2d(x, binomial, stride=(2, 2))

    ops = {
        "conv": conv,
        "partial_conv": lambda x, step, weight, bias: reference.partial_conv2d(x, weight, bias),
        "norm": lambda x, step, weight, bias: reference.layer_norm(x, weight, bias, step.attributes["eps"]),
        "mean": lambda x, step, *_: x.mean(axis=(2, 3), keepdims=True),
        "max_pool": lambda x, step, *_: reference.max_pool(x, *(step.attributes[name] for name in ("size", "stride", "pads"))),
        "blur_pool": lambda x, step, *_: blurred(x),
        "pad": lambda x, step, *_: np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect"),
        "concatenate": lambda x, y, step, *_: np.concatenate([x, y], axis=1),
        "activation": lambda x, step, *_: reference.activate(x, step.attributes["kind"]),
        "scale": lambda x, step, weight, bias: x * by_channel(weight),
        "shift": lambda x, step, weight, bias: x + by_channel(bias),
        "response": lambda x, step, weight, bias: reference.response_gates(x, weight, step.attributes["eps"]),
        "multiply": lambda x, gates, step, *_: x * gates,
        "add": lambda x, y, step, *_: x + y,
    }
    return lambda step, tensors: ops[step.op](*tensors, step, graph.array(step, "weight"), graph.array(step, "bias"))
