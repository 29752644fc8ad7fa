"""Networks as data: `names()`, and `network(name)`, a Network with its graph of steps, sizes, parameters, MACs and published figures.

`build(name)` gives one of them weights, to be run.
"""

import difflib
from dataclasses import replace

from refconv.networks import convfirstnet, convnext, efficientnet, fasternet, isynet, mobilenet, regnet, resnet
from refconv.networks.built import BUILT_SIZE, BuiltNetwork, build_network
from refconv.networks.draft import Block
from refconv.networks.network_data import Network, Published
from refconv.networks.published import PUBLISHED

__all__ = ["Block", "BuiltNetwork", "Network", "Published", "build", "names", "network"]

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


def build(name, seed=0, size=BUILT_SIZE, batch=1, **options):
    """The network of that name with random weights, ready to run (extra `onnx`): a BuiltNetwork.

    seed: of the weights, which depend on nothing else; size: rows and columns of the image (None: the network's own), of `batch` images; options:
    of `refconv.load`, such as threads=. `build(name)(x)` runs it on this project's kernels, `build(name).to_onnx(path)` writes it for others.

    ValueError says what is wrong with an argument; ImportError without the package onnx.
    """
    return build_network(network(name), seed, size, batch, **options)
