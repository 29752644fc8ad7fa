"""Models read: real graphs against their own arithmetic, every trap as a small graph."""

import configparser
import importlib.util
import math
import pathlib

import numpy as np
import pytest
from graphs import FLOAT, INT64, TensorProto, conv, helper, onnx, save
from onnx import numpy_helper

from refconv import Conv2d, PartialConv2d
from refconv.graph.model import ModelLayer
from refconv.graph.read import read_model

LIGHT = sorted((pathlib.Path(onnx.__file__).parent / "backend/test/data/light").glob("light_*.onnx"))


def classifier():
    """The trained classifier that comes in a wheel; skips where the wheel is not installed."""
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    if spec is None:
        pytest.skip("rapidocr-onnxruntime is not installed")
    return pathlib.Path(spec.submodule_search_locations[0]) / "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"


def shapes_of(model):
    """{name: sizes} by onnx's shape inference alone."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return shapes


def arithmetic(model):
    """Multiply-adds of Conv and Gemm nodes from inferred shapes: outputs times the weight's elements of one output channel."""
    shapes, macs = shapes_of(model), []
    for node in model.graph.node:
        if node.op_type == "Conv":
            macs.append(math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:]))
        if node.op_type == "Gemm":
            weight = math.prod(shapes[node.input[1]])
            macs.append(math.prod(shapes[node.output[0]]) * weight // shapes[node.output[0]][-1])
    return macs


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_real_graphs_have_their_own_arithmetic(path):
    model = read_model(str(path))
    assert [layer.problem.macs for layer in model.layers] == arithmetic(onnx.load(path))
    nodes = [node for node in onnx.load(path).graph.node if node.op_type not in ("Conv", "Gemm")]
    assert len(model.others) == len(nodes)
    batched = read_model(str(path), batch=4)
    assert [layer.problem for layer in batched.layers] == [layer.problem._replace(n=4 * layer.problem.n) for layer in model.layers]
    assert len(LIGHT) == 9


def test_resnet50_is_the_one_everybody_quotes():
    model = read_model(str(next(path for path in LIGHT if path.stem == "light_resnet50")))
    convs = [layer.problem for layer in model.layers if layer.op == "Conv"]
    assert len(convs) == 53
    assert sum(conv.macs for conv in convs) == 4_087_136_256
    assert sum(layer.problem.macs for layer in model.layers) == 4_087_136_256 + 2048 * 1000


def test_a_trained_classifier_with_symbolic_shapes():
    path = classifier()
    with pytest.raises(ValueError, match=r"node Conv@0 \(Conv\): the shape of x is not known .*input_shapes = x:1x3x224x224"):
        read_model(str(path))
    model, graph = read_model(str(path), ["x:2x3x48x192"]), onnx.load(path)
    for dim, size in zip(graph.graph.input[0].type.tensor_type.shape.dim, (2, 3, 48, 192), strict=True):
        dim.dim_value = size
    del graph.graph.output[0].type.tensor_type.shape.dim[:]
    convs = [layer.problem.macs for layer in model.layers if layer.op == "Conv"]
    assert convs == arithmetic(graph)
    assert len(convs) == 53
    head = model.layers[-1]
    assert (head.op, head.bias, head.problem) == ("MatMul-Add", True, Conv2d(2, 200, 1, 1, 2, 1, 1))


def layers_of(*arguments, shapes=(), **options):
    """[(op, problem)] of a graph written by `save`."""
    return [(layer.op, layer.problem) for layer in read_model(save(*arguments, **options), shapes).layers]


def inferred(path):
    """The shape of y by onnx."""
    return shapes_of(onnx.load(path))["y"]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("size", [7, 8, 13])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (4, 1, 1), (2, 3, 1), (3, 2, 2), (1, 4, 1)])
