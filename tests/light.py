"""The light graphs of the onnx wheel, whose weights are all one value, with weights drawn at random: nine real networks."""

import pathlib

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="extra: test")
import onnx.backend.test as backend_test  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx.reference.op_run import OpRun  # noqa: E402
from onnx.reference.ops.op_batch_normalization import _batchnorm_test_mode  # noqa: E402

FOLDER = pathlib.Path(backend_test.__file__).parent / "data" / "light"
NAMES = sorted(path.stem.removeprefix("light_") for path in FOLDER.glob("light_*.onnx"))


def light(name, seed=0):
    """A ModelProto whose ConstantOfShape nodes are weights: of matrices and convolutions with the variance that keeps activations' size.

    A Softmax at its end is left out: of numbers far apart it is 0 and 1.
    """
    model, random = onnx.load(FOLDER / f"light_{name}.onnx"), np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(shapes[node.input[0]])
        if len(shape) > 1:
            array = random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            array = random.uniform(0.5, 1.5, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    if kept[-1].op_type == "Softmax":
        model.graph.output[0].name = kept.pop().input[0]
        model.graph.output[0].type.tensor_type.ClearField("shape")
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


class BatchNormalization(OpRun):
    """At inference: onnx's reference takes one of an operator set before 14 for one in training."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, var, epsilon=None, momentum=None, training_mode=None):
        return (_batchnorm_test_mode(x, scale, bias, mean, var, epsilon=epsilon),)


class LRN(OpRun):
    """By its definition: onnx's reference sums the squares around as many channels as there are images, and takes 0 for the others."""

    op_domain = ""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        sums = np.zeros(x.shape)
        for c in range(x.shape[1]):
            sums[:, c] = (x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1].astype(np.float64) ** 2).sum(axis=1)
        return ((x / (bias + alpha / size * sums) ** beta).astype(np.float32),)


def by_reference(model, **inputs):
    """The outputs by onnx's reference implementation, but for two operators that it computes otherwise than it says."""
    return ReferenceEvaluator(model, new_ops=[BatchNormalization, LRN]).run(None, inputs)
