"""Partial convolutions (Chen et al., FasterNet) in the forms that exporters give them."""

import numpy as np
import pytest
from graphs import INT64, conv, helper, info, onnx, write

from refconv import Conv2d, PartialConv2d
from refconv.graph.model import ModelLayer
from refconv.graph.read import read_model
from refconv.reference import partial_conv2d

WHOLE = PartialConv2d(2, 24, 5, 5, 6, 3, 3)
LAST = 2**63 - 1
PARTLY = {"w": (6, 6, 3, 3), "n0": [0] * 4, "n1": [LAST, 6, LAST, LAST], "n2": [0, 6, 0, 0], "n3": [LAST] * 4, "axes": [0, 1, 2, 3]}
ONE_AXIS = {"zero": [0], "six": [6], "one": [1], "two": [2], "last": [LAST]}


def read(path, nodes, constants=(), outputs=("y",)):
    """The Model of nodes on x."""
    return read_model(write(path, nodes, [info("x", [2, 24, 5, 5])], {**PARTLY, **ONE_AXIS, **dict(constants)}, outputs))


def slices(name, first, axes, source="x"):
    """A Slice of these axes each, one after another; first: the channels' names of start and end."""
    nodes = []
    for i, axis in enumerate(axes):
        start, end = first if axis == "one" else ("zero", "last")
        out = name if i == len(axes) - 1 else f"{name}{i}"
        nodes.append(helper.make_node("Slice", [source, start, end, axis], [out]))
        source = out
    return nodes


def test_one_slice_over_all_axes(tmp_path):
    nodes = [
        helper.make_node("Slice", ["x", "n0", "n1", "axes"], ["a"]),
        helper.make_node("Slice", ["x", "n2", "n3"], ["b"]),
        conv("d", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["d", "b"], ["y"], axis=1),
    ]
    model = read(tmp_path / "m.onnx", nodes)
    assert (model.layers, model.others) == ((ModelLayer("c", "Slice-Conv-Concat", WHOLE),), ())
    for first, rest in (([0, 1, 0, 0], [0, 6, 0, 0]), ([1, 0, 0, 0], [1, 6, 0, 0]), ([0, 0, 0, 1], [0, 6, 0, 1])):  # other channels, or not all of it
        model = read(tmp_path / "m.onnx", nodes, {"n0": first, "n1": [LAST, first[1] + 6, LAST, LAST], "n2": rest})
        assert [layer.op for layer in model.layers] == ["Conv"]


def test_slices_one_axis_after_another(tmp_path):
    """torch traces x[:, :c, :, :] as a Slice an axis."""
    nodes = [
        *slices("a", ("zero", "six"), ["zero", "one", "two"]),
        *slices("b", ("six", "last"), ["zero", "one"]),
        conv("d", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["d", "b"], ["y"], axis=1),
    ]
    model = read(tmp_path / "m.onnx", nodes)
    assert (model.layers, model.others) == ((ModelLayer("c", "Slice-Conv-Concat", WHOLE),), ())


def range_of(size, name, rank):
    """Nodes of the indices 0 ... size along the first of `rank` axes, as torch makes them."""
    return [
        helper.make_node("Constant", [], [f"{name}_end"], value=helper.make_tensor("t", INT64, [], [size])),
        helper.make_node("Constant", [], [f"{name}_start"], value=helper.make_tensor("t", INT64, [], [0])),
        helper.make_node("Constant", [], [f"{name}_step"], value=helper.make_tensor("t", INT64, [], [1])),
        helper.make_node("Range", [f"{name}_start", f"{name}_end", f"{name}_step"], [f"{name}_range"]),
        helper.make_node("Constant", [], [f"{name}_shape"], value=helper.make_tensor("t", INT64, [rank], [-1, *[1] * (rank - 1)])),
        helper.make_node("Reshape", [f"{name}_range", f"{name}_shape"], [name]),
    ]