def test_auto_pad(tmp_path, auto_pad, size, kernel, stride, dilation):
    node = conv(auto_pad=auto_pad, strides=[stride, 1], dilations=[dilation, 1])
    ((_, problem),) = layers_of(tmp_path / "m.onnx", [node], {"x": [1, 4, size, 9]}, {"w": (8, 4, kernel, 3)})
    assert [problem.n, problem.k, problem.p, problem.q] == inferred(tmp_path / "m.onnx")
    less, more = (problem.pad_top, problem.pad_bottom) if auto_pad != "SAME_LOWER" else (problem.pad_bottom, problem.pad_top)
    assert 0 <= more - less <= 1
    if auto_pad in ("VALID", "NOTSET"):
        assert (problem.pad_top, problem.pad_left, problem.pad_bottom, problem.pad_right) == (0, 0, 0, 0)


def test_four_sided_pads_groups_dilations_and_no_kernel_shape(tmp_path):
    node = conv(pads=[1, 2, 3, 0], strides=[2, 1], dilations=[1, 2], group=2)
    layers = layers_of(tmp_path / "m.onnx", [node], {"x": [2, 4, 9, 11]}, {"w": (6, 2, 3, 5)})
    assert layers == [("Conv", Conv2d(2, 4, 9, 11, 6, 3, 5, 2, 1, 1, 2, 3, 0, 1, 2, 2))]
    assert [2, 6, layers[0][1].p, layers[0][1].q] == inferred(tmp_path / "m.onnx")


def zeros(name, sizes):
    """Nodes that make a constant tensor without an initializer."""
    shape = helper.make_node("Constant", [], [f"{name}_shape"], value=helper.make_tensor("s", INT64, [len(sizes)], sizes))
    return [shape, helper.make_node("ConstantOfShape", [f"{name}_shape"], [name])]


BEHIND = {
    "Constant": [helper.make_node("Constant", [], ["w"], value=helper.make_tensor("t", FLOAT, [8, 4, 3, 3], [0.0] * 288))],
    "ConstantOfShape": zeros("w", [8, 4, 3, 3]),
    "Identity": [*zeros("u", [8, 4, 3, 3]), helper.make_node("Identity", ["u"], ["w"])],
    "DequantizeLinear": [
        helper.make_node("Constant", [], ["u"], value=helper.make_tensor("t", TensorProto.INT8, [8, 4, 3, 3], [1] * 288)),
        helper.make_node("Constant", [], ["scale"], value=helper.make_tensor("s", FLOAT, [], [0.5])),
        helper.make_node("DequantizeLinear", ["u", "scale"], ["w"]),
    ],
}


@pytest.mark.parametrize("how", BEHIND)
def test_weights_behind_other_nodes(tmp_path, how):
    """Of a Conv, and of a MatMul, where only that the operand is constant makes it a layer."""
    model = read_model(save(tmp_path / "m.onnx", [*BEHIND[how], conv(pads=[1, 1, 1, 1])], {"x": [1, 4, 6, 6]}))
    assert [layer.problem for layer in model.layers] == [Conv2d(1, 4, 6, 6, 8, 3, 3, 1, 1, 1, 1, 1, 1)]
    assert {node.remark for node in model.others} == {"known before the run"}
    matrix = [helper.make_node("Flatten", ["w"], ["m"], axis=1), helper.make_node("MatMul", ["x", "m"], ["y"])]
    layers = layers_of(tmp_path / "m.onnx", [*BEHIND[how], *matrix], {"x": [2, 5, 7, 8]})
    assert layers == [("MatMul", Conv2d(2, 8, 5, 7, 36, 1, 1))]


def test_symbolic_batch_and_sizes(tmp_path):
    path = save(tmp_path / "m.onnx", [conv()], {"x": ["N", 4, "H", "W"]}, {"w": (8, 4, 3, 3)})
    for shapes, batch in (((), None), ((), 2)):
        with pytest.raises(ValueError, match=r"m.onnx: node c \(Conv\): the shape of x is not known \(.*x4x\?x\?\): give input_shapes = x:"):
            read_model(path, shapes, batch)
    whole = Conv2d(3, 4, 10, 12, 8, 3, 3)
    for shapes in (["x:3x4x10x12"], ["3x4x10x12"]):
        assert [layer.problem for layer in read_model(path, shapes).layers] == [whole]
    assert [layer.problem for layer in read_model(path, ["x:1x4x10x12"], 3).layers] == [whole]
    only_batch = save(tmp_path / "b.onnx", [conv()], {"x": ["N", 4, 10, 12]}, {"w": (8, 4, 3, 3)})
    assert [layer.problem for layer in read_model(only_batch, batch=3).layers] == [whole]
    for shapes, text in ((["y:1x4x10x12"], "no such input; legal: x"), (["x:4x10x12"], "x has 4 dimensions"), (["x:1x4x10x0"], "must be NAME:1x3")):
        with pytest.raises(ValueError, match=text):
            read_model(path, shapes)


