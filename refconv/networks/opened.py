"""A network that somebody names, opened to be run: by its name in refconv.networks, an ONNX file, or what is open already."""

from refconv.graph.read import is_file, parse_input_shape
from refconv.networks import BuiltNetwork, build
from refconv.ops.network import Net, load


def opened(network, *, batch=None, size=None, fuse=True, strict=False):
    """(Net, its name, the batch that is still to be chosen) of a network.

    network: the path of an ONNX file, a ModelProto, a name of refconv.networks.names(), or what refconv.load or refconv.networks.build returns.
    batch, size: of the image of a network by name (None: one image, of the network's own size); fuse, strict: as of refconv.load.
    """
    if isinstance(network, str) and not is_file(network):
        built = build(network, size=size, batch=1 if batch is None else batch, fuse=fuse)
        return built.net, network, None
    if size is not None:
        raise ValueError(f"size = {size}: must be None but for a network by name; legal for a file: input_shapes = NAME:SIZES")
    if isinstance(network, BuiltNetwork):
        return network.net, network.network.name, batch
    net = network if isinstance(network, Net) else load(network, fuse=fuse, strict=strict)
    return net, net.path or "network", batch


def given_shapes(net, input_shapes):
    """{input: shape} of input_shapes: such a dictionary, or texts "NAME:1x3x224x224", where the name of a single input may be left out."""
    if hasattr(input_shapes, "items"):
        return dict(input_shapes)
    given = {}
    for text in input_shapes:
        name, sizes = parse_input_shape(text)
        if not name and len(net.inputs) > 1:
            raise ValueError(f"input_shapes = {text!r}: must name one of the inputs: {', '.join(net.inputs)}")
        given[name or net.inputs[0]] = sizes
    return given
