"""ncnn: a layer as a few lines of its text format, in 32-bit floats throughout; float32 only, images one after another.

Two layouts: planes, as a user's arrays are, and packed, its own, with some channels of a pixel together, which is what its layers hand each other.
3x3 layers of stride 1 run by Winograd's algorithm unless told otherwise: those forms are marked, so that they can be listed apart.
"""

import functools
import os
import tempfile

import ncnn
import numpy as np

from refconv.bench.entry import Entry
from refconv.problem.conv import PartialConv2d

MAGIC = 7767517
"""The first line of ncnn's text format."""
PACKS = (16, 8, 4)
"""Channels that ncnn packs together: the most that divides their number, and that its vectors hold."""


def layer_entries(operands, threads):
    """{form: Entry} of a layer; none of another element type than float32."""
    if operands.dtype != np.float32:
        return {}
    conv = operands.conv
    winograd = (conv.r, conv.s, conv.stride_h, conv.stride_w, conv.dilation_h, conv.dilation_w) == (3, 3, 1, 1, 1, 1)
    entries = {}
    for by_winograd in (False, True) if winograd else (False,):
        network = Network(layer_lines(operands), [_weight_bytes(operands.weight)], threads, by_winograd)
        for layout in ("planes", "packed"):
            name = f"{layout} Winograd" if by_winograd else layout
            entries[name] = network.entry(operands.x, layout == "packed", by_winograd)
    return entries


def block_entries(record, x, threads):
    """{}: it is measured on layers alone."""
    return {}


def network_entries(model, x, threads):
    """{}: it reads no ONNX."""
    return {}


def layer_lines(operands):
    """The layers of the network as [(type, names of inputs, names of outputs, parameters)], from "x" to "y"."""
    problem, conv = operands.problem, operands.conv
    top, left, bottom, right = operands.sides
    parameters = {0: conv.k, 1: conv.s, 11: conv.r, 2: conv.dilation_w, 12: conv.dilation_h, 3: conv.stride_w, 13: conv.stride_h}
    parameters |= {4: left, 15: right, 14: top, 16: bottom, 5: 0, 6: operands.weight.size}
    kind = "Convolution"
    if conv.groups > 1:
        kind, parameters = "ConvolutionDepthWise", parameters | {7: conv.groups}
    if isinstance(problem, PartialConv2d) and problem.c > conv.c:
        return [
            ("Slice", ["x"], ["a", "b"], {-23300: f"2,{conv.c},{problem.c - conv.c}", 1: 0}),
            (kind, ["a"], ["c"], parameters),
            ("Concat", ["c", "b"], ["y"], {0: 0}),
        ]
    return [(kind, ["x"], ["y"], parameters)]


def _weight_bytes(weight):
    """A weight as a model file has it: four bytes that say 32-bit floats, then those."""
    return bytes(4) + np.ascontiguousarray(weight, np.float32).tobytes()


class Network:
    """A network of ncnn from "x" to "y".

    layers: as `layer_lines` gives them; weights: their bytes, in order.
    """

    def __init__(self, layers, weights, threads, winograd):
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads, options.use_winograd_convolution = threads, winograd
        self.pools = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()  # memory of one call for the next; as its own benchmark does
        options.blob_allocator, options.workspace_allocator = self.pools
        for name in dir(options):
            if name.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
                setattr(options, name, False)
        rows = [("Input", [], ["x"], {}), *layers]
        blobs = sum(len(outputs) for _, _, outputs, _ in rows)
        text = [str(MAGIC), f"{len(rows)} {blobs}"]
        for i, (kind, inputs, outputs, parameters) in enumerate(rows):
            words = [kind, f"l{i}", len(inputs), len(outputs), *inputs, *outputs, *[f"{key}={value}" for key, value in parameters.items()]]
            text.append(" ".join(map(str, words)))
        if self.net.load_param_mem("\n".join(text) + "\n") != 0:
            raise ValueError(f"ncnn does not take {text}")
        with tempfile.NamedTemporaryFile(delete=False) as file:  # its Python reads weights from files only
            file.write(b"".join(weights))
        try:
            if self.net.load_model(file.name) != 0:
                raise ValueError(f"ncnn does not take the weights of {text}")
        finally:
            os.unlink(file.name)

    def output(self, mat, packed):
        """The network's output for one image; packed: as its last layer gives it, else as planes."""
        extractor = self.net.create_extractor()
        extractor.input("x", mat)
        return extractor.extract("y", int(packed))[1]

    def entry(self, x, packed, winograd):
        """The Entry on x, NCHW, images one after another; packed: input and output in ncnn's own layout."""
        images = [ncnn.Mat(np.ascontiguousarray(image)).clone() for image in x]
        if packed:
            images = [self._packed(image) for image in images]
        outputs = lambda: [self.output(image, packed) for image in images]
        run = outputs if len(images) > 1 else functools.partial(self.output, images[0], packed)
        return Entry(run, lambda: np.stack([np.array(self._planes(output)) for output in outputs()]), winograd)

    def _packed(self, mat):
        """The same with as many channels together as ncnn itself would pack."""
        most = vector_bytes() // 4
        pack = next((pack for pack in PACKS if pack <= most and mat.c % pack == 0), 1)
        return ncnn.convert_packing(mat, pack, ncnn.Option())

    def _planes(self, mat):
        """The same as planes."""
        return ncnn.convert_packing(mat, 1, ncnn.Option())


@functools.cache
def vector_bytes():
    """Bytes of its vectors: as many floats as the channels that a layer of it packs together, where 64 are to be had."""
    weight = _weight_bytes(np.zeros((64, 64, 1, 1)))
    network = Network([("Convolution", ["x"], ["y"], {0: 64, 1: 1, 6: 64 * 64})], [weight], 1, False)
    return 4 * network.output(ncnn.Mat(np.zeros((64, 4, 4), np.float32)).clone(), packed=True).elempack
