"""Networks that stand as data, built: with random weights, as an ONNX model that this project and its peers run."""

import os
from functools import cached_property

from refconv.graph.onnx_writer import written
from refconv.networks.random_weights import random_parameters
from refconv.ops.network import check_options, load
from refconv.problem.conv import is_integer

BUILT_SIZE = 224
"""Rows and columns of the image by default."""


class BuiltNetwork:
    """A network with weights. Called as what `refconv.load` returns, on (batch, 3, size, size) NCHW; returns (batch, 1000).

    network: its data (refconv.networks.network); size, batch: of its input; model: the onnx.ModelProto, batch norms folded; net: what
    `refconv.load` makes of that, when it is first asked for.
    """

    def __init__(self, network, model, size, batch, options):
        self.network, self.model, self.size, self.batch, self._options = network, model, size, batch, options

    def __repr__(self):
        return f"BuiltNetwork({self.network.name}: [{self.batch}, 3, {self.size}, {self.size}] float32)"

    def __call__(self, *arrays, **named):
        return self.net(*arrays, **named)

    @cached_property
    def net(self):
        return load(self.model, **self._options)

    @property
    def schedule(self):
        """Every call, in order, and where its tensors lie: print it."""
        return self.net.schedule

    @property
    def peak_bytes(self):
        """Of `schedule`: bytes of tensors between steps and of workspace."""
        return self.net.peak_bytes

    def to_onnx(self, path):
        """Write the model to a file, weights in it. ValueError where the file cannot be written, TypeError where `path` is none."""
        import onnx

        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path of type {type(path).__name__}: must be the path of the file to write")
        try:
            onnx.save(self.model, os.fspath(path))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}") from None


def build_network(network, seed=0, size=BUILT_SIZE, batch=1, **options):
    """The BuiltNetwork of a Network; see `refconv.networks.build`."""
    if not is_integer(seed) or seed < 0:
        raise ValueError(f"seed = {seed!r}: must be an integer of 0 or more")
    if not is_integer(batch) or batch < 1:
        raise ValueError(f"batch = {batch!r}: must be an integer of 1 or more")
    check_options(**options)
    shape = network.shape(batch, size)
    network.steps(batch, size)  # raises where the size is not legal
    graph = network.graph._replace(parameters=random_parameters(network.graph, seed))
    return BuiltNetwork(network, written(graph, shape, classifies=True), shape[1], batch, options)
