"""Networks built with random weights: the model written computes what the data says, with its MACs; without onnx these are skipped."""

import importlib.util

import numpy as np
import pytest
from definitions import make
from tiny_network import TINY

onnx = pytest.importorskip("onnx", reason="extra: test")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from refconv.graph.onnx_writer import OPSET, written  # noqa: E402
from refconv.graph.read import read_model  # noqa: E402
from refconv.networks import build, names, network  # noqa: E402
from refconv.networks.built import build_network  # noqa: E402
from refconv.networks.random_weights import BRANCH, random_parameters  # noqa: E402
from refconv.problem.steps import CONVOLUTIONS  # noqa: E402

SMALL = (
    "resnet18",
    "regnety_008",
    "mobilenetv2",
    "mobilenetv3_small",
    "efficientnet_b0",
    "convnext_atto",
    "fasternet_t0",
    "isynet_n1",
    "convfirstnet_pico",
)


def images(batch, size):
    return np.random.default_rng(1).standard_normal((batch, 3, size, size)).astype(np.float32)


def by_peer(model, x):
    """The output of a model by onnxruntime, where there is one, else by onnx's own reference."""
    if importlib.util.find_spec("onnxruntime") is None:
        return ReferenceEvaluator(model).run(None, {"input": x})[0]
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]


@pytest.mark.parametrize("name", names())
def test_the_model_has_the_macs_that_are_declared(name, tmp_path):
    """Counted from the file, of which only shapes are read: convolutions and products, and blur pools, which the data does not count."""
    known = network(name)
    shape = known.shape(2, 96)
    bare = lambda array, name: onnx.TensorProto(name=name, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
    model = written(known.graph, shape, classifies=True, tensor=lambda array, name: bare(array, name) if array.size > 8 else _whole(array, name))
    onnx.save(model, tmp_path / "bare.onnx")
    read = read_model(str(tmp_path / "bare.onnx"))
    blurs = [sized.problem.macs for sized in known.steps(2, 96).values() if sized.step.op == "blur_pool"]
    assert read.macs == 2 * known.macs(96) + sum(blurs)
    assert bool(blurs) == (known.family == "ConvFirstNet")
    convolutions = [sized for sized in known.steps().values() if sized.step.op in CONVOLUTIONS]
    assert len(read.layers) == len(convolutions) + len(blurs)


def _whole(array, name):
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)


@pytest.mark.parametrize("name", SMALL)
def test_the_model_computes_what_the_data_says(name):
    """Beside the definitions in float64, and no tensor on the way is large or vanishes. Rounding: some 1e-7 a convolution, of up to a hundred."""
    size = 32
    built = build(name, size=size)
    onnx.checker.check_model(built.model, full_check=True)
    onnx.shape_inference.infer_shapes(built.model, check_type=True, strict_mode=True, data_prop=True)
    clips = {name for node in built.model.graph.node if node.op_type == "Clip" for name in node.input[1:]}
    assert all(not tensor.dims for tensor in built.model.graph.initializer if tensor.name in clips)
    (opset,) = built.model.opset_import
    assert (opset.domain, opset.version) == ("", OPSET)
    graph = built.network.graph._replace(parameters=random_parameters(built.network.graph, 0))
    apply, sizes = make(graph), {}

    def noted(step, tensors):
        out = apply(step, tensors)
        sizes[step.name] = np.sqrt(np.mean(out * out))
        return out

    x = images(1, size)
    expected = graph.run(x, noted)[:, :, 0, 0]
    assert all(0.03 < sizes[step.name] < 6 for step in graph.steps if step.op in (*CONVOLUTIONS, "add")), sizes
    found = by_peer(built.model, x)
    assert found.shape == (1, 1000)
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def test_the_model_of_a_network_runs_here(tmp_path):
    """Called as it is, and from the file that it writes."""
    built = build_network(TINY, seed=3, size=8, batch=2)
    x = images(2, 8)
    y = built(x, threads=1)
    assert np.allclose(y, by_peer(built.model, x), atol=1e-5)
    assert built.schedule.macs == 2 * TINY.macs()
    assert built.peak_bytes == built.schedule.peak_bytes > 0
    built.to_onnx(tmp_path / "tiny.onnx")
    assert onnx.load(tmp_path / "tiny.onnx") == built.model
    assert repr(built) == "BuiltNetwork(tiny: [2, 3, 8, 8] float32)"
    with pytest.raises(ValueError, match=r"absent/tiny\.onnx: No such file"):
        built.to_onnx(tmp_path / "absent" / "tiny.onnx")


def test_weights_follow_from_the_seed_alone():
    arrays = lambda **options: [tensor.SerializeToString() for tensor in build("mobilenetv3_small", **options).model.graph.initializer]
    first = arrays(size=32)
    assert first == arrays(size=64, batch=3)
    assert first != arrays(size=32, seed=1)
    assert build("convfirstnet_pico", size=None).size == 256
    assert build("mobilenetv3_small").model.graph.input[0].type.tensor_type.shape.dim[2].dim_value == 224


def test_filters_have_the_norm_that_keeps_the_size():
    """1 over the root of what is read, by draws 1 for an image, one half after a ReLU; BRANCH of that before a sum."""
    arrays = random_parameters(network("resnet18").graph, 7)
    norm = lambda name: np.linalg.norm(arrays[f"{name}_weight"].reshape(len(arrays[f"{name}_weight"]), -1), axis=1)
    assert norm("stem.0.conv") == pytest.approx(np.full(64, 1), rel=0.05)
    assert norm("stage1.0.conv2") == pytest.approx(np.full(64, BRANCH / np.sqrt(0.5)), rel=0.05)
    assert set(arrays) == set(network("resnet18").graph.parameters)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "resnet51"}, "network 'resnet51': must be one of"),
        ({"seed": -1}, "seed = -1: must be an integer of 0 or more"),
        ({"seed": "1"}, "seed = '1': must be an integer"),
        ({"size": 31}, "size = 31: not legal for convnext_atto: .*; size must be 32 or more"),
        ({"fuse": "x"}, "fuse = 'x': must be True, False or always"),
        ({"threads": 0}, "threads = 0: must be"),
        ({"batch": 0}, "batch = 0: must be an integer of 1 or more"),
    ],
)
def test_bad_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        build(**{"name": "convnext_atto", **arguments})


def test_without_onnx_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install onnx \(the extra onnx\)"):
        build("mobilenetv3_small", size=32)
