"""Networks as data: `names()`, and `network(name)`, a Network with its graph of steps, sizes, parameters, MACs and published figures."""

import difflib

from refconv.networks import convnext, efficientnet, fasternet, isynet, mobilenet, resnet
from refconv.networks.draft import Block
from refconv.networks.network import Network, Published

__all__ = ["Block", "Network", "Published", "names", "network"]

_NETWORKS = {known.name: known for family in (resnet, mobilenet, efficientnet, convnext, fasternet, isynet) for known in family.NETWORKS}


def names():
    """The names of all networks, family by family."""
    return tuple(_NETWORKS)


def network(name):
    """The Network of that name; ValueError lists the names, those most like it first."""
    if isinstance(name, str) and name in _NETWORKS:
        return _NETWORKS[name]
    near = difflib.get_close_matches(str(name), _NETWORKS, n=5, cutoff=0.5)
    raise ValueError(f"network {name!r}: must be {', '.join([*near, *(known for known in _NETWORKS if known not in near)])}")
