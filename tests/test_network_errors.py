"""Networks that cannot be run: one clear error, which names the node and the tensor, before anything runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import blocks, by_onnx, network, onnx, whole
from onnx import TensorProto, helper
from problems import few_shapes

import refconv

W = {"w": whole((8, 8, 3, 3))}
X, Y = "float[1,8,6,6] x", "float[a,b,c,d] y"


def test_operators_that_there_are_not_are_listed_together():
    """Each with its op, its name and the shapes of what it reads; what no output needs is not."""
    nodes = [
        helper.make_node("LSTM", ["x", "k", "k"], ["h"], name="memory", hidden_size=4),
        helper.make_node("Strange", ["h"], ["s"], name="odd", domain="mine"),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    x, y = helper.make_tensor_value_info("x", 1, [2, 3, 4]), helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [helper.make_tensor("k", 1, [1, 16, 4], [0.0] * 64)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)])
    with pytest.raises(ValueError, match="operators that there are not") as error:
        refconv.load(model)
    assert str(error.value) == "operators that there are not: LSTM memory of x [2, 3, 4], k [1, 16, 4], k [1, 16, 4]; mine.Strange odd of h [?]"


CASES = {
    # what is wrong: (inputs, body, arrays, words of the error)
    "weight of other channels": (X, "y = Conv (x, v)", {"v": whole((8, 4, 1, 1))}, r"Conv y \(tensor y\) of x \[1x8x6x6\]: weight \[8, 4, 1, 1\]"),
    "weight of other axes": (X, "y = Conv (x, v)", {"v": whole((8, 8, 3))}, "y"),
    "bias of other length": (X, "y = Conv (x, w, v)", {**W, "v": whole((7,))}, r"Conv y \(tensor y\).*bias \[7\]: must be \[8\]"),
    "kernel_shape": (X, "y = Conv <kernel_shape = [5, 5]> (x, w)", W, r"kernel_shape = \[5, 5\]: must be that of the weight"),
    "negative stride": (X, "y = Conv <strides = [0, 1]> (x, w)", W, "strides"),
    "window larger than the map": (X, "y = Conv (x, v)", {"v": whole((8, 8, 9, 9))}, "y"),
    "matrix of other rows": (X, "y = MatMul (x, v)", {"v": whole((5, 4))}, "y"),
    "sizes that do not fit": (X, "y = Add (x, v)", {"v": whole((5, 6))}, r"Add y \(tensor y\) of x \[1x8x6x6\], v \[5x6\]"),
    "concat of other maps": (X, "s = MaxPool <kernel_shape = [2, 2]> (x)  y = Concat <axis = 1> (x, s)", {}, r"Concat y \(tensor y\)"),
    "reshape to other elements": (X, "y = Reshape (x, v)", {"v": np.array([7, -1])}, "y"),
    "transpose of other axes": (X, "y = Transpose <perm = [0, 1]> (x)", {}, "y"),
    "constants that do not fit": (X, "k = Add (v, u)  y = Mul (x, k)", {"v": whole((3,)), "u": whole((4,))}, r"Add k \(tensor k\) of \[3\] float32"),
    "shape that depends on data": (X, "n = NonZero (x)  y = Cast <to = 1> (n)", {}, r"operators that there are not: NonZero n of x \[1, 8, 6, 6\]"),
    "flag that is none": (X, "y = MaxPool <kernel_shape = [2, 2], ceil_mode = -1> (x)", {}, "MaxPool y: ceil_mode = -1: must be 0 or 1"),
    "cycle": (X, "a = Add (x, b)  b = Relu (a)  y = Neg (b)", {}, "reads what is made from it"),
    "value that nobody makes": (X, "y = Add (x, nothing)", {}, "nothing"),
}


@pytest.mark.parametrize("case", CASES)
def test_contradictions(case):
    inputs, body, arrays, words = CASES[case]
    with pytest.raises(ValueError, match=words) as error:
        refconv.load(network(inputs, Y, body, arrays)).schedule  # noqa: B018
    assert "\n" not in str(error.value)


def test_several_faults_are_told_at_once():
    body = "a = Conv (x, v)  c = Conv (x, u)  y = Mul (a, c)  z = Relu (y)"
    with pytest.raises(ValueError, match=r"^cannot be run: Conv a [^;]*; Conv c [^;]*$"):
        refconv.load(network(X, "float[a,b,c,d] z", body, {"v": whole((8, 4, 1, 1)), "u": whole((8, 3, 1, 1))})).schedule  # noqa: B018


def test_what_only_a_run_tells_names_the_node():
    net = refconv.load(network(X, Y, 'y = Resize <mode = "strange"> (x, e, v)', {"v": np.float32([1, 1, 2, 2]), "e": np.float32([])}))
    with pytest.raises(ValueError, match=r"Resize y \(tensor y\): mode = b'strange': must be nearest, linear or cubic"):
        net(whole((1, 8, 6, 6)))


def test_an_output_of_other_sizes_than_the_file_says():
    with pytest.raises(ValueError, match=r"output y is 1x8x6x6 by its nodes, 1x8x5x6 in the file: must be the same"):
        refconv.load(network(X, "float[1,8,5,6] y", "y = Relu (x)")).schedule  # noqa: B018


class Unreadable:
    """What raises as a torch tensor that requires gradients does."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it requires gradients")


