"""Networks as data: `names()`, and `network(name)`, a Network with its graph of steps, sizes, parameters, MACs and published figures."""

import difflib
from dataclasses import replace

from refconv.networks import convfirstnet, convnext, efficientnet, fasternet, isynet, mobilenet, regnet, resnet
from refconv.networks.draft import Block
from refconv.networks.network import Network, Published
from refconv.networks.published import PUBLISHED

__all__ = ["Block", "Network", "Published", "names", "network"]

_FAMILIES = (resnet, regnet, mobilenet, efficientnet, convnext, fasternet, isynet, convfirstnet)
_NETWORKS = {known.name: replace(known, published=PUBLISHED.get(known.name, ())) for family in _FAMILIES for known in family.NETWORKS}


def names():
    """The names of all networks, family by family."""
    return tuple(_NETWORKS)


def network(name):
    """The Network of that name; ValueError says which names are most like it."""
    if isinstance(name, str) and name in _NETWORKS:
        return _NETWORKS[name]
    near = difflib.get_close_matches(str(name), _NETWORKS, n=5, cutoff=0.5)
    like = f"such as {', '.join(near)}" if near else "such as resnet50"
    raise ValueError(f"network {name!r}: must be one of refconv.networks.names(), {like}, or a file that ends in .onnx or .csv")
