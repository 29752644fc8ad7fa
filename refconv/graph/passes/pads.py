"""A Pad of zeros around the rows and columns that a convolution reads is padding of that convolution:

conv(Pad(x))    conv(x) with the padding of both

where nothing else takes what is padded: exports of networks that were TensorFlow's are written so.
"""

import numpy as np

from refconv.graph.network import with_attributes


def fold_pads(network):
    """Fold all of them."""
    makers, takers, changed, labels = network.makers, network.takers(), {}, {}
    for step in network.steps:
        before = makers.get(step.sources[0]) if step.op == "conv" else None
        if before is None or before.op != "Pad" or len(takers[before.name]) > 1 or step.attributes["auto_pad"] not in (b"NOTSET", b"VALID"):
            continue
        rank = network.parameters[step.parameters["weight"]].ndim
        added = zeros_around(network, before, rank)
        if added is not None:
            own = step.attributes["pads"] if step.attributes["auto_pad"] == b"NOTSET" and step.attributes["pads"] else [0] * len(added)
            pads = [one + other for one, other in zip(own, added, strict=True)]
            changed[step.name] = with_attributes(step, pads=pads, auto_pad=b"NOTSET")._replace(sources=(before.sources[0], *step.sources[1:]))
            labels[step.name] = network.label_of_both(before, step, labels)
    return network.changed(changed, labels=labels)


def zeros_around(network, step, rank):
    """Begins and ends of a Pad of zeros of a tensor of that rank, of all axes but the first two; None where it pads these, or otherwise."""
    given, (pads, value, axes) = step.attributes, (*step.sources[1:], "", "", "")[:3]
    constants = {name: network.constant(name) for name in (pads, value, axes) if name}
    if given.get("mode", b"constant") != b"constant" or any(array is None for array in constants.values()) or given.get("value", 0.0):
        return None
    sides = constants.get(pads, given.get("pads"))
    if sides is None or (value and np.any(constants[value])):
        return None
    chosen = [axis % rank for axis in np.ravel(constants[axes]).tolist()] if axes else list(range(rank))
    if np.size(sides) != 2 * len(chosen) or len(set(chosen)) != len(chosen):
        return None
    around = np.zeros((2, rank), np.int64)
    around[:, chosen] = np.reshape(sides, (2, -1))
    return None if around[:, :2].any() or (around < 0).any() else around[:, 2:].ravel().tolist()
