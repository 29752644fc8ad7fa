"""A product with 1 and a quotient by 1 are the tensor itself: torch's exporter multiplies by the factors that a function was not given."""

import numpy as np


def drop_ones(network):
    """Drop all of them that are no outputs."""
    instead, changed = {}, {}
    for step in network.steps:
        sources = tuple(instead.get(name, name) for name in step.sources)
        if sources != step.sources:
            changed[step.name] = step._replace(sources=sources)
        same = itself(network, step.op, sources)
        if same is not None and step.name not in network.outputs:
            instead[step.name] = same
    return network.changed(changed)


def itself(network, op, sources):
    """The source that a product or quotient with the other is to the last bit; None where it is none."""
    for name, other in (sources, sources[::-1])[: {"Mul": 2, "Div": 1}.get(op, 0)] if len(sources) == 2 else ():
        one = network.constant(other)
        if one is not None and one.shape == () and one.dtype.kind == "f" and np.all(one == 1):
            return name
    return None
