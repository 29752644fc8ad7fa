"""onnxruntime: the graph of a layer or block alone, weights constant (prepacked at load), input and output bound in place; float32 only.

Its threads spin while they wait for work, which is its default; PAUSE_S of refconv/bench/measure.py is what lets them sleep.
"""

import numpy as np
import onnxruntime

from refconv.bench.entry import Entry
from refconv.bench.peers.onnx_models import block_model, layer_model


def layer_entries(operands, threads):
    """{form: Entry}; none of another element type than float32, for which its CPU provider has no Conv."""
    if operands.dtype != np.float32:
        return {}
    return {"bound": bound(layer_model(operands), operands.x, threads)}


def block_entries(record, x, threads):
    """{form: Entry} of a block, as of a layer."""
    if x.dtype != np.float32:
        return {}
    return {"bound": bound(block_model(record, x.shape), x, threads)}


def bound(model, x, threads):
    """The Entry of a serialised model of one output on x, the array that is its input, NCHW."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    y = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(made.shape, np.float32))
    binding.bind_ortvalue_input(given.name, onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output(made.name, y)
    run = lambda: session.run_with_iobinding(binding)

    def result():
        run()
        return y.numpy()

    return Entry(run, result)


def vector_bytes():
    """None: it does not tell."""
