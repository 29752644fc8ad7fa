"""Operators that onnxruntime makes when it optimises a graph, as the operators of ONNX that they stand for; other passes then read these.

Source: onnxruntime, docs/ContribOperators.md. Outputs that say something for training are refused.
"""

from refconv.operators.types import NotSupported
from refconv.problem.steps import Step

DOMAIN = "com.microsoft."
ATTRIBUTES = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Clip": ("min", "max"), "Elu": ("alpha",)}
"""Names of what stands in `activation_params`, in order."""


class Chain:
    """Steps one after another that make one tensor: the last has its name."""

    def __init__(self, step):
        self.step, self.steps, self.at = step, [], ""

    def then(self, op, *sources, **attributes):
        """Add a step of the tensor so far, or of the first source where there is none, and of others."""
        sources = sources if not self.steps else (self.at, *sources)
        self.at = f"{self.step.name} after {op} {len(self.steps)}"
        self.steps.append(Step(self.at, op, sources, attributes=attributes))
        return self

    def done(self):
        """The steps."""
        return [*self.steps[:-1], self.steps[-1]._replace(name=self.step.name)]


def _activated(chain, given):
    kind = given.get("activation", b"").decode()
    if kind:
        values = given.get("activation_params") or [given[f"activation_{name}"] for name in ("alpha", "beta") if f"activation_{name}" in given]
        chain.then(kind, **dict(zip(ATTRIBUTES.get(kind, ()), values, strict=False)))
    return chain.done()


def _without_activation(given):
    return {name: value for name, value in given.items() if not name.startswith("activation")}


def fused_conv(step):
    """activation(Conv(x, w, b) + z)"""
    chain = Chain(step).then("Conv", *_trimmed(step.sources[:3]), **_without_activation(step.attributes))
    if len(step.sources) > 3:
        chain.then("Add", step.sources[3])
    return _activated(chain, step.attributes)


def fused_gemm(step):
    """activation(Gemm(a, b, c))"""
    return _activated(Chain(step).then("Gemm", *step.sources, **_without_activation(step.attributes)), step.attributes)


def biased(op, **attributes):
    """An activation of x + bias, the bias being optional."""

    def expand(step):
        if len(step.sources) == 1:
            return Chain(step).then(op, *step.sources, **attributes).done()
        return Chain(step).then("Add", *step.sources).then(op, **attributes).done()

    return expand


def quick_gelu(step):
    """x / (1 + exp(-alpha x))"""
    return Chain(step).then("Swish", *step.sources, alpha=step.attributes.get("alpha", 1.702)).done()


def skipped(op):
    """A normalisation of x + skip + bias; the fourth output is the sum."""

    def expand(step):
        inputs, which = [*step.sources, "", "", ""], step.attributes.get("output", 0)
        scales = _trimmed(inputs[2:4] if op == "LayerNormalization" else inputs[2:3])
        bias = inputs[4] if op == "LayerNormalization" else inputs[3]
        chain = Chain(step).then("Add", *inputs[:2])
        if bias:
            chain.then("Add", bias)
        if which == 3:
            return chain.done()
        if which:
            raise NotSupported("its mean and deviation")
        return chain.then(op, *scales, axis=-1, epsilon=step.attributes.get("epsilon", 1e-12)).done()

    return expand


def _trimmed(names):
    """Names up to the last that is not empty."""
    names = list(names)
    while names and not names[-1]:
        names.pop()
    return names


EXPANDED = {
    f"{DOMAIN}FusedConv": fused_conv,
    f"{DOMAIN}FusedGemm": fused_gemm,
    f"{DOMAIN}Gelu": biased("Gelu"),
    f"{DOMAIN}BiasGelu": biased("Gelu"),
    f"{DOMAIN}FastGelu": biased("Gelu", approximate=b"tanh"),
    f"{DOMAIN}QuickGelu": quick_gelu,
    f"{DOMAIN}SkipLayerNormalization": skipped("LayerNormalization"),
    f"{DOMAIN}SkipSimplifiedLayerNormalization": skipped("RMSNormalization"),
    "SimplifiedLayerNormalization": lambda step: [step._replace(op="RMSNormalization")],
}
"""The steps that stand for one of an operator, by operator."""


def expand_microsoft(network):
    """Replace each by those steps."""
    changed, labels = {}, {}
    for step in network.steps:
        if step.op in EXPANDED:
            try:
                changed[step.name] = EXPANDED[step.op](step)
            except NotSupported as error:
                raise ValueError(f"{network.label(step)}: {error}: there is nothing that makes it") from None
            labels.update((made.name, network.labels.get(step.name, step.op)) for made in changed[step.name])
    return network.changed(changed, labels=labels)
