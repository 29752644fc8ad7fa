"""Networks that others have trained or written, by exporters of others, beside onnxruntime: where they are installed.

    rapidocr_onnxruntime   the three trained networks in its wheel, on rendered text at two sizes
    timm                   networks of its own code with random weights, exported by torch in several operator sets and in both of its ways

Both compute in float32, and a network rounds once a layer at least: each may be off by one rounding of the largest output for each convolution and
product, which is what refconv.bench demands of a contender against float64, so that the two may differ by two. 1.01 were seen.

Compared is what a last Softmax or Sigmoid takes: behind these, whose slope trained networks make steep, onnxruntime itself differs by ten times as
much with and without its optimisations.
"""

import contextlib
import importlib.util
import io
import pathlib
import warnings

import numpy as np
import pytest
from networks import onnx

import refconv

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def tolerance(model):
    """Of differences relative to the largest output."""
    return 2 * sum(node.op_type in PRODUCTS for node in model.graph.node) * float(np.finfo(np.float32).eps)


def without_last_activation(model):
    """The ModelProto up to what its output's Softmax or Sigmoid takes."""
    (output,) = model.graph.output
    maker = next(node for node in model.graph.node if output.name in node.output)
    if maker.op_type in ("Softmax", "Sigmoid"):
        output.name = maker.input[0]
        model.graph.node.remove(maker)
    return model


def check(model, images, **options):
    """The Net of a model, after it has given what onnxruntime gives of its graph as it is."""
    model = without_last_activation(model)
    runtime = pytest.importorskip("onnxruntime", reason="extra: bench")
    settings = runtime.SessionOptions()
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), settings)
    net = refconv.load(model, threads=1, **options)
    for x in images:
        (expected,) = session.run(None, {net.inputs[0]: x})
        made = net(x)
        assert made.shape == expected.shape
        assert np.abs(made - expected).max() <= tolerance(model) * np.abs(expected).max()
    return net


def text(height, width, *lines):
    """An image of lines of text, (1, 3, height, width), from -1 to 1."""
    pil = pytest.importorskip("PIL.Image", reason="extra: plot")
    from PIL import ImageDraw, ImageFont

    size = 2 * height // (3 * len(lines))
    image = pil.new("RGB", (width, height), (250, 248, 240))
    for i, line in enumerate(lines):
        place = size // 2, size // 4 + i * height // len(lines)
        ImageDraw.Draw(image).text(place, line, fill=(20, 20, 40), font=ImageFont.load_default(size))
    return (np.asarray(image, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None].copy()


TRAINED = {
    "ch_ppocr_mobile_v2.0_cls_infer": lambda: [
        text(48, 192, "Hello 42"),
        np.concatenate([text(48, 96, "abc"), text(48, 96, "xyz")[..., ::-1, ::-1]]),
    ],
    "ch_PP-OCRv4_rec_infer": lambda: [text(48, 128, "word"), text(48, 320, "A line of text")],
    "ch_PP-OCRv4_det_infer": lambda: [text(96, 160, "First", "line 2"), text(160, 224, "Several", "words on", "the page")],
}


@pytest.mark.parametrize("name", TRAINED)
def test_trained_networks_of_rapidocr(name):
    """Which way up text is, what it says, and where it is: weights that somebody trained, exported by PaddlePaddle."""
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    if found is None:
        pytest.skip("needs the package rapidocr_onnxruntime")
    check(onnx.load(pathlib.Path(found.submodule_search_locations[0]) / "models" / f"{name}.onnx"), TRAINED[name]())


def exported(name, opset, dynamo, size, tmp_path):
    """The ModelProto of a network of timm, its weights and statistics drawn."""
    torch = pytest.importorskip("torch", reason="extra: bench")
    timm = pytest.importorskip("timm", reason="extra: bench")
    if dynamo:
        pytest.importorskip("onnxscript", reason="extra: bench")
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False).eval()
    for module in net.modules():  # what begins as zeros and ones would hide a mistake
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if type(module).__name__ == "GlobalResponseNorm":
            torch.nn.init.normal_(module.weight, std=0.5)
            torch.nn.init.normal_(module.bias, std=0.1)
        if isinstance(getattr(module, "gamma", None), torch.nn.Parameter):
            torch.nn.init.uniform_(module.gamma, 0.3, 1.0)
    path = tmp_path / "net.onnx"
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = {"external_data": False} if dynamo else {}
        names = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(net, (torch.randn(1, 3, size, size),), str(path), opset_version=opset, dynamo=dynamo, **names, **more)
    return onnx.load(path)


EXPORTS = {
    # network: ((operator set, whether by the exporter "dynamo"), ...), blocks that must be found in it
    "convnext_atto": ([(17, False)], {"ConvNeXtBlock": 12}),
    "convnextv2_atto": ([(11, False), (17, False), (20, True)], {"ConvNeXtV2Block": 12}),
    "efficientnet_b0": ([(17, False)], {"SeparableBlock": 1, "MBConvBlock": 15}),
    "fasternet_t0": ([(13, False), (18, True)], {"FasterNetBlock": 13}),
    "mobilenetv2_100": ([(17, False)], {"SeparableBlock": 1, "MBConvBlock": 16}),
    "mobilenetv3_small_100": ([(11, False), (20, False), (18, True)], {"SeparableBlock": 1, "MBConvBlock": 10}),
    "regnety_008": ([(17, False)], {"MBConvBlock": 14}),
    "resnet18": ([(17, False)], {}),
    "tf_efficientnetv2_b0": ([(17, False)], {"FusedMBConvBlock": 4, "MBConvBlock": 16}),  # whose padding is TensorFlow's
}
SIZE = 96


@pytest.mark.parametrize(("name", "opset", "dynamo"), [(name, *way) for name, (ways, _) in EXPORTS.items() for way in ways])
def test_exports_of_timm(name, opset, dynamo, tmp_path):
    """Blocks are found in what its code makes; the network is computed as load has it by default."""
    model = exported(name, opset, dynamo, SIZE, tmp_path)
    x = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    check(model, [x])
    calls = refconv.load(model, fuse="always").schedule_for(x.shape).calls
    found = [type(call.step.attributes["record"]).__name__ for call in calls if call.block]
    assert {kind: found.count(kind) for kind in dict.fromkeys(found)} == EXPORTS[name][1]