def test_arrays_that_do_not_fit():
    net = refconv.load(network("float[N,8,M,M] x, int64[2] i", Y, "y = Conv (x, w)", W))
    x, i = whole((1, 8, 6, 6)), np.array([1, 2])
    wrong = {
        r"x of dtype float64: must be float32": (x.astype(np.float64), i),
        r"x of shape \(1, 7, 6, 6\): must be \[N, 8, M, M\]": (whole((1, 7, 6, 6)), i),
        r"x of shape \(8, 6, 6\): must be \[N, 8, M, M\]": (whole((8, 6, 6)), i),
        r"x of shape \(1, 8, 6, 5\): M is 6 elsewhere; must be one size": (whole((1, 8, 6, 5)), i),
        r"input i is missing; inputs: x, i": (x,),
        r"3 arrays: must be at most 2, x, i": (x, i, i),
        r"x is a masked array": (np.ma.masked_array(x), i),
        r"^x of type Unreadable: cannot be read as an array: it requires gradients$": (Unreadable(), i),
        r"^x of type list: cannot be read as an array: ": ([[1.0], [1.0, 2.0]], i),
    }
    for words, arrays in wrong.items():
        with pytest.raises((ValueError, TypeError), match=words):
            net(*arrays)
    with pytest.raises(TypeError, match="input z is no input"):
        net(x, i, z=i)
    with pytest.raises(TypeError, match="input x is given twice"):
        net(x, i, x=x)
    with pytest.raises(ValueError, match="threads = 0"):
        net(x, i, threads=0)


def test_values_that_decide_shapes_and_cannot_be_read():
    net = refconv.load(network("float[1,8] x, int64[2] sizes", "float[a,b] y", "y = Reshape (x, sizes)"))
    assert net.schedule_for((1, 8), np.array([2, 4])).tensors["y"].shape == (2, 4)
    for call in (net, net.schedule_for):
        with pytest.raises(TypeError, match=r"^sizes of type Unreadable: cannot be read as an array: it requires gradients$"):
            call(whole((1, 8)) if call is net else (1, 8), Unreadable())


