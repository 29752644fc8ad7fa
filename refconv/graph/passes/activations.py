"""Activations of this project by their names, written as one operator or composed of several:

silu         x * Sigmoid(x)
hardswish    x * HardSigmoid(x), x * Clip(x + 3, 0, 6) / 6
gelu         x * (Erf(x / sqrt(2)) + 1) / 2, the factors in any order
gelu_tanh    x * (Tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)) + 1) / 2, likewise
"""

import math

import numpy as np

from refconv.problem.steps import Step

HARD = (1 / 6, 0.5)
"""alpha and beta of the HardSigmoid that is torch's, up to the rounding of exporters."""
MOST_FACTORS = 6
"""How deeply products within products are read."""


def name_activations(network):
    """Name them all."""
    makers, steps = network.makers, {}
    for step in network.steps:
        found = single(network, step) or composed(Reader(network, {**makers, **steps}), step)
        if found is not None:
            kind, x = found
            steps[step.name] = Step(step.name, "activation", (x,), attributes={"kind": kind})
    return network.changed(steps)


def single(network, step):
    """(kind, source) of an operator that is an activation, else None."""
    given, x = step.attributes, step.sources[0] if step.sources else ""
    plain = {"Relu": "relu", "Sigmoid": "sigmoid", "HardSwish": "hardswish"}.get(step.op)
    if plain:
        return plain, x
    if step.op == "Clip":
        low, high = (scalar(network, name) for name in (*step.sources[1:], "", "")[:2])
        low, high = given.get("min", low), given.get("max", high)
        return ("relu6", x) if (low, high) == (0, 6) else None
    if step.op == "HardSigmoid":
        return ("hardsigmoid", x) if np.allclose((given.get("alpha", 0.2), given.get("beta", 0.5)), HARD, rtol=1e-6, atol=0) else None
    if step.op == "Swish":
        return ("silu", x) if given.get("alpha", 1.0) == 1 else None
    if step.op == "Gelu":
        return ("gelu_tanh" if given.get("approximate") == b"tanh" else "gelu"), x
    return None


def scalar(network, name):
    """The one number of a parameter, None where it is none."""
    array = network.constant(name)
    return array.ravel()[0].item() if array is not None and array.size == 1 and array.ndim < 2 and array.dtype.kind == "f" else None


class Reader:
    """Steps read as terms: a product as its factors, a sum as its summands."""

    def __init__(self, network, steps):
        self.network, self.steps = network, steps

    def op(self, name, op):
        """The step that makes `name`, where it is of that op."""
        step = self.steps.get(name)
        return step if step is not None and step.op == op else None

    def factors(self, name, kept, depth=0):
        """(number, names) of a product of scalars and tensors, however it is bracketed; tensors in `kept` stay as they are."""
        step = self.steps.get(name)
        number = scalar(self.network, name)
        if number is not None:
            return number, []
        if name in kept or step is None or step.op not in ("Mul", "Div") or depth == MOST_FACTORS:
            return 1.0, [name]
        (a, left), (b, right) = (self.factors(source, kept, depth + 1) for source in step.sources)
        if step.op == "Mul":
            return a * b, left + right
        return (a / b, left) if not right and b else (1.0, [name])

    def plus(self, name):
        """(tensor, number) of a sum of a tensor and a scalar, else (name, 0)."""
        step = self.op(name, "Add")
        for x, other in (step.sources, step.sources[::-1]) if step is not None else ():
            number = scalar(self.network, other)
            if number is not None:
                return x, number
        return name, 0.0


def close(a, b):
    """Whether two numbers are equal up to the rounding of an exporter."""
    return math.isclose(a, b, rel_tol=1e-4)


def composed(reader, step):
    """(kind, source) of a product that is an activation of one of its factors, else None."""
    if step.op not in ("Mul", "Div"):
        return None
    for kind, inner in (("silu", _sigmoid), ("hardswish", _hard), ("gelu", _erf), ("gelu_tanh", _tanh)):
        number, names = reader.factors(step.name, ())
        for i, gate in enumerate(names):
            rest = names[:i] + names[i + 1 :]
            factor, x = inner(reader, gate)
            if x is None:
                continue
            own, factors = reader.factors(x, ())  # x may be a product itself, whose factors have been taken apart
            if sorted(factors) == sorted(rest) and close(number * factor, own):
                return kind, x
    return None


def _sigmoid(reader, name):
    step = reader.op(name, "activation")
    return (1.0, step.sources[0]) if step is not None and step.attributes["kind"] == "sigmoid" else (0, None)


def _hard(reader, name):
    """A HardSigmoid, or 6 of them as Clip(x + 3, 0, 6)."""
    step = reader.op(name, "activation")
    if step is not None and step.attributes["kind"] == "hardsigmoid":
        return 1.0, step.sources[0]
    if step is not None and step.attributes["kind"] == "relu6":
        x, number = reader.plus(step.sources[0])
        return (6.0, x) if number == 3 else (0, None)
    return 0, None


def _erf(reader, name):
    """2 (1 + erf(x / sqrt(2))) / 2."""
    inner, number = reader.plus(name)
    step = reader.op(inner, "Erf") if number == 1 else None
    return (2.0, _scaled(reader, step.sources[0], math.sqrt(0.5))) if step is not None else (0, None)


def _scaled(reader, name, by):
    """x where a tensor is x times a number, else None."""
    step = reader.steps.get(name)
    if step is None or step.op not in ("Mul", "Div"):
        return None
    for x, other in (step.sources, step.sources[::-1])[: 2 if step.op == "Mul" else 1]:
        number = scalar(reader.network, other)
        if number is not None and close(number if step.op == "Mul" else 1 / (number or math.inf), by):
            return x
    return None


def _tanh(reader, name):
    """2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    inner, number = reader.plus(name)
    step = reader.op(inner, "Tanh") if number == 1 else None
    argument = None if step is None else _scaled(reader, step.sources[0], math.sqrt(2 / math.pi))
    total = None if argument is None else reader.op(argument, "Add")
    for x, other in (total.sources, total.sources[::-1]) if total is not None else ():
        cubed, factors = reader.factors(other, (x,))
        raised = reader.op(factors[0], "Pow") if len(factors) == 1 else None
        power = raised is not None and raised.sources[0] == x and (exponent := reader.network.constant(raised.sources[1])) is not None
        if close(cubed, 0.044715) and (factors == [x] * 3 or (power and exponent.size == 1 and exponent.ravel()[0] == 3)):
            return 2.0, x
    return 0, None