def test_a_batch_in_the_graph_is_scaled(tmp_path):
    """Windows folded into the batch, as attention over windows does: 4 rows of the product an image."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "m"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": [2, 4, 9, 16]}, {"s": [8, 9, 16], "m": (16, 32)}, rank=[None] * 3)
    assert read_model(path).layers[0].problem == Conv2d(8, 16, 1, 9, 32, 1, 1)
    assert read_model(path, batch=1).layers[0].problem == Conv2d(4, 16, 1, 9, 32, 1, 1)
    assert read_model(path, batch=5).layers[0].problem == Conv2d(20, 16, 1, 9, 32, 1, 1)
    odd = save(tmp_path / "o.onnx", [helper.make_node("MatMul", ["x", "m"], ["y"])], {"x": [2, 16]}, {"m": (16, 32)}, rank=[None] * 2)
    assert read_model(odd, batch=3).layers[0].problem == Conv2d(3, 16, 1, 1, 32, 1, 1)


def test_sizes_that_onnx_does_not_carry_through(tmp_path):
    """Shape, Cast to 32 bits, Slice, Concat, Reshape: as PaddlePaddle's exporter writes a flatten."""
    constants = {"zero": [0], "one": [1], "all": [-1], "m": (36, 5)}
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["s32"], to=TensorProto.INT32),
        helper.make_node("Slice", ["s32", "zero", "one", "zero"], ["n32"]),
        helper.make_node("Cast", ["n32"], ["n"], to=INT64),
        helper.make_node("Concat", ["n", "all"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["flat"]),
        helper.make_node("Gemm", ["flat", "m"], ["y"], name="fc"),
    ]
    model = read_model(save(tmp_path / "m.onnx", nodes, {"x": [3, 4, 3, 3]}, constants, rank=[None] * 2))
    assert [layer.problem for layer in model.layers] == [Conv2d(3, 36, 1, 1, 5, 1, 1)]
    assert [(node.op, node.elements) for node in model.others] == [(op, 0) for op in ("Shape", "Cast", "Slice", "Cast", "Concat", "Reshape")]


PRODUCTS = {
    "classifier": (["x", "m"], [4, 16], (16, 10), {}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
    "tokens": (["x", "m"], [2, 49, 16], (16, 10), {}, Conv2d(2, 16, 1, 49, 10, 1, 1)),
    "channels last": (["x", "m"], [2, 7, 5, 16], (16, 10), {}, Conv2d(2, 16, 7, 5, 10, 1, 1)),
    "channels first": (["m", "x"], [2, 16, 49], (10, 16), {}, Conv2d(2, 16, 1, 49, 10, 1, 1)),
    "Gemm transposed": (["x", "m"], [4, 16], (10, 16), {"transB": 1}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
    "Gemm of a transposed input": (["x", "m"], [16, 4], (16, 10), {"transA": 1}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_are_pointwise_layers(tmp_path, case):
    inputs, x, m, attributes, problem = PRODUCTS[case]
    op = "Gemm" if attributes else "MatMul"
    node = helper.make_node(op, inputs, ["y"], **attributes)
    assert layers_of(tmp_path / "m.onnx", [node], {"x": x}, {"m": m}, rank=[None] * len(x)) == [(op, problem)]
    assert problem.macs == math.prod(inferred(tmp_path / "m.onnx")) * 16


def test_a_matrix_for_each_channel_and_a_vector_are_layers(tmp_path):
    """Channels of a map side by side, each with a matrix of its own; a vector is a matrix of one column."""
    nodes = [
        conv("c"),
        helper.make_node("MatMul", ["c", "m"], ["a"], name="batched"),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="vector"),
    ]
    constants = {"w": (8, 4, 1, 1), "m": (8, 5, 6), "v": (6,)}
    model = read_model(save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 5, 5]}, constants, rank=[None] * 3))
    assert [(layer.name, layer.problem) for layer in model.layers[1:]] == [
        ("batched", Conv2d(1, 40, 1, 5, 48, 1, 1, groups=8)),
        ("vector", Conv2d(1, 6, 8, 5, 1, 1, 1)),
    ]
    assert model.others == ()


