"""ONNX graphs whose own constants do not fit the sizes that their inputs are given: no count is right, so the node is named."""

import re

import pytest
from graphs import conv, helper, info, write

from refconv import Conv2d
from refconv.graph.read import read_model

WEIGHTS = {"w": (4, 3, 1, 1), "m": (256, 10), "p": (8, 5)}
FLAT = [conv("c"), helper.make_node("Reshape", ["c", "to"], ["f"], name="flat"), helper.make_node("Gemm", ["f", "m"], ["y"])]


def node(op, inputs, **attributes):
    """A node that is called as its operator, with output y."""
    return helper.make_node(op, inputs, ["y"], name="n", **attributes)


@pytest.mark.parametrize("first", ["N", 1])
def test_a_reshape_to_one_image_is_not_one_of_four(tmp_path, first):
    """The convolution would be counted for four images, the classifier for one."""
    path = write(tmp_path / "m.onnx", FLAT, [info("x", [first, 3, 8, 8])], {**WEIGHTS, "to": [1, 256]})
    text = "node flat (Reshape): c is 4x4x8x8 (1024 elements), its sizes are 1x256: must have 256; legal: sizes of the inputs"
    with pytest.raises(ValueError, match=re.escape(text)):
        read_model(path, ["x:4x3x8x8"])
    if first == "N":
        with pytest.raises(ValueError, match=re.escape(text)):
            read_model(path, batch=4)
    model = read_model(path, ["x:1x3x8x8"], 4)  # what the message says is legal
    assert [layer.problem for layer in model.layers] == [Conv2d(4, 3, 8, 8, 4, 1, 1), Conv2d(4, 256, 1, 1, 10, 1, 1)]
    assert model.macs == 4 * (4 * 3 * 64 + 256 * 10)


def test_sizes_that_are_open_fit_any_batch(tmp_path):
    """-1 for the batch, 0 for a size that stays."""
    for to in ([-1, 256], [0, 256], [0, -1], [4, -1]):
        path = write(tmp_path / "m.onnx", FLAT, [info("x", ["N", 3, 8, 8])], {**WEIGHTS, "to": to})
        assert read_model(path, batch=4).macs == 4 * (4 * 3 * 64 + 256 * 10)


NODES = {
    "tokens": ([node("Reshape", ["x", "to"])], [2, 4, 4, 4], {"to": [1, 4, 16]}, "128 elements), its sizes are 1x4x16: must have 64"),
    "windows": ([node("Reshape", ["x", "to"])], [4, 16, 8], {"to": [4, 4, 8]}, "512 elements), its sizes are 4x4x8: must have 128"),
    "no multiple": ([node("Reshape", ["x", "to"])], [3, 256], {"to": [-1, 512]}, "768 elements), its sizes are -1x512: must have a multiple of 512"),
    "a size of 0": ([node("Reshape", ["x", "to"])], [4, 6], {"to": [0, 3]}, "24 elements), its sizes are 4x3: must have 12"),
    "Split": (
        [helper.make_node("Split", ["x", "to"], ["y", "z"], name="n", axis=1)],
        [2, 8],
        {"to": [2, 4]},
        "along axis 1 are 2, 4: must add up to 8",
    ),
    "Expand": ([node("Expand", ["x", "to"])], [4, 3], {"to": [2, 4, 6]}, "x is 4x3, its sizes are 2x4x6: must be the same, or 1"),
    "Concat": ([node("Concat", ["x", "k"], axis=1)], [4, 3], {"k": (1, 3)}, "x 4x3, k 1x3: must be the same but along axis 1"),
    "Concat, last axis": ([node("Concat", ["x", "k"], axis=-1)], [4, 3], {"k": (1, 3)}, "x 4x3, k 1x3: must be the same but along axis 1"),
    "Add": ([node("Add", ["x", "k"])], [4, 3], {"k": (2, 3)}, "x 4x3, k 2x3: must be the same, or 1, from the last size on"),
    "Where": ([node("Where", ["b", "x", "k"])], [4, 3], {"k": (2, 1), "b": (1,)}, "b 1, x 4x3, k 2x1: must be the same"),
    "MatMul": ([node("MatMul", ["x", "k"])], [4, 3], {"k": (6, 2)}, "x is 4x3, k is 6x2: must have as many columns as rows"),
    "MatMul, batch": ([node("MatMul", ["x", "k"])], [4, 5, 3], {"k": (2, 3, 2)}, "x is 4x5x3, k is 2x3x2: must have as many columns as rows"),
    "Gemm": ([node("Gemm", ["x", "k"], transB=1)], [4, 3], {"k": (3, 6)}, "x is 4x3, k is 3x6: must have as many columns as rows"),
    "Resize": (
        [node("Resize", ["x", "", "", "to"])],
        [4, 3, 8, 8],
        {"to": [1, 3, 16, 16]},
        "x is 4x3x8x8, its output 1x3x16x16: must be as many images",
    ),
}