def assignment(sizes=(2, 6, 5, 5)):
    """x[:, :6, :, :] = conv(x[:, :6, :, :]) as torch exports it: index_put of ranges of all four axes."""
    names = [f"i{axis}" for axis in range(4)]
    nodes = [node for axis, size in enumerate(sizes) for node in range_of(size, names[axis], 4 - axis)]
    nodes += [helper.make_node("Add", [names[0], names[1]], ["s1"]), helper.make_node("Add", ["s1", names[2]], ["s2"])]
    nodes += [helper.make_node("Add", ["s2", names[3]], ["s3"]), helper.make_node("Shape", ["s3"], ["all"])]
    nodes += [helper.make_node("Constant", [], ["minus"], value=helper.make_tensor("t", INT64, [1], [-1]))]
    for name in names:
        nodes += [helper.make_node("Expand", [name, "all"], [f"{name}_e"]), helper.make_node("Unsqueeze", [f"{name}_e", "minus"], [f"{name}_u"])]
    return [
        *slices("a", ("zero", "six"), ["zero", "one"]),
        conv("d", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["a"], ["taken"]),
        helper.make_node("Expand", ["d", "taken"], ["e"]),
        *nodes,
        helper.make_node("Concat", [f"{name}_u" for name in names], ["indices"], axis=-1),
        helper.make_node("Reshape", ["e", "all"], ["updates"]),
        helper.make_node("ScatterND", ["x", "indices", "updates"], ["y"]),
    ]


def test_an_assignment_to_a_slice(tmp_path):
    model = read(tmp_path / "m.onnx", assignment())
    assert model.layers == (ModelLayer("c", "Slice-Conv-ScatterND", WHOLE),)
    assert {node.remark for node in model.others} == {"known before the run"}
    assert model.elements == sum(WHOLE.tensors.values())


def test_the_assignment_as_it_is_computed(tmp_path):
    """By onnx's reference: what the test above calls a partial convolution is one."""
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(1)
    x, w = (rng.integers(-3, 4, sizes).astype(np.float32) for sizes in ((2, 24, 5, 5), (6, 6, 3, 3)))
    path = write(tmp_path / "m.onnx", assignment(), [info("x", [2, 24, 5, 5]), info("w", list(w.shape))], {**PARTLY, **ONE_AXIS, "w": w.shape})
    model = onnx.load(path)
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "w"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    (y,) = ReferenceEvaluator(model).run(None, {"x": x, "w": w})
    assert np.array_equal(y, partial_conv2d(x, w))


def test_an_assignment_in_turned_order(tmp_path):
    """torch's newer exporter turns the axis to the front, scatters there, and turns it back."""
    nodes = [
        *slices("a", ("zero", "six"), ["one"]),
        conv("d", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2, 3]),
        helper.make_node("Transpose", ["d"], ["dt"], perm=[1, 0, 2, 3]),
        helper.make_node("ScatterND", ["xt", "indices", "dt"], ["yt"]),
        helper.make_node("Transpose", ["yt"], ["y"], perm=[1, 0, 2, 3]),
    ]
    rows = helper.make_tensor("indices", INT64, [6, 1], range(6))
    path = tmp_path / "m.onnx"
    for indices, op in ((rows, "Slice-Conv-ScatterND"), (helper.make_tensor("indices", INT64, [6, 1], [0, 1, 2, 3, 5, 4]), "Conv")):
        write(path, nodes, [info("x", [2, 24, 5, 5])], {**PARTLY, **ONE_AXIS})
        model = onnx.load(path)
        model.graph.initializer.append(indices)
        onnx.save(model, path)
        assert [layer.op for layer in read_model(str(path)).layers] == [op]


@pytest.mark.parametrize("sizes", [(2, 5, 5, 5), (1, 6, 5, 5)])
def test_an_assignment_elsewhere_is_none(tmp_path, sizes):
    """Fewer indices than the convolution has outputs."""
    nodes = [node for node in assignment(sizes) if node.op_type != "Expand" or node.input[0] != "d"]
    nodes = [node for node in nodes if node.output[0] != "updates"]
    nodes.insert(-1, helper.make_node("Slice", ["d", "n0", "sizes", "axes"], ["updates"]))
    model = read(tmp_path / "m.onnx", nodes, {"sizes": list(sizes)})
    assert [layer.problem for layer in model.layers] == [Conv2d(2, 6, 5, 5, 6, 3, 3, 1, 1, 1, 1, 1, 1)]


def test_a_value_that_is_read_again_is_no_part(tmp_path):
    model = read(tmp_path / "m.onnx", [*assignment(), helper.make_node("Relu", ["d"], ["z"])], outputs=("y", "z"))
    assert [layer.op for layer in model.layers] == ["Conv"]
    assert {"ScatterND", "Slice"} <= {node.op for node in model.others}