def test_a_product_of_activations_is_listed_and_a_bias_belongs_to_its_product(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "m"], ["a"], name="q"),
        helper.make_node("Add", ["b", "a"], ["c"], name="bias"),
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["c", "t"], ["y"], name="attention"),
    ]
    model = read_model(save(tmp_path / "m.onnx", nodes, {"x": [2, 9, 16]}, {"m": (16, 8), "b": (8,)}, rank=[None] * 3))
    assert model.layers == (ModelLayer("q", "MatMul-Add", Conv2d(2, 16, 1, 9, 8, 1, 1), True),)
    assert [(node.name, node.elements, node.remark) for node in model.others] == [
        ("t", 2 * 2 * 9 * 8, "no kernel"),
        ("attention", 2 * (9 * 8 + 8 * 9 + 9 * 9), "no constant operand"),
    ]
    assert model.elements == 2 * 9 * 16 + 16 * 8 + 2 * 9 * 8 + sum(node.elements for node in model.others)


def split(**attributes):
    """FasterNet's partial convolution as its authors' code exports it."""
    return [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
        conv("d", "a", pads=attributes.pop("pads", [1, 1, 1, 1]), **attributes),
        helper.make_node("Concat", ["d", "b"], ["y"], axis=1),
    ]


SLICES = [
    helper.make_node("Slice", ["x", "zero", "six", "axis"], ["a"]),
    helper.make_node("Slice", ["x", "six", "end", "axis"], ["b"]),
    conv("d", "a", pads=[1, 1, 1, 1]),
    helper.make_node("Concat", ["d", "b"], ["y"], axis=-3),
]
CONSTANTS = {"w": (6, 6, 3, 3), "sizes": [6, 18], "zero": [0], "six": [6], "end": [2**63 - 1], "axis": [1]}


def test_partial_convolutions(tmp_path):
    whole = PartialConv2d(1, 24, 9, 9, 6, 3, 3)
    for nodes, op in ((split(), "Split-Conv-Concat"), (SLICES, "Slice-Conv-Concat")):
        model = read_model(save(tmp_path / "m.onnx", nodes, {"x": [1, 24, 9, 9]}, CONSTANTS))
        assert model.layers == (ModelLayer("c", op, whole),)
        assert model.others == ()
    old = [helper.make_node("Split", ["x"], ["a", "b"], axis=1, split=[6, 18]), *split()[1:]]
    assert layers_of(tmp_path / "m.onnx", old, {"x": [1, 24, 9, 9]}, CONSTANTS, opset=11) == [("Split-Conv-Concat", whole)]