def test_files(tmp_path):
    """A file that is none, is cut off, holds no network, or weights of other sizes."""
    path = tmp_path / "m.onnx"
    with pytest.raises(ValueError, match=r"m\.onnx: no such file"):
        refconv.load(path)
    with pytest.raises(ValueError, match="must be a file"):
        refconv.load(tmp_path)
    data = network(X, Y, "y = Conv (x, w)", W).SerializeToString()
    for content in (data[: len(data) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"m\.onnx: (cannot be read as ONNX|has no graph|is no valid)"):
            refconv.load(path)
    model = onnx.ModelProto.FromString(data)
    model.graph.initializer[0].dims[0] = 9
    with pytest.raises(ValueError, match=r"initializer w has sizes \[9, 8, 3, 3\], and other data"):
        refconv.load(model)


def test_elements_that_there_is_no_arithmetic_for():
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [2])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [2])],
    )
    with pytest.raises(ValueError, match=r"input x has elements of type 8 of TensorProto; legal: float32"):
        refconv.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def test_arguments_of_other_kinds():
    """What is no file and no model, an operator set from the future, and shapes that are none."""
    for source in (5, None, b"\x08\x07"):
        with pytest.raises(TypeError, match=f"source of type {type(source).__name__}: must be the path of an ONNX file, or an onnx.ModelProto"):
            refconv.load(source)
    model = network("float[n,3,4,4] x", "float[n,3,4,4] y", "y = Relu (x)", {})
    net = refconv.load(model)
    for shape in (None, 3, {"x": (1, 3, 4, 4)}, "x", (1, 3, 4.0, 4)):
        with pytest.raises(TypeError, match=r"^x = .*: must be its shape, a tuple of integers"):
            net.schedule_for(shape)
    for one in model.opset_import:
        one.version = 99
    with pytest.raises(ValueError, match="operator set 99: must be from 1 to "):
        refconv.load(model)


def test_ten_thousand_nodes():
    """A chain runs in two buffers' memory, and longer ones are no deeper."""
    nodes = [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(10000)]
    ends = [helper.make_tensor_value_info(name, 1, [4]) for name in ("v0", "v10000")]
    net = refconv.load(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 17)]))
    x = whole((4,))
    assert np.array_equal(net(x), x)
    assert len(net.schedule.calls) == 10000
    assert net.peak_bytes == 64


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_graph_is_refused_or_right(data):
    """One change somewhere in a graph, of a kind that files suffer: a clear error of one line, or what onnx's reference computes of it."""
    model = blocks()
    node = data.draw(st.sampled_from(model.graph.node), label="node")
    kind = data.draw(st.sampled_from(["op", "source", "attribute", "drop", "weight", "output"]))
    names = (
        [name for other in model.graph.node for name in other.output] + [tensor.name for tensor in model.graph.initializer] + ["x", "", "none such"]
    )
    if kind == "op":
        node.op_type = data.draw(st.sampled_from([other.op_type for other in model.graph.node] + ["Nothing"]))
    elif kind == "source":
        node.input[data.draw(st.integers(0, len(node.input) - 1))] = data.draw(st.sampled_from(names))
    elif kind == "output":
        node.output[0] = data.draw(st.sampled_from(names))
    elif kind == "attribute" and node.attribute:
        attribute = data.draw(st.sampled_from(node.attribute))
        if attribute.ints:
            attribute.ints[0] = data.draw(st.integers(-2, 9))
        if attribute.type == attribute.INT:
            attribute.i = data.draw(st.integers(-3, 9))
        if attribute.type == attribute.FLOAT:
            attribute.f = data.draw(st.sampled_from([0.0, 1.0, float("nan")]))
    elif kind == "drop":
        model.graph.node.remove(node)
    elif kind == "weight":
        tensor = data.draw(st.sampled_from(model.graph.initializer))
        array = onnx.numpy_helper.to_array(tensor)
        shape = data.draw(st.sampled_from([array.shape[::-1], (*array.shape, 1), array.shape[1:], (0, *array.shape[1:]), (3,)]))
        values = np.resize(array if data.draw(st.booleans()) else np.full(1, np.inf, array.dtype), shape)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    x = whole((1, 3, 9, 10))
    try:
        with few_shapes("float32"):
            made = refconv.load(model, threads=1)(x)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    try:
        expected = by_onnx(model, x=x)[0]
    except Exception:  # onnx's reference refuses more than it must
        return
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, rtol=0, atol=2e-5 * largest)
