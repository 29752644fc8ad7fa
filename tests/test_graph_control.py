"""ONNX graphs with If, Loop, and nodes of no constant value: what comes after them is counted, and what is assumed is said."""

import pytest
from graphs import INT64, TensorProto, branch, conv, helper, info, write

from refconv import Conv2d
from refconv.graph.read import read_model

FIRST, SECOND = Conv2d(1, 4, 8, 8, 8, 3, 3), Conv2d(1, 8, 6, 6, 16, 3, 3)
WEIGHTS = {"w": (8, 4, 3, 3), "v": (16, 8, 3, 3), "axis": [0], "one": [1], "zero": [0]}
BOOL = TensorProto.BOOL


def squeeze_of(value, condition, **names):
    """An If as torch exports squeeze(0) of a value of unknown batch: Squeeze where the first size is 1, else Identity."""
    squeezed = branch("then", [helper.make_node("Squeeze", [value, "axis"], ["squeezed"])], ["squeezed"])
    same = branch("else", [helper.make_node("Identity", [value], ["same"])], ["same"])
    return helper.make_node("If", [condition], ["s"], then_branch=squeezed, else_branch=same, **names)


SIZE_IS_ONE = [
    helper.make_node("Shape", ["c"], ["shape"]),
    helper.make_node("Gather", ["shape", "zero"], ["size"]),
    helper.make_node("Equal", ["size", "one"], ["is_one"]),
]


@pytest.mark.parametrize("batch", [4, 2])
def test_a_branch_that_follows_from_the_batch_is_taken(tmp_path, batch):
    nodes = [conv("c"), *SIZE_IS_ONE, squeeze_of("c", "is_one"), conv("y", "s", "v")]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", ["N", 4, 8, 8])], WEIGHTS), batch=batch)
    assert [layer.problem for layer in model.layers] == [FIRST._replace(n=batch), SECOND._replace(n=batch)]
    assert model.notes == ()
    assert {node.op for node in model.others} == {"Shape", "Gather", "Equal", "Identity"}


def test_a_branch_that_the_next_convolution_cannot_read_is_not_taken(tmp_path):
    """With one image torch's graph would squeeze; the convolution behind it takes four dimensions."""
    nodes = [conv("c"), *SIZE_IS_ONE, squeeze_of("c", "is_one", name="maybe"), conv("y", "s", "v")]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8])], WEIGHTS))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND]
    (note,) = model.notes
    assert note.startswith("If maybe: with these sizes it would take then_branch, which c cannot read; else_branch is assumed")


def test_where_the_condition_is_not_known_the_rank_decides(tmp_path):
    nodes = [conv("c"), squeeze_of("c", "flag", name="maybe"), helper.make_node("Relu", ["s"], ["r"]), conv("y", "r", "v")]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("flag", [], BOOL), info("x", [1, 4, 8, 8])], WEIGHTS))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND]
    (note,) = model.notes
    assert note == (
        "If maybe: its condition is not known; else_branch is assumed, for c (Conv) takes its output (then_branch: 8x6x6; else_branch: 1x8x6x6)"
    )
    assert [node.op for node in model.others] == ["Identity", "Relu"]


def test_where_nothing_decides_what_follows_is_listed(tmp_path):
    """Two crops of different sizes: the second convolution is one of either, so it is listed with neither."""
    crops = [
        branch(name, [helper.make_node("Slice", ["c", "zero", end, "two"], [name])], [name]) for name, end in (("small", "four"), ("large", "five"))
    ]
    nodes = [conv("c"), helper.make_node("If", ["flag"], ["s"], name="crop", then_branch=crops[0], else_branch=crops[1]), conv("y", "s", "v")]
    constants = {**WEIGHTS, "four": [4], "five": [5], "two": [2]}
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("flag", [], BOOL), info("x", [1, 4, 8, 8])], constants))
    assert [layer.problem for layer in model.layers] == [FIRST]
    assert [(node.op, node.remark, node.elements, node.macs) for node in model.others] == [
        ("If", "its subgraphs are not read", None, 0),
        ("Conv", "the shape of s is not known (1x8x?x6)", None, None),
    ]
    assert model.notes == ("If crop: its condition is not known, and its branches differ in shape (then_branch: 1x8x4x6; else_branch: 1x8x5x6)",)


