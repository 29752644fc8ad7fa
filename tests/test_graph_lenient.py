"""ONNX graphs that are read leniently: unknown operators, layers without a kernel, what onnx's checker refuses. What can be counted is."""

import re

import pytest
from graphs import FLOAT, INT64, TensorProto, conv, helper, info, onnx, write

from refconv import Conv2d
from refconv.graph.read import read_model

MICROSOFT, NCHWC = "com.microsoft", "com.microsoft.nchwc"
FIRST, SECOND = Conv2d(1, 4, 8, 8, 8, 3, 3), Conv2d(1, 8, 6, 6, 16, 3, 3)
WEIGHTS = {"w": (8, 4, 3, 3), "v": (16, 8, 3, 3), "b": (8,)}


def read(path, nodes, constants=(), **options):
    """The Model of nodes on a 1x4x8x8 input x."""
    return read_model(write(path, nodes, [info("x", [1, 4, 8, 8])], {**WEIGHTS, **dict(constants)}, **options))


@pytest.mark.parametrize("declared", [True, False])
def test_onnxruntimes_fused_convolution_is_a_layer(tmp_path, declared):
    """With bias, activation, and a fourth operand that is added; the operator set may even go unnamed."""
    nodes = [
        helper.make_node("FusedConv", ["x", "w", "b"], ["c"], name="f", domain=MICROSOFT, activation="Relu", strides=[1, 1]),
        helper.make_node("FusedConv", ["c", "p", "", "c"], ["d"], name="g", domain=MICROSOFT, activation="Relu"),
        conv("y", "d", "v"),
    ]
    model = read(tmp_path / "m.onnx", nodes, {"p": (8, 8, 1, 1)}, domains=[MICROSOFT] if declared else [])
    assert [(layer.op, layer.problem, layer.bias) for layer in model.layers] == [
        ("FusedConv", FIRST, True),
        ("FusedConv", Conv2d(1, 8, 6, 6, 8, 1, 1), False),
        ("Conv", SECOND, False),
    ]
    assert [(node.name, node.elements) for node in model.others] == [("g: c", 8 * 36)]


@pytest.mark.parametrize("op", ["Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedMatMul", "SkipLayerNormalization"])
def test_onnxruntimes_operators_hide_nothing_behind_them(tmp_path, op):
    inputs = {"BiasGelu": ["c", "b"], "FusedMatMul": ["c", "m"], "SkipLayerNormalization": ["c", "c", "b"]}.get(op, ["c"])
    nodes = [conv("c"), helper.make_node(op, inputs, ["g"], domain=MICROSOFT), conv("y", "g", "v")]
    model = read(tmp_path / "m.onnx", nodes, {"m": (6, 6)}, domains=[MICROSOFT])
    assert [layer.problem for layer in model.layers if layer.op == "Conv"] == [FIRST, SECOND]
    if op == "FusedMatMul":
        assert model.layers[1].problem == Conv2d(1, 6, 8, 6, 6, 1, 1)
    else:
        (node,) = model.others
        assert (node.op, node.macs, node.elements is None) == (f"{MICROSOFT}.{op}", None if op.startswith("Skip") else 0, False)


