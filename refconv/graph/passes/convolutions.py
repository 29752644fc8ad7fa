"""A Conv of lines or maps by a constant weight runs on the kernels of this project: it is a "conv"."""

from refconv.elements import ELEMENTS

AXES = (3, 4)
"""Of the weights that there are kernels for: convolutions of lines are those of maps of one row."""


def name_convolutions(network):
    """Name those Conv steps, their weight and bias as parameters."""
    changed = {}
    for step in network.steps:
        constants = [network.constant(name) for name in step.sources[1:]]
        if step.op != "Conv" or not constants or any(array is None for array in constants):
            continue
        weight = constants[0]
        if weight.ndim in AXES and weight.dtype.name in ELEMENTS and 0 not in weight.shape:
            roles = dict(zip(("weight", "bias"), step.sources[1:], strict=False))
            given = {"dilations": None, "strides": None, "pads": None, "auto_pad": b"NOTSET", "group": 1, "kernel_shape": None, **step.attributes}
            changed[step.name] = step._replace(op="conv", sources=step.sources[:1], parameters=roles, attributes=given)
    return network.changed(changed)