BROKEN = {
    "no padding": ([*split(pads=[0, 0, 0, 0])[:2], helper.make_node("Relu", ["b"], ["e"]), helper.make_node("Neg", ["d"], ["y"])], 1),
    "stride": ([*split(pads=[1, 1, 1, 1], dilations=[2, 2])[:2], helper.make_node("Neg", ["d"], ["y"])], 1),
    "joined the other way": ([*split()[:2], helper.make_node("Concat", ["b", "d"], ["y"], axis=1)], 2),
    "the rest is changed": ([*split()[:2], helper.make_node("Relu", ["b"], ["e"]), helper.make_node("Concat", ["d", "e"], ["y"], axis=1)], 3),
    "the rest is used twice": ([*split(), helper.make_node("Relu", ["b"], ["e"])], 3),
    "slices that overlap": ([SLICES[0], helper.make_node("Slice", ["x", "zero", "end", "axis"], ["b"]), *SLICES[2:]], 3),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_only_looks_like_a_partial_convolution_is_not(tmp_path, case):
    nodes, others = BROKEN[case]
    model = read_model(save(tmp_path / "m.onnx", nodes, {"x": [1, 24, 9, 9]}, CONSTANTS))
    assert [layer.op for layer in model.layers] == ["Conv"]
    assert len(model.others) >= others


@pytest.mark.parametrize(("pads", "mode", "folds"), [([0, 0, 2, 1, 0, 0, 0, 3], "constant", True), ([0, 0, 2, 1, 0, 0, 0, 3], "reflect", False)])
def test_a_pad_before_a_conv(tmp_path, pads, mode, folds):
    nodes = [helper.make_node("Pad", ["x", "pads"], ["p"], mode=mode), conv(x="p", pads=[1, 1, 1, 1])]
    model = read_model(save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 8, 8]}, {"w": (8, 4, 3, 3), "pads": pads}))
    if folds:
        assert model.layers == (ModelLayer("c", "Pad-Conv", Conv2d(1, 4, 8, 8, 8, 3, 3, 1, 1, 3, 2, 1, 4)),)
        assert model.others == ()
    else:
        assert model.layers[0].problem == Conv2d(1, 4, 10, 12, 8, 3, 3, 1, 1, 1, 1, 1, 1)
        assert [node.op for node in model.others] == ["Pad"]


def test_silu_is_one_node_and_norms_are_listed(tmp_path):
    nodes = [
        conv("a"),
        helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["n"]),
        helper.make_node("Sigmoid", ["n"], ["g"]),
        helper.make_node("Mul", ["n", "g"], ["y"]),
    ]
    model = read_model(save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 5, 5]}, {"w": (8, 4, 1, 1), "s": (8,)}))
    assert [(node.op, node.elements) for node in model.others] == [("BatchNormalization", 2 * 200 + 8), ("SiLU", 2 * 200)]


def test_weights_in_files_of_their_own_are_not_read(tmp_path):
    path = save(tmp_path / "m.onnx", [conv()], {"x": [1, 4, 5, 5]}, {"w": (8, 4, 3, 3)})
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((8, 4, 3, 3), np.float32), "w"))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert read_model(path).layers[0].problem == Conv2d(1, 4, 5, 5, 8, 3, 3)


def test_functions_are_opened_and_subgraphs_named(tmp_path):
    path = save(tmp_path / "m.onnx", [helper.make_node("Layer", ["x", "w"], ["y"], domain="mine")], {"x": [1, 4, 5, 5]}, {"w": (8, 4, 3, 3)})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    body = [helper.make_node("Conv", ["a", "b"], ["o"])]
    model.functions.append(helper.make_function("mine", "Layer", ["a", "b"], ["o"], body, [helper.make_opsetid("", 17)]))
    onnx.save(model, path)
    assert [layer.problem for layer in read_model(path).layers] == [Conv2d(1, 4, 5, 5, 8, 3, 3)]
    branches = [helper.make_graph([helper.make_node(op, ["c"], ["o"])], op, [], [helper.make_empty_tensor_value_info("o")]) for op in ("Relu", "Neg")]
    for branch in branches:
        branch.output[0].CopyFrom(helper.make_tensor_value_info("o", FLOAT, [1, 8, 3, 3]))
    nodes = [conv("c"), helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])]
    path = save(tmp_path / "i.onnx", nodes, {"x": [1, 4, 5, 5], "flag": []}, {"w": (8, 4, 3, 3)})
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.BOOL
    onnx.save(model, path)
    (node,) = read_model(path).others
    assert (node.op, node.remark) == ("If", "its subgraphs are not read")


def test_without_onnx_the_error_names_the_extra(tmp_path, monkeypatch):
    import sys

    path = save(tmp_path / "m.onnx", [conv()], {"x": [1, 4, 5, 5]}, {"w": (8, 4, 3, 3)})
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"m\.onnx: reading ONNX graphs needs the package onnx; legal: pip install onnx \(the extra onnx\)"):
        read_model(path)
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(pathlib.Path(__file__).parent.parent / "setup.cfg")
    assert setup["options.extras_require"]["onnx"].strip().startswith("onnx >=")
