"""OpenVINO: the graph of a layer or block compiled for its CPU plugin, float32 arithmetic, with tensors NCHW and NHWC; float32 only.

A model is compiled for latency, on one stream, and input and output are tensors on arrays of ours, which nothing copies.
"""

import numpy as np
import openvino

from refconv.bench.entry import Entry
from refconv.bench.peers import Operands
from refconv.bench.peers.onnx_models import block_model, layer_model
from refconv.problem.conv import Conv2d


def layer_entries(operands, threads):
    """{form: Entry} of a layer; none of another element type than float32."""
    if operands.dtype != np.float32:
        return {}
    return _entries(layer_model(operands), operands.x, threads)


def block_entries(record, x, threads):
    """{form: Entry} of a block, as of a layer."""
    if x.dtype != np.float32:
        return {}
    return _entries(block_model(record, x.shape), x, threads)


def network_entries(model, x, threads):
    """{form: Entry} of an onnx.ModelProto of one input and one output, float32."""
    return _entries(model.SerializeToString(), x, threads)


def _entries(model, x, threads):
    return {layout: compiled(model, x, threads, layout) for layout in ("NCHW", "NHWC")}


CORE = openvino.Core()


def compiled(model, x, threads, layout):
    """The Entry of a serialised ONNX model on x, NCHW; layout: that of the maps that it is given and gives."""
    network = CORE.read_model(model)
    last = layout == "NHWC"
    if last:
        steps = openvino.preprocess.PrePostProcessor(network)
        for end, value in ((steps.input(), network.inputs[0]), (steps.output(), network.outputs[0])):
            if len(value.partial_shape) == len("NHWC"):
                end.tensor().set_layout(openvino.Layout("NHWC"))
                end.model().set_layout(openvino.Layout("NCHW"))
        network = steps.build()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    request = CORE.compile_model(network, "CPU", settings).create_infer_request()
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1) if last else x)
    y = np.empty(request.model_outputs[0].shape, np.float32)
    tensors = [openvino.Tensor(array, shared_memory=True) for array in (x, y)]
    request.set_input_tensor(tensors[0])
    request.set_output_tensor(tensors[1])

    def run(tensors=tensors):  # they keep the arrays alive, which the request does not
        request.infer(share_outputs=True)

    def result():
        run()
        return y.transpose(0, 3, 1, 2) if last and y.ndim == len("NHWC") else y

    return Entry(run, result)


def vector_bytes():
    """Bytes of the vectors of the convolution that it chooses for a 3x3 layer of 64 channels, read from the name of its primitive."""
    network = CORE.read_model(layer_model(Operands(Conv2d(1, 64, 8, 8, 64, 3, 3, 1, 1, 1, 1, 1, 1), np.float32)))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    information = [node.get_rt_info() for node in CORE.compile_model(network, "CPU", settings).get_runtime_model().get_ops()]
    (primitive,) = (each["primitiveType"].get() for each in information if each["layerType"].get() == "Convolution")
    return next((size for word, size in (("avx512", 64), ("avx2", 32), ("sse", 16)) if word in primitive), None)
