"""Operators that compute an element of their output from the elements at its place, broadcast as NumPy's.

`out` may be the memory of the first operand, or of either of two, where that has its shape: an element is read before it is overwritten.
"""

import math

import numpy as np

from refconv.operators.types import in_work_type, numpy_type
from refconv.problem.activations import DEFINITIONS

_erf = np.vectorize(math.erf, otypes=[np.float64])


def ufunc(function):
    """An operator that is a function of NumPy."""
    return lambda *operands, out=None: function(*operands, out=out)


def folded(function):
    """An operator of one operand or more: a function of two, from the first on."""

    def run(*operands, out=None):
        result = operands[0]
        for other in operands[1:]:
            fits = out is not None and out.shape == np.broadcast_shapes(result.shape, other.shape)
            result = function(result, other, out=out if fits else None)
        return result

    return run


def wide(function):
    """An operator of one operand from a function of float64 or of the type of sums: halves are computed in float32."""
    return lambda x, **attributes: function(in_work_type(x), **attributes).astype(x.dtype)


def mean(*operands):
    """The mean of several arrays."""
    return (sum(operands[1:], start=operands[0]) / operands[0].dtype.type(len(operands))).astype(operands[0].dtype)


def div(a, b, *, out=None):
    """a / b; integers are rounded towards 0, as in C."""
    if a.dtype.kind not in "iu":
        return np.divide(a, b, out=out)
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient * b != a) & ((a < 0) != (b < 0))).astype(a.dtype)


def mod(a, b, *, fmod=0):
    """The remainder, with the sign of b, or where fmod is 1, of a."""
    return np.fmod(a, b) if fmod else np.mod(a, b)


def power(a, b):
    """a to the power b, of a's type."""
    return np.power(a, b).astype(a.dtype)


def bit_shift(a, b, *, direction):
    """a shifted by b bits, to the LEFT or RIGHT."""
    return np.left_shift(a, b) if direction == b"LEFT" else np.right_shift(a, b)


def clip(x, low=None, high=None, *, min=None, max=None, out=None):
    """x, at least low and at most high; before version 11 of the operators they are attributes."""
    low, high = (min if low is None else low), (max if high is None else high)
    result = x
    if low is not None:
        result = np.maximum(result, np.asarray(low, x.dtype), out=out)
    if high is not None:
        result = np.minimum(result, np.asarray(high, x.dtype), out=out)
    return result


def relu(x, *, out=None):
    """max(x, 0)."""
    return np.maximum(x, x.dtype.type(0), out=out)


def leaky_relu(x, *, alpha=0.01):
    """x, times alpha where it is below 0."""
    return np.where(x < 0, x * x.dtype.type(alpha), x)


def prelu(x, slope):
    """x, times slope where it is below 0."""
    return np.where(x < 0, x * slope, x)


def elu(x, *, alpha=1.0):
    """x, or alpha * (exp(x) - 1) where it is below 0."""
    return np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x)


def celu(x, *, alpha=1.0):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    a = x.dtype.type(alpha)
    return np.maximum(x, 0) + np.minimum(0, a * np.expm1(np.minimum(x, 0) / a))


def selu(x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    """gamma times the Elu of x."""
    return x.dtype.type(gamma) * np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x)


def thresholded_relu(x, *, alpha=1.0):
    """x where it is above alpha, else 0."""
    return np.where(x > alpha, x, x.dtype.type(0))


def shrink(x, *, bias=0.0, lambd=0.5):
    """x moved towards 0 by bias where it is further from it than lambd, else 0."""
    moved = np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))
    return moved.astype(x.dtype)


def hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    """alpha * x + beta, within 0 and 1."""
    return np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1).astype(x.dtype)


def defined(name):
    """An activation by its definition in float64 (refconv/problem/activations.py)."""
    return lambda x: DEFINITIONS[name](x.astype(np.float64)).astype(x.dtype)


def gelu(x, *, approximate=b"none"):
    """x * (1 + erf(x / sqrt(2))) / 2, or with approximate = tanh the form with a tanh."""
    return defined("gelu" if approximate == b"none" else "gelu_tanh")(x)


def swish(x, *, alpha=1.0):
    """x / (1 + exp(-alpha * x))."""
    return (x / (1 + np.exp(-alpha * x.astype(np.float64)))).astype(x.dtype)


def softplus(x):
    """log(1 + exp(x))."""
    return np.logaddexp(x, x.dtype.type(0))


def is_inf(x, *, detect_negative=1, detect_positive=1):
    """Whether an element is infinite, of the signs that are asked for."""
    return (np.isposinf(x) & bool(detect_positive)) | (np.isneginf(x) & bool(detect_negative))


def cast(x, *, to, saturate=1, round_mode="up"):
    """x as another type; saturate and round_mode say something of types of 8 bits alone."""
    return x.astype(numpy_type(to))


def where(condition, a, b):
    """a where the condition is true, else b."""
    return np.where(condition, a, b)


_NUMPY = {
    "Abs": np.abs,
    "Neg": np.negative,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Sign": np.sign,
    "Exp": np.exp,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "Tanh": np.tanh,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Not": np.logical_not,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "BitwiseNot": np.bitwise_not,
    "IsNaN": np.isnan,
}

TABLE = {
    **{op: ufunc(function) for op, function in _NUMPY.items()},
    **{op: folded(function) for op, function in {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}.items()},
    "Mean": mean,
    "Div": div,
    "Mod": mod,
    "Pow": power,
    "BitShift": bit_shift,
    "Reciprocal": lambda x: np.reciprocal(x),
    "Clip": clip,
    "Relu": relu,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink,
    "Sigmoid": defined("sigmoid"),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": defined("hardswish"),
    "Gelu": gelu,
    "Swish": swish,
    "Softplus": wide(softplus),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Mish": wide(lambda x: x * np.tanh(softplus(x))),
    "Erf": lambda x: _erf(x).astype(x.dtype),
    "IsInf": is_inf,
    "Cast": cast,
    "CastLike": lambda x, like, *, saturate=1, round_mode="up": x.astype(like.dtype),
    "Where": where,
}

IN_PLACE = {*_NUMPY, "Max", "Min", "Sum", "Div", "Clip", "Relu"}
"""Those that write straight to `out`, which may then be the memory of an operand that has the same shape and type."""
