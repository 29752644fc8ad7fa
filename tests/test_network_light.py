"""Nine real networks, with weights drawn at random, against onnx's own reference; a small one of today's blocks against onnxruntime, where that is.

The tolerance is one rounding of float32 a layer, relative to the largest output: depth * 2**-23.
"""

import numpy as np
import pytest
from light import FOLDER, NAMES, by_reference, light
from networks import blocks, by_onnx
from problems import few_shapes

import refconv
from refconv.graph.read import read_model

LARGE = ("bvlc_alexnet", "vgg19", "zfnet512")
"""Of 60 to 144 million weights, nearly all in their last matrices: their schedules are made, and they are not run."""


def within(made, expected, depth):
    """Whether an output has at most a rounding error a layer, relative to its largest."""
    assert np.ptp(expected) > 0
    return np.abs(made - expected).max() <= depth * np.finfo(np.float32).eps * np.abs(expected).max()


def layers(net):
    return sum(call.macs > 0 for call in net.schedule.calls)


def test_the_networks_are_there():
    assert len(NAMES) == 9
    assert set(LARGE) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_light(name):
    """What multiplies is what the reader of shapes counts, by a way of its own."""
    path = FOLDER / f"light_{name}.onnx"
    assert refconv.load(path).schedule.macs == read_model(str(path)).macs
    if name in LARGE:
        return
    model = light(name)
    net = refconv.load(model, threads=1)
    x = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    with few_shapes("float32"):
        made = net(x)
    assert within(made, by_reference(model, **{net.inputs[0]: x})[0], layers(net))


@pytest.mark.parametrize("sizes", [(1, 17, 22), (2, 32, 32)])
def test_blocks_of_today(sizes):
    model, (n, h, w) = blocks(), sizes
    x = np.random.default_rng(1).standard_normal((n, 3, h, w)).astype(np.float32)
    net, fused = (refconv.load(model, threads=1, fuse=fuse) for fuse in (False, True))
    with few_shapes("float32"):
        made = net(x)
        assert within(fused(x), made, layers(net))
    assert within(made, by_onnx(model, x=x)[0], layers(net))
    assert [call.op for call in fused.schedule.calls if call.block] == ["SeparableBlock + Add", "ConvNeXtBlock"]
    ops = [call.step.op for call in net.schedule.calls]
    assert [call.step.attributes.get("activation") for call in net.schedule.calls if call.step.op in ("conv", "product")] == [
        *("silu", "hardswish", "relu6", "relu", "hardsigmoid", None, None, "gelu", None, None),
    ]
    assert not {"BatchNormalization", "Add", "Erf", "Sigmoid"} & set(ops)
    runtime = pytest.importorskip("onnxruntime", reason="extra: bench")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert within(made, session.run(None, {"x": x})[0], layers(net))