def test_convolutions_in_branches_are_told(tmp_path):
    """Both branches convolve: as often, or not."""
    same = [branch(name, [helper.make_node("Conv", ["c", "v"], [name])], [name]) for name in ("a", "b")]
    nodes = [conv("c"), helper.make_node("If", ["flag"], ["s"], then_branch=same[0], else_branch=same[1]), conv("y", "s", "u")]
    inputs, constants = [info("flag", [], BOOL), info("x", [1, 4, 8, 8])], {**WEIGHTS, "u": (5, 16, 1, 1)}
    model = read_model(write(tmp_path / "m.onnx", nodes, inputs, constants))
    assert [layer.problem for layer in model.layers] == [FIRST, Conv2d(1, 16, 4, 4, 5, 1, 1)]
    assert [(node.op, node.macs) for node in model.others] == [("If", SECOND.macs)]
    other = branch("b", [helper.make_node("Conv", ["c", "t"], ["b"])], ["b"])
    nodes[1] = helper.make_node("If", ["flag"], ["s"], then_branch=same[0], else_branch=other)
    model = read_model(write(tmp_path / "m.onnx", nodes, inputs, {**constants, "t": (16, 8, 1, 1)}))
    (node,) = [node for node in model.others if node.op == "If"]
    assert node.macs is None
    assert node.remark == f"its subgraphs are not read: then_branch {SECOND.macs} MACs, else_branch {16 * 8 * 36} MACs"


def test_a_branch_may_name_its_values_as_the_graph_does(tmp_path):
    """Names in a branch are its own: `c`, made there, is not the graph's `c`."""
    inner = [helper.make_node("Relu", ["d"], ["c"]), helper.make_node("Neg", ["c"], ["t"])]
    branches = {"then_branch": branch("t", inner, ["t"]), "else_branch": branch("e", [helper.make_node("Identity", ["d"], ["e"])], ["e"])}
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("t", BOOL, [], [True])),
        conv("d"),
        helper.make_node("If", ["yes"], ["s"], **branches),
        conv("c", "s", "v"),
        helper.make_node("Abs", ["c"], ["y"]),
    ]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8])], WEIGHTS))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND]
    assert [node.op for node in model.others] == ["Constant", "Relu", "Neg", "Abs"]