@pytest.mark.parametrize("case", NODES)
def test_what_does_not_fit_is_named(tmp_path, case):
    """Beside a convolution that could be counted; with the sizes of the file's own, too."""
    nodes, sizes, constants, text = NODES[case]
    inputs = [info("i", [1, 3, 8, 8]), info("x", ["N", *sizes[1:]])]
    path = write(tmp_path / "m.onnx", [conv("c", "i"), *nodes], inputs, {**WEIGHTS, **constants}, outputs=("c", "y"))
    for options in (((), sizes[0]), (["x:" + "x".join(map(str, sizes))],)):
        with pytest.raises(ValueError, match=f"node n .*{re.escape(text)}"):
            read_model(path, *options)


FITTING = {
    "a batch of one": (node("Expand", ["x", "to"]), [1, 8], {"to": [4, 1]}),
    "Expand to fewer sizes": (node("Expand", ["x", "to"]), [4, 3, 8], {"to": [1]}),
    "a Reshape without elements": (node("Reshape", ["x", "to"]), [0, 8], {"to": [0, 8]}),
    "Split": (helper.make_node("Split", ["x", "to"], ["y", "z"], axis=-1), [4, 8], {"to": [2, 6]}),
    "Add": (node("Add", ["x", "k"]), [4, 3, 8], {"k": (3, 1)}),
    "Concat": (node("Concat", ["x", "k"], axis=0), [4, 8], {"k": (1, 8)}),
    "MatMul": (node("MatMul", ["x", "k"]), [4, 5, 8], {"k": (4, 8, 2)}),
    "Resize": (node("Resize", ["x", "", "", "to"]), [4, 3, 8, 8], {"to": [4, 3, 16, 16]}),
}


@pytest.mark.parametrize("case", FITTING)
def test_what_fits_is_read(tmp_path, case):
    fitting, sizes, constants = FITTING[case]
    path = write(tmp_path / "m.onnx", [conv("c", "i"), fitting], [info("i", [1, 3, 8, 8]), info("x", sizes)], {**WEIGHTS, **constants}, ("c", "y"))
    assert Conv2d(1, 3, 8, 8, 4, 1, 1) in [layer.problem for layer in read_model(path).layers]


def test_a_branch_that_is_not_taken_need_not_fit(tmp_path):
    """Its multiply-adds are not known; the rest is counted."""
    to = helper.make_tensor("to", 7, [2], [1, 256])
    branches = [helper.make_graph([helper.make_node("Relu", ["c"], ["r"])], "r", [], [info("r")])]
    branches.append(helper.make_graph([helper.make_node("Reshape", ["c", "to"], ["f"])], "f", [], [info("f")], [to]))
    nodes = [conv("c"), helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])]
    path = write(tmp_path / "m.onnx", nodes, [info("x", [4, 3, 8, 8]), info("flag", [], 9)], WEIGHTS)
    model = read_model(path)
    assert [layer.problem for layer in model.layers] == [Conv2d(4, 3, 8, 8, 4, 1, 1)]
    assert [node.macs for node in model.others] == [None]