def test_blocks_of_channels_are_listed_with_their_macs(tmp_path):
    """As onnxruntime saves a graph that it has optimized for a CPU."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="n", domain=NCHWC, activation="Relu", strides=[1, 1]),
        helper.make_node("MaxPool", ["c"], ["p"], domain=NCHWC, kernel_shape=[1, 1]),
        helper.make_node("ReorderOutput", ["p"], ["r"], domain=NCHWC, channels=5),
        helper.make_node("Conv", ["r", "v"], ["y"], name="c"),
    ]
    model = read(tmp_path / "m.onnx", nodes, {"v": (16, 5, 3, 3)}, domains=[NCHWC])
    assert [layer.problem for layer in model.layers] == [Conv2d(1, 5, 6, 6, 16, 3, 3)]
    listed = [(node.op, node.remark, node.macs) for node in model.others]
    assert listed[0] == (f"{NCHWC}.Conv", "no kernel", FIRST.macs)
    assert [macs for *_, macs in listed[1:]] == [0, 0]


def test_an_operator_of_no_one_known_leaves_the_rest(tmp_path):
    nodes = [conv("c"), helper.make_node("Mystery", ["c"], ["m"], domain="mine"), conv("d", "m", "v"), conv("e", "c", "v"), conv("y", "c", "v")]
    model = read(tmp_path / "m.onnx", nodes, outputs=("y", "d", "e"))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND, SECOND]
    assert [(node.op, node.remark, node.macs) for node in model.others] == [
        ("mine.Mystery", "no kernel", None),
        ("Conv", "the shape of m is not known (no dimension)", None),
    ]
    model = read(tmp_path / "m.onnx", [conv("c"), helper.make_node("Invented", ["c"], ["m"]), conv("y", "c", "v")], outputs=("y", "m"))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND]
    assert [(node.op, node.macs) for node in model.others] == [("Invented", None)]


@pytest.mark.parametrize(("x", "w", "dimensions"), [([1, 4, 9], (8, 4, 3), 1), ([2, 4, 5, 5, 5], (8, 4, 3, 3, 3), 3)])
def test_convolutions_of_other_dimensions_are_listed(tmp_path, x, w, dimensions):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="odd"),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["y"]),
    ]
    channels = 8 * (x[2] - 2) ** dimensions
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", x)], {"w": w, "m": (channels, 10)}))
    assert [layer.problem for layer in model.layers] == [Conv2d(x[0], channels, 1, 1, 10, 1, 1)]
    macs = x[0] * channels * 4 * 3**dimensions
    odd = model.others[0]
    assert (odd.name, odd.op, odd.remark, odd.macs) == ("odd", "Conv", f"a {dimensions}-D convolution: no kernel", macs)
    assert odd.elements == x[0] * 4 * x[2] ** dimensions + 32 * 3**dimensions + x[0] * channels
    alone = write(tmp_path / "a.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], name="odd")], [info("x", x)], {"w": w})
    with pytest.raises(ValueError, match=rf"has no layer among its 1 nodes: .*; has odd \(Conv\): a {dimensions}-D convolution"):
        read_model(alone)


def changed(path, change):
    """Rewrite a file with its ModelProto changed."""
    model = onnx.load(path)
    change(model)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
    return str(path)


def no_output_shape(model):
    model.graph.output[0].type.tensor_type.ClearField("shape")


def no_output_type(model):
    model.graph.output[0].ClearField("type")


def no_data(model):
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")


def unknown_attribute(model):
    model.graph.node[0].attribute.append(helper.make_attribute("onnx_torch_scope", "layer1"))


def unsorted(model):
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def no_opset(model):
    del model.opset_import[:]


def new_version(model):
    model.ir_version = 99


def half_the_data(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.raw_data = bytes(2 * 8 * 4 * 3 * 3)


HARMLESS = {
    no_output_shape: (),
    no_output_type: (),
    no_data: (),
    unknown_attribute: ("c (Conv): ignored what is no attribute of it: onnx_torch_scope",),
    unsorted: (),
    no_opset: ("the file does not say its version of the operators: 17 is assumed",),
    new_version: (),
}


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.__name__)
def test_harmless_flaws_are_read_over(tmp_path, change):
    path = write(tmp_path / "m.onnx", [conv("c"), conv("y", "c", "v")], [info("x", [1, 4, 8, 8])], WEIGHTS)
    model = read_model(changed(path, change))
    problems = [FIRST, SECOND]
    assert sorted(layer.problem for layer in model.layers) == sorted(problems)
    assert model.notes == HARMLESS[change]


def test_an_input_without_shape_asks_for_one_that_works(tmp_path):
    """The advice is followed: for a convolution of other than 3 channels, in groups, and for a matrix."""
    cases = [
        (conv("y", "x", "w"), {"w": (8, 4, 3, 3)}, "input_shapes = x:1x4x224x224", Conv2d(1, 4, 224, 224, 8, 3, 3)),
        (conv("y", "x", "w", group=2), {"w": (8, 4, 3, 3)}, "input_shapes = x:1x8x224x224", Conv2d(1, 8, 224, 224, 8, 3, 3, groups=2)),
        (helper.make_node("MatMul", ["x", "w"], ["y"], name="c"), {"w": (12, 5)}, "input_shapes = x:1x12", Conv2d(1, 12, 1, 1, 5, 1, 1)),
        (helper.make_node("Gemm", ["x", "w"], ["y"], name="c", transB=1), {"w": (5, 12)}, "input_shapes = x:1x12", Conv2d(1, 12, 1, 1, 5, 1, 1)),
    ]
    for node, constants, advice, problem in cases:
        for value in (info("x", None), onnx.ValueInfoProto(name="x")):
            path = write(tmp_path / "m.onnx", [node], [value], constants)
            with pytest.raises(ValueError, match=re.escape(f"the shape of x is not known (no dimension): give {advice}")):
                read_model(path)
            model = read_model(path, [advice.split()[2]])
            assert [layer.problem for layer in model.layers] == [problem]


def test_only_the_inputs_that_are_needed_are_asked_for(tmp_path):
    nodes = [conv("c"), helper.make_node("Mystery", ["c"], ["m"], domain="mine"), conv("d", "m", "v"), helper.make_node("Relu", ["z"], ["y"])]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8]), info("z", ["A", "B"])], WEIGHTS, outputs=("y", "d")))
    assert [layer.problem for layer in model.layers] == [FIRST]


def test_an_input_of_another_kind_is_no_obstacle(tmp_path):
    """A sequence beside the image."""
    sequence = helper.make_tensor_sequence_value_info("q", FLOAT, None)
    nodes = [conv("y"), helper.make_node("SequenceLength", ["q"], ["z"])]
    path = write(tmp_path / "m.onnx", nodes, [sequence, info("x", ["N", 4, 8, 8])], WEIGHTS, outputs=("y", "z"))
    assert [layer.problem for layer in read_model(path, batch=1).layers] == [FIRST]


def loop_of_two(model):
    model.graph.node[0].input[0] = "y"


def no_such_value(model):
    model.graph.node[0].input[0] = "absent"


def negative_sizes(model):
    model.graph.initializer[0].dims[0] = -8


def wrong_type(model):
    model.graph.node[0].attribute.append(helper.make_attribute("strides", "two"))


@pytest.mark.parametrize("change", [loop_of_two, no_such_value, negative_sizes, half_the_data, wrong_type], ids=lambda change: change.__name__)
def test_what_no_runtime_reads_is_refused(tmp_path, change):
    path = write(tmp_path / "m.onnx", [conv("c"), conv("y", "c", "v")], [info("x", [1, 4, 8, 8])], WEIGHTS)
    with pytest.raises(ValueError, match=r"is no valid ONNX graph|must be 0 or more|must have as many elements"):
        read_model(changed(path, change))


def test_sizes_below_zero_are_not_known(tmp_path):
    """Paddle's way to leave a size open; onnx's inference ends the process where a Slice has one."""
    nodes = [helper.make_node("Slice", ["x", "zero", "last", "zero"], ["s"]), conv("y", "s")]
    path = write(tmp_path / "m.onnx", nodes, [info("x", [-1, 4, 8, 8])], {**WEIGHTS, "zero": [0], "last": [2**63 - 1]})
    assert [layer.problem for layer in read_model(path, batch=3).layers] == [FIRST._replace(n=3)]
    with pytest.raises(ValueError, match="give input_shapes = x:1x4x8x8 or batch = 1"):
        read_model(path)


def test_constants_without_data_leave_sizes_open(tmp_path):
    """The sizes of a Reshape were left out of the file: what is behind it is listed."""
    tensor = TensorProto(name="to", data_type=INT64, dims=[4])
    nodes = [conv("c"), helper.make_node("Reshape", ["c", "to"], ["r"]), conv("y", "r", "v")]
    model = read(tmp_path / "m.onnx", nodes, {"to": tensor})
    assert [layer.problem for layer in model.layers] == [FIRST]
    assert [(node.op, node.remark) for node in model.others] == [
        ("Reshape", "a view"),
        ("Conv", "the shape of r is not known (?x?x?x?)"),
    ]
