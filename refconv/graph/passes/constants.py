"""What is made of constants alone is a constant."""

import numpy as np

from refconv.operators import bound
from refconv.operators.types import NotSupported


def fold_constants(network):
    """Compute every step whose sources are all parameters."""
    known = dict(network.parameters)
    for step in network.steps:
        if step.sources and all(source in known or not source for source in step.sources):
            array = computed(network, step, [known[source] if source else None for source in step.sources])
            if array is not None:
                known[step.name] = array
    return network.changed({}, known)


def computed(network, step, arrays):
    """A step's tensor, None where its operator cannot do what is asked for (which is reported where it is to run); ValueError says what is wrong."""
    given = dict(step.attributes)
    which, outputs = given.pop("output", 0), given.pop("outputs", 1)
    try:
        function, _ = bound(step.op, given, network.opset, outputs)
        with np.errstate(all="ignore"):
            made = function(*arrays)
    except NotSupported:
        return None
    except Exception as error:  # whatever NumPy says of sizes and types that do not fit
        raise ValueError(f"{network.label(step)} of {', '.join(map(described, arrays))}: {error}") from None
    return np.asarray(made[which] if isinstance(made, tuple) else made)


def described(array):
    """An array's sizes and type."""
    return "nothing" if array is None else f"{list(array.shape)} {array.dtype}"
