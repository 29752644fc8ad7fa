"""ONNX graphs of several inputs: the batch is one symbol, set once; what has none is left alone; doubt is an error that lists the inputs."""

import re

import pytest
from graphs import conv, helper, info, write

from refconv import Conv2d
from refconv.graph.read import read_model

WHOLE = Conv2d(4, 3, 8, 8, 8, 3, 3)
WEIGHTS = {"w": (8, 3, 3, 3), "m": (2, 5)}
SCALED = [helper.make_node("Mul", ["x", "t"], ["u"]), conv("y", "u")]
BESIDE = [conv("y"), helper.make_node("MatMul", ["t", "m"], ["z"])]


def layers_of(path, nodes, inputs, *options, outputs=("y",)):
    """The problems of a graph."""
    return [layer.problem for layer in read_model(write(path, nodes, inputs, WEIGHTS, outputs), *options).layers]


@pytest.mark.parametrize("table", [[], [1], [1, 1], [3, 1, 1], [8], [8, 8]])
@pytest.mark.parametrize("batch", ["N", 2])
def test_an_input_without_batch_is_left_alone(tmp_path, table, batch):
    """A scalar, [1] or a table of one value a channel stands first; the image's batch is a symbol, or fixed."""
    assert layers_of(tmp_path / "m.onnx", SCALED, [info("t", table), info("x", [batch, 3, 8, 8])], (), 4) == [WHOLE]
    assert layers_of(tmp_path / "m.onnx", SCALED, [info("x", [batch, 3, 8, 8]), info("t", table)], (), 4) == [WHOLE]


def test_a_fixed_input_beside_a_symbolic_image_stays(tmp_path):
    inputs = [info("t", [1, 2]), info("x", ["N", 3, 8, 8])]
    assert layers_of(tmp_path / "m.onnx", BESIDE, inputs, (), 4, outputs=("y", "z")) == [WHOLE, Conv2d(1, 2, 1, 1, 5, 1, 1)]
    model = read_model(str(tmp_path / "m.onnx"), batch=4)
    assert model.notes == ("batch 4 is the first size of x; other inputs stay as they are",)


def test_a_symbol_is_set_wherever_it_stands(tmp_path):
    inputs = [info("t", ["N", 2]), info("x", ["N", 3, 8, 8])]
    both = [WHOLE, Conv2d(4, 2, 1, 1, 5, 1, 1)]
    assert layers_of(tmp_path / "m.onnx", BESIDE, inputs, (), 4, outputs=("y", "z")) == both
    assert layers_of(tmp_path / "m.onnx", BESIDE, inputs, ["x:4x3x8x8"], outputs=("y", "z")) == both
    with pytest.raises(ValueError, match="input_shapes = t: N = 3: is 4 elsewhere; must be one size"):
        read_model(str(tmp_path / "m.onnx"), ["x:4x3x8x8", "t:3x2"])


@pytest.mark.parametrize(
    ("t", "x", "text"),
    [
        (["M", 2], ["N", 3, 8, 8], "which symbol is the batch is in doubt; inputs: t [M, 2]; x [N, 3, 8, 8]; legal: input_shapes = NAME:SIZES"),
        ([7, 2], [2, 3, 8, 8], "which size is the batch is in doubt; inputs: t [7, 2]; x [2, 3, 8, 8]; legal: input_shapes = NAME:SIZES"),
        ([1, 2], [2, 3, 8, 8], "which size is the batch is in doubt; inputs: t [1, 2]; x [2, 3, 8, 8]; legal: input_shapes = NAME:SIZES"),
    ],
)
def test_doubt_is_an_error_that_lists_the_inputs(tmp_path, t, x, text):
    path = write(tmp_path / "m.onnx", BESIDE, [info("t", t), info("x", x)], WEIGHTS, outputs=("y", "z"))
    with pytest.raises(ValueError, match=re.escape(f"m.onnx: batch = 4: {text}")):
        read_model(path, batch=4)
    given = ["x:4x3x8x8", "t:4x2"]  # what the message says is legal
    assert [layer.problem.n for layer in read_model(path, given).layers] == [4, 4]


def test_no_input_with_a_batch_is_doubt(tmp_path):
    nodes = [helper.make_node("MatMul", ["t", "m"], ["y"])]
    with pytest.raises(ValueError, match=r"batch = 4: .*in doubt; inputs: t \[2\]"):
        layers_of(tmp_path / "m.onnx", nodes, [info("t", [2])], (), 4)


@pytest.mark.parametrize("unknown", [0, -1, None])
def test_sizes_that_are_not_said(tmp_path, unknown):
    """Sizes of 0 or -1, and without a name: Paddle's way to say that the batch is open. Two of them need not be one."""
    path = tmp_path / "m.onnx"
    assert layers_of(path, SCALED, [info("t", [1, 1]), info("x", [unknown, 3, 8, 8])], (), 4) == [WHOLE]
    path = write(path, BESIDE, [info("t", [unknown, 2]), info("x", [unknown, 3, 8, 8])], WEIGHTS, outputs=("y", "z"))
    text = (
        "batch = 4: which unnamed size is the batch is in doubt; inputs: t [?, 2]; x [?, 3, 8, 8]; legal: input_shapes = NAME:SIZES for all but one"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        read_model(path, batch=4)
    assert [layer.problem for layer in read_model(path, ["t:7x2"], 4).layers] == [WHOLE, Conv2d(7, 2, 1, 1, 5, 1, 1)]
    with pytest.raises(ValueError, match=r"give input_shapes = x:1x3x8x8$" if unknown != 0 else "batch = 0: must be"):  # not batch = 1: in doubt
        read_model(path)


def test_a_batch_that_is_a_size_of_the_map_is_noted(tmp_path):
    """One symbol for all: four images of 4 x 4."""
    path = write(tmp_path / "m.onnx", [conv("y")], [info("x", ["N", 3, "N", "N"])], WEIGHTS)
    model = read_model(path, batch=4)
    assert [layer.problem for layer in model.layers] == [WHOLE._replace(h=4, w=4)]
    assert model.notes == ("batch 4 is N, which other sizes are, too: x [N, 3, N, N]",)


@pytest.mark.parametrize(("sizes", "told"), [(["N"], "N"), ([10, "N", 8], "10, N, 8"), ([10, None, 8], "10, ?, 8"), (None, "?")])
def test_an_input_that_has_no_batch_is_listed_with_its_symbols(tmp_path, sizes, told):
    nodes = [helper.make_node("MatMul", ["x", "m"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, [info("x", sizes)], {"m": (8, 5)})
    with pytest.raises(ValueError, match=re.escape(f"in doubt; inputs: x [{told}]; legal")):
        read_model(path, batch=4)


def test_what_the_file_says_of_an_unknown_operators_output_stays(tmp_path):
    """Its shape has the batch's symbol; onnx cannot infer it."""
    import onnx

    nodes = [helper.make_node("Mystery", ["x"], ["u"], domain="mine"), conv("y", "u")]
    path = write(tmp_path / "m.onnx", nodes, [info("x", ["N", 3, 8, 8])], WEIGHTS, domains=["mine"])
    model = onnx.load(path)
    model.graph.value_info.append(info("u", ["N", 3, 8, 8]))
    onnx.save(model, path)
    for options in (((), 4), (["x:4x3x8x8"],)):
        assert [layer.problem for layer in read_model(path, *options).layers] == [WHOLE]
