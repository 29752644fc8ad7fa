"""ONNX graphs: a node is known before the run if all that it and its subgraphs read is, and nothing in it is random or of an unknown domain."""

import pytest
from graphs import INT64, TensorProto, conv, helper, info, onnx, write

from refconv import Conv2d
from refconv.graph.read import read_model

LAYER = Conv2d(1, 3, 8, 8, 4, 1, 1)
BOOL = TensorProto.BOOL
SAID = {name: helper.make_tensor(name, BOOL, [], [value]) for name, value in (("yes", True), ("no", False))}
CONSTANTS = {"w": (4, 3, 1, 1), "k": (1, 3, 8, 8), "half": (), "many": [5], **SAID}


def layers_of(path, nodes, read="z", **options):
    """The problems of a graph of these nodes, which make z, a convolution of z, and one of the input."""
    inputs = [info("x", [1, 3, 8, 8]), info("flag", [], BOOL)]
    model = write(path, [*nodes, conv("y", read), conv("v", "x")], inputs, {**CONSTANTS, **options.pop("constants", {})}, ("y", "v"), **options)
    model = read_model(model)
    return [layer.problem for layer in model.layers], model.others


def looped(*nodes, level="", carried="k", out="z"):
    """A Loop that carries k; nodes: of its body, from a to b; level: put before all names of a Loop in a Loop."""
    body = helper.make_graph(
        [helper.make_node("Identity", [f"{level}go"], [f"{level}on"]), *nodes],
        "body",
        [info(f"{level}i", [], INT64), info(f"{level}go", [], BOOL), info(f"{level}a")],
        [info(f"{level}on", [], BOOL), info(f"{level}b")],
    )
    return helper.make_node("Loop", ["many", "yes", carried], [out], body=body)


def scanned(op):
    """A Scan over k's images."""
    body = helper.make_graph([helper.make_node(op, ["a"], ["b"])], "body", [info("a", [3, 8, 8])], [info("b", [3, 8, 8])])
    return helper.make_node("Scan", ["k"], ["z"], body=body, num_scan_inputs=1)


def chosen(op, condition="flag"):
    """An If whose branches are a Relu, and another operator, of k."""
    branches = [helper.make_graph([helper.make_node(name, ["k"], [name])], name, [], [info(name, [1, 3, 8, 8])]) for name in ("Relu", op)]
    return helper.make_node("If", [condition], ["z"], then_branch=branches[0], else_branch=branches[1])


def nested(op):
    """A Loop with a Loop."""
    return looped(looped(helper.make_node(op, ["in_a"], ["in_b"]), level="in_", carried="a", out="b"))


def in_training(mode):
    """A Dropout in a Loop."""
    return looped(helper.make_node("Dropout", ["a", "half", mode], ["b"]))


RANDOM = {
    "Loop": looped(helper.make_node("RandomNormalLike", ["a"], ["b"])),
    "Loop in a Loop": nested("RandomUniformLike"),
    "Scan": scanned("RandomNormalLike"),
    "If": chosen("Bernoulli"),
    "Dropout in training": helper.make_node("Dropout", ["k", "half", "yes"], ["z"]),
    "Dropout that may train": helper.make_node("Dropout", ["k", "half", "flag"], ["z"]),
    "Dropout in training in a Loop": in_training("yes"),
    "an input in a Loop": looped(helper.make_node("Add", ["a", "x"], ["b"])),
}
SAME = {
    "Loop": looped(helper.make_node("Relu", ["a"], ["b"])),
    "Loop in a Loop": nested("Relu"),
    "Scan": scanned("Relu"),
    "Dropout": helper.make_node("Dropout", ["k"], ["z"]),
    "Dropout not in training": helper.make_node("Dropout", ["k", "half", "no"], ["z"]),
    "Dropout not in training in a Loop": in_training("no"),
    "onnxruntime's": helper.make_node("Gelu", ["k"], ["z"], domain="com.microsoft"),
}


@pytest.mark.parametrize("case", RANDOM)
def test_what_is_random_inside_is_not_constant(tmp_path, case):
    problems, _ = layers_of(tmp_path / "m.onnx", [RANDOM[case]])
    assert problems == [LAYER, LAYER]


@pytest.mark.parametrize("case", SAME)
def test_what_is_the_same_in_each_run_is_constant(tmp_path, case):
    problems, others = layers_of(tmp_path / "m.onnx", [SAME[case]], domains=["com.microsoft"])
    assert problems == [LAYER]
    assert [(node.op, node.remark) for node in others[-1:]] == [("Conv", "known before the run")]


@pytest.mark.parametrize(("domain", "op"), [("my", "Randn"), ("my", "Relu"), ("", "Invented")])
@pytest.mark.parametrize("place", ["beside", "in a Loop"])
def test_what_no_one_knows_is_not_constant(tmp_path, domain, op, place):
    """An operator fed by constants alone; the shape of what it makes is the file's."""
    node = helper.make_node(op, ["k" if place == "beside" else "a"], ["z" if place == "beside" else "b"], domain=domain)
    after = node if place == "beside" else looped(node)
    inputs = [info("x", [1, 3, 8, 8])]
    path = write(tmp_path / "m.onnx", [after, conv("y", "z"), conv("v", "x")], inputs, CONSTANTS, ("y", "v"), domains=[domain] if domain else [])
    model = onnx.load(path)
    model.graph.value_info.append(info("z", [1, 3, 8, 8]))
    onnx.save(model, path)
    assert [layer.problem for layer in read_model(path).layers] == [LAYER, LAYER]


def test_a_dropout_of_the_first_versions_trains_unless_it_says_not(tmp_path):
    for attributes, problems in (({}, [LAYER, LAYER]), ({"is_test": 1}, [LAYER])):
        nodes = [helper.make_node("Dropout", ["k"], ["z"], **attributes)]
        assert layers_of(tmp_path / "m.onnx", nodes, opset=6)[0] == problems


def test_weights_may_be_constant_nodes_of_any_size(tmp_path):
    """More elements than are evaluated: a product with such a matrix is a layer all the same."""
    weight = helper.make_tensor("v", 1, [100, 50], [0.0] * 5000)
    nodes = [helper.make_node("Constant", [], ["v"], value=weight), helper.make_node("MatMul", ["x", "v"], ["y"])]
    (layer,) = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [2, 100])])).layers
    assert layer.problem == Conv2d(2, 100, 1, 1, 50, 1, 1)
