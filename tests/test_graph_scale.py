"""`batch` on ONNX graphs whose sizes are all fixed: counts of what is made from the inputs that have the batch are scaled, no others."""

import pytest
from graphs import INT64, TensorProto, conv, helper, info, write

from refconv import Conv2d
from refconv.graph.read import read_model

IMAGES = Conv2d(4, 3, 8, 8, 4, 1, 1)
WEIGHTS = {"w": (4, 3, 1, 1), "e": (100, 8), "m": (8, 4), "t": (1, 4), "r": (5, 4), "axis": [1], "shape": [1, 3, 8, 8]}
LIKE = [
    helper.make_node("Shape", ["x"], ["s"]),
    helper.make_node("ConstantOfShape", ["s"], ["o"]),
    helper.make_node("RandomNormalLike", ["o"], ["z"]),
]
BESIDE = {
    "indices": ([helper.make_node("Gather", ["e", "i"], ["g"]), helper.make_node("MatMul", ["g", "m"], ["z"])], info("i", [7], INT64), 7 * 8 * 4),
    "a time": ([helper.make_node("Unsqueeze", ["i", "axis"], ["u"]), helper.make_node("Gemm", ["u", "t"], ["z"])], info("i", [1]), 4),
    "a time an image": ([helper.make_node("Unsqueeze", ["i", "axis"], ["u"]), helper.make_node("Gemm", ["u", "t"], ["z"])], info("i", [2]), 4 * 4),
    "transposed": ([helper.make_node("Transpose", ["i"], ["u"]), helper.make_node("MatMul", ["u", "r"], ["z"])], info("i", [5, 6]), 6 * 5 * 4),
    "noise": ([helper.make_node("RandomNormal", [], ["n"], shape=[1, 3, 8, 8]), conv("z", "n")], info("i", [1]), 64 * 12),
    "noise of the batch": ([helper.make_node("RandomNormalLike", ["x"], ["n"]), conv("z", "n")], info("i", [1]), 4 * 64 * 12),
    "noise of the batch's sizes": ([*LIKE[:2], helper.make_node("RandomNormalLike", ["o"], ["n"]), conv("z", "n")], info("i", [1]), 4 * 64 * 12),
    "added to the image": ([helper.make_node("Mul", ["x", "i"], ["u"]), conv("z", "u")], info("i", [1, 1]), 4 * 64 * 12),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_depends_on_no_batch_is_left_alone(tmp_path, case):
    nodes, beside, macs = BESIDE[case]
    path = write(tmp_path / "m.onnx", [conv("y"), *nodes], [info("x", [2, 3, 8, 8]), beside], WEIGHTS, outputs=("y", "z"))
    model = read_model(path, batch=4)
    assert model.layers[0].problem == IMAGES
    assert [layer.macs for layer in model.layers[1:]] == [macs]
    whose = "x, i" if case == "a time an image" else "x"
    assert model.notes == (() if whose == "x, i" else (f"batch 4 is the first size of {whose}; other inputs stay as they are",))
    for asked in (2, None):  # what the file says, scaled or not, and noted the first time only
        assert read_model(path, batch=asked).macs == read_model(path).macs


def test_elements_of_what_has_no_batch_are_left_alone(tmp_path):
    """A table, added to each image: 192 elements, once."""
    nodes = [helper.make_node("Relu", ["i"], ["t"]), helper.make_node("Add", ["x", "t"], ["u"]), conv("y", "u")]
    path = write(tmp_path / "m.onnx", nodes, [info("x", [2, 3, 8, 8]), info("i", [3, 8, 8])], {"w": (4, 3, 1, 1)})
    assert [node.elements for node in read_model(path, batch=4).others] == [2 * 192, (4 + 1 + 4) * 192]


def looped(nodes, inputs, outputs):
    """A Loop of 3 iterations that carries x and i, as a and b; nodes: of its body."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), *nodes],
        "body",
        [info("k", [], INT64), info("go", [], TensorProto.BOOL), info("a"), info("b")],
        [info("on", [], TensorProto.BOOL), *map(info, outputs)],
    )
    return helper.make_node("Loop", ["many", "", *inputs], ["p", "q"], body=body)


LOOPS = {  # nodes of the body, what is carried, MACs of an iteration for 4 images
    "of the image": ([conv("c", "a", "v"), helper.make_node("Identity", ["b"], ["d"])], ["x", "i"], 4 * 64 * 9),
    "of another": ([conv("d", "b", "v"), helper.make_node("Identity", ["a"], ["c"])], ["x", "i"], 64 * 9),
    "of the image, captured": ([conv("c", "x", "v"), helper.make_node("Identity", ["b"], ["d"])], ["i", "i"], 4 * 64 * 9),
    "from one to the other": (
        [helper.make_node("Neg", ["b"], ["c"]), helper.make_node("Add", ["a", "b"], ["d"]), conv("_", "a", "v")],
        ["n", "x"],
        4 * 64 * 9,
    ),
}


@pytest.mark.parametrize("case", LOOPS)
def test_loops(tmp_path, case):
    nodes, carried, each = LOOPS[case]
    loop = looped(nodes, carried, ["c", "d"])
    path = write(
        tmp_path / "m.onnx",
        [conv("y"), helper.make_node("RandomNormal", [], ["n"], shape=[2, 3, 8, 8]), loop],
        [info("x", [2, 3, 8, 8]), info("i", [1, 3, 8, 8])],
        {"w": (4, 3, 1, 1), "v": (3, 3, 1, 1), "many": [3]},
        outputs=("y", "p"),
    )
    (node,) = [node for node in read_model(path, batch=4).others if node.op == "Loop"]
    assert node.macs == 3 * each


def test_a_branch_of_another_input(tmp_path):
    """One branch convolves the image, the other a map without batch."""
    branches = [helper.make_graph([conv(name, read)], name, [], [info(name)]) for name, read in (("a", "x"), ("b", "i"))]
    nodes = [conv("y"), helper.make_node("If", ["flag"], ["z"], then_branch=branches[0], else_branch=branches[1])]
    inputs = [info("x", [2, 3, 8, 8]), info("i", [1, 3, 8, 8]), info("flag", [], TensorProto.BOOL)]
    path = write(tmp_path / "m.onnx", [nodes[0], helper.make_node("Transpose", ["i"], ["i2"], perm=[0, 1, 3, 2]), nodes[1]], inputs, WEIGHTS)
    (node,) = [node for node in read_model(path, batch=4).others if node.op == "If"]
    assert node.remark == f"its subgraphs are not read: then_branch {4 * 64 * 12} MACs, else_branch {64 * 12} MACs"