def loop(nodes, carried="c", count="many", condition="", **options):
    """A Loop that carries one value; nodes: of its body, from `a` to `b`."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), *nodes],
        "body",
        [info("i", [], INT64), info("go", [], BOOL), info("a")],
        [info("on", [], BOOL), info("b"), *options.get("stacked", ())],
    )
    return helper.make_node("Loop", [count, condition, carried], ["s", *options.get("outputs", ())], body=body)


def test_what_follows_a_loop_is_counted(tmp_path):
    """An iteration that leaves the shape as it was: 3 of a 1x1 convolution, then a convolution of what they leave."""
    nodes = [conv("c"), loop([helper.make_node("Conv", ["a", "u"], ["b"])]), conv("y", "s", "v")]
    constants = {**WEIGHTS, "u": (8, 8, 1, 1), "many": [3]}
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8])], constants))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND]
    each = Conv2d(1, 8, 6, 6, 8, 1, 1).macs
    assert [(node.op, node.macs, node.remark) for node in model.others] == [
        ("Loop", 3 * each, f"its subgraphs are not read: 3 iterations of {each} MACs")
    ]
    nodes[1] = loop([helper.make_node("Conv", ["a", "u"], ["b"])], count="given")
    del constants["many"]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8]), info("given", [], INT64)], constants))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND]
    assert [(node.op, node.macs) for node in model.others] == [("Loop", None)]


def test_a_loop_that_changes_a_size_leaves_it_open(tmp_path):
    """Channels stay, rows become more: a global pool makes them one again."""
    grow = [helper.make_node("Concat", ["a", "a"], ["b"], axis=2)]
    nodes = [conv("c"), loop(grow), conv("d", "s", "v"), helper.make_node("GlobalAveragePool", ["s"], ["p"]), conv("y", "p", "u")]
    constants = {**WEIGHTS, "u": (5, 8, 1, 1), "many": [3]}
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8])], constants, outputs=("y", "d")))
    assert [layer.problem for layer in model.layers] == [FIRST, Conv2d(1, 8, 1, 1, 5, 1, 1)]
    (listed,) = [node for node in model.others if node.op == "Conv"]
    assert listed.remark == "the shape of s is not known (1x8x?x6)"


def test_what_a_loop_stacks_has_its_iterations_in_front(tmp_path):
    nodes = [
        conv("c"),
        loop([helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["a"], ["n"])], stacked=[info("n")], outputs=["all"]),
        helper.make_node("Squeeze", ["all", "one"], ["q"]),
        helper.make_node("MatMul", ["q", "m"], ["y"]),
    ]
    constants = {**WEIGHTS, "many": [3], "m": (6, 10)}
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8])], constants, outputs=("y", "s")))
    assert [layer.problem for layer in model.layers] == [FIRST, Conv2d(3, 6, 8, 6, 10, 1, 1)]


@pytest.mark.parametrize("op", ["RandomNormal", "RandomUniform"])
def test_random_values_are_not_constant(tmp_path, op):
    """A generator: noise of a fixed shape through a matrix, and through two convolutions."""
    nodes = [
        helper.make_node(op, [], ["z"], shape=[1, 4, 8, 8]),
        conv("c", "z"),
        helper.make_node("RandomNormalLike", ["axis"], ["other"], dtype=1),
        conv("y", "c", "v"),
    ]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1])], WEIGHTS))
    assert [layer.problem for layer in model.layers] == [FIRST, SECOND]
    assert [(node.op, node.remark) for node in model.others] == [(op, "no kernel"), ("RandomNormalLike", "no kernel")]


READ_IN_A_BRANCH = {
    "a Pad": ([helper.make_node("Pad", ["x", "pads"], ["t"]), conv("y", "t")], "Conv", "Pad"),
    "a product": ([helper.make_node("MatMul", ["x", "m"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])], "MatMul", "Add"),
    "a Split": (
        [
            helper.make_node("Split", ["x", "parts"], ["a", "t"], axis=1),
            conv("d", "a", "p", pads=[1, 1, 1, 1]),
            helper.make_node("Concat", ["d", "t"], ["y"], axis=1),
        ],
        "Conv",
        "Concat",
    ),
}


@pytest.mark.parametrize("case", READ_IN_A_BRANCH)
def test_what_a_branch_reads_is_not_folded_away(tmp_path, case):
    nodes, layer, left = READ_IN_A_BRANCH[case]
    branches = [branch(op, [helper.make_node(op, ["t"], [op])], [op]) for op in ("Relu", "Neg")]
    nodes = [*nodes, helper.make_node("If", ["flag"], ["z"], then_branch=branches[0], else_branch=branches[1])]
    constants = {"w": (8, 4, 3, 3), "p": (2, 2, 3, 3), "m": (8, 6), "b": (6,), "parts": [2, 2], "pads": [0, 0, 1, 1, 0, 0, 1, 1]}
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 8, 8]), info("flag", [], BOOL)], constants, outputs=("y", "z")))
    assert [layer.op for layer in model.layers] == [layer]
    assert left in [node.op for node in model.others]
