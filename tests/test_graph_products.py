"""Products of an activation with constants, whichever side and shape the constants have: each is counted, as what onnx infers of it says."""

import math

import numpy as np
import pytest
from graphs import conv, helper, info, onnx, write

import sim
from refconv import Conv2d
from refconv.graph.read import read_model

CASES = {
    # name: (left operand, right operand, which is constant, attributes of a Gemm or None, problem)
    "(1, K, N)": ([2, 9, 16], [1, 16, 10], 1, None, Conv2d(2, 16, 1, 9, 10, 1, 1)),
    "(1, 1, K, N)": ([2, 7, 5, 16], [1, 1, 16, 10], 1, None, Conv2d(2, 16, 7, 5, 10, 1, 1)),
    "a row of (1, K, N)": ([4, 16], [1, 16, 10], 1, None, Conv2d(4, 16, 1, 1, 10, 1, 1)),
    "(4, K, N), one for each": ([4, 9, 16], [4, 16, 10], 1, None, Conv2d(1, 64, 1, 9, 40, 1, 1, groups=4)),
    "(4, K, N), heads": ([2, 4, 9, 16], [4, 16, 10], 1, None, Conv2d(2, 64, 1, 9, 40, 1, 1, groups=4)),
    "(4, K, N), shared input": ([9, 16], [4, 16, 10], 1, None, Conv2d(1, 16, 1, 9, 40, 1, 1)),
    "(2, 4, K, N)": ([2, 1, 9, 16], [2, 4, 16, 10], 1, None, Conv2d(1, 32, 1, 9, 80, 1, 1, groups=2)),
    "a vector on the right": ([2, 9, 16], [16], 1, None, Conv2d(2, 16, 1, 9, 1, 1, 1)),
    "a vector on the left": ([16], [2, 16, 9], 0, None, Conv2d(2, 16, 1, 9, 1, 1, 1)),
    "an activation that is a vector": ([16], [16, 10], 1, None, Conv2d(1, 16, 1, 1, 10, 1, 1)),
    "an activation that is a vector, on the right": ([10, 16], [16], 0, None, Conv2d(1, 16, 1, 1, 10, 1, 1)),
    "a matrix on the left": ([10, 16], [2, 16, 9], 0, None, Conv2d(2, 16, 1, 9, 10, 1, 1)),
    "(1, M, K) on the left": ([1, 10, 16], [2, 16, 9], 0, None, Conv2d(2, 16, 1, 9, 10, 1, 1)),
    "(4, M, K) on the left": ([4, 10, 16], [4, 16, 9], 0, None, Conv2d(1, 64, 1, 9, 40, 1, 1, groups=4)),
    "Gemm": ([4, 16], [16, 10], 1, {}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
    "Gemm, constant transposed": ([4, 16], [10, 16], 1, {"transB": 1}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
    "Gemm, constant on the left": ([10, 16], [16, 4], 0, {}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
    "Gemm, constant on the left, transposed": ([16, 10], [16, 4], 0, {"transA": 1}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
    "Gemm, both transposed": ([16, 10], [4, 16], 0, {"transA": 1, "transB": 1}, Conv2d(4, 16, 1, 1, 10, 1, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_products_are_counted(tmp_path, case):
    left, right, constant, attributes, problem = CASES[case]
    sizes = {"a": left, "b": right}
    held, free = ("a", "b") if constant == 0 else ("b", "a")
    node = helper.make_node("MatMul" if attributes is None else "Gemm", ["a", "b"], ["y"], **(attributes or {}))
    path = write(tmp_path / "m.onnx", [node], [info(free, sizes[free])], {held: tuple(sizes[held])})
    (layer,) = read_model(path).layers
    assert layer.problem == problem
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path)).graph.output[0].type.tensor_type.shape.dim
    outputs = math.prod(dim.dim_value for dim in inferred)
    assert problem.macs == outputs * 16
    assert problem.tensors == {"input": math.prod(sizes[free]), "weight": math.prod(sizes[held]), "output": outputs}


def test_products_side_by_side_can_be_simulated():
    record = sim.simulate(None, CASES["(4, K, N), one for each"][4], "zen4")
    record = record if isinstance(record, dict) else record.as_json()
    assert record["macs"] == 4 * 9 * 16 * 10


def test_the_third_operand_of_a_gemm(tmp_path):
    """One number an output channel is a bias; a matrix is an addition of its own."""
    for held, c, bias in (("b", (10,), True), ("b", (1, 10), True), ("b", (4, 10), False), ("a", (10, 1), True), ("a", (4,), False)):
        constants = {held: (16, 10) if held == "b" else (10, 16), "c": c}
        inputs = [info("x", [4, 16] if held == "b" else [16, 4])]
        node = helper.make_node("Gemm", ["x", "b", "c"] if held == "b" else ["a", "x", "c"], ["y"], name="g")
        model = read_model(write(tmp_path / "m.onnx", [node], inputs, constants))
        (layer,) = model.layers
        assert (layer.problem, layer.bias) == (Conv2d(4, 16, 1, 1, 10, 1, 1), bias)
        assert [(node.name, node.op, node.elements) for node in model.others] == ([] if bias else [("g: c", "Add", math.prod(c))])


def test_products_of_activations_are_no_layers_but_their_macs_are_known(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "m"], ["q"]),
        helper.make_node("Transpose", ["q"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "t"], ["s"]),
        helper.make_node("MatMul", ["s", "q"], ["y"]),
    ]
    path = write(tmp_path / "m.onnx", nodes, [info("x", [2, 9, 16])], {"m": (16, 8)})
    for batch in (None, 6):
        model = read_model(path, batch=batch)
        n = batch or 2
        assert [(node.op, node.macs) for node in model.others] == [("Transpose", 0), ("MatMul", n * 81 * 8), ("MatMul", n * 9 * 8 * 9)]
        assert model.macs == n * 9 * 16 * 8 + 2 * n * 81 * 8


@pytest.mark.parametrize(
    ("op", "inputs", "sizes", "macs"),
    [
        ("ConvTranspose", ["c", "t"], {"t": (8, 4, 2, 2)}, 8 * 25 * 4 * 4),
        ("Einsum", ["c", "c"], {}, None),
    ],
)
def test_other_operators_that_multiply(tmp_path, op, inputs, sizes, macs):
    attributes = {"equation": "nchw,nchw->nc"} if op == "Einsum" else {}
    nodes = [conv("c"), helper.make_node(op, inputs, ["y"], **attributes)]
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [1, 4, 5, 5])], {"w": (8, 4, 1, 1), **sizes}))
    assert [(node.op, node.macs) for node in model.others] == [(op, macs)]


def test_recurrent_layers_say_their_macs(tmp_path):
    """An LSTM of 7 steps: each multiplies its input and its state by four gates' weights, in both directions."""
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["h"], hidden_size=6, direction="bidirectional"),
        helper.make_node("Reshape", ["h", "to"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    constants = {"w": (2, 24, 5), "r": (2, 24, 6), "to": [7, -1], "m": (36, 4)}
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [7, 3, 5])], constants))
    assert [layer.problem for layer in model.layers] == [Conv2d(7, 36, 1, 1, 4, 1, 1)]
    assert model.others[0].macs == 7 * 3 * 2 * 4 * 6 * (5 + 6)
    assert np.isclose(model.macs, 7 * 36 * 4 + 7 * 3 * 2 * 24 * 11)


FUSED = {
    # attributes of a FusedMatMul: sizes of its operands x and m, and of its output
    "transA": ([2, 16, 9], [16, 10], [2, 9, 10]),
    "transB": ([2, 9, 16], [10, 16], [2, 9, 10]),
    "transA transB": ([16, 9], [10, 16], [9, 10]),
    "transBatchA": ([9, 2, 16], [16, 10], [2, 9, 10]),
    "transBatchA transA": ([16, 2, 9], [16, 10], [2, 9, 10]),
    "transB transBatchB": ([2, 3, 9, 16], [10, 2, 3, 16], [2, 3, 9, 10]),
}


@pytest.mark.parametrize("given", FUSED)
@pytest.mark.parametrize("constant", [True, False])
def test_products_of_onnxruntime_give_shapes_to_what_follows(tmp_path, given, constant):
    """With transposed operands, too: sizes by what NumPy makes of operands transposed as onnxruntime's documentation says."""
    x, m, y = FUSED[given]
    flags = dict.fromkeys(given.split(), 1)
    arrays = []
    for sizes, side in ((x, "A"), (m, "B")):
        array = np.zeros(sizes)
        array = np.moveaxis(array, 0, -2) if flags.get(f"transBatch{side}") else array
        arrays.append(array.swapaxes(-1, -2) if flags.get(f"trans{side}") else array)
    assert list(np.matmul(*arrays).shape) == y
    nodes = [
        helper.make_node("FusedMatMul", ["x", "m"], ["f"], domain="com.microsoft", alpha=0.5, **flags),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    constants = {"v": (10, 8)} | ({"m": tuple(m)} if constant else {})
    inputs = [info("x", x)] + ([] if constant else [info("m", m)])
    model = read_model(write(tmp_path / "m.onnx", nodes, inputs, constants, domains=["com.microsoft"]))
    assert [layer.macs for layer in model.layers] == ([math.prod(y) * 16] if constant else []) + [math.prod(y) * 8]
    assert model.macs == math.prod(y) * (16 + 8)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("DynamicQuantizeMatMul", ["x", "m", "s"], {}),
        ("MatMulIntegerToFloat", ["x", "m", "s", "s"], {}),
        ("MatMulNBits", ["x", "packed", "s"], {"K": 16, "N": 10, "bits": 4, "block_size": 16}),
        ("MatMulBnb4", ["x", "packed", "s"], {"K": 16, "N": 10, "block_size": 16, "quant_type": 1}),
    ],
)
def test_quantized_products_are_no_layers_but_their_macs_and_shapes_are_known(tmp_path, op, inputs, attributes):
    nodes = [helper.make_node(op, inputs, ["f"], domain="com.microsoft", **attributes), helper.make_node("MatMul", ["f", "v"], ["y"])]
    constants = {"m": (16, 10), "packed": (10, 1, 8), "s": (1,), "v": (10, 8)}
    model = read_model(write(tmp_path / "m.onnx", nodes, [info("x", [2, 9, 16])], constants, domains=["com.microsoft"]))
    assert [(node.op, node.macs) for node in model.others] == [(f"com.microsoft.{op}", 2 * 9 * 16 * 10)]
    assert [layer.problem for layer in model.layers] == [Conv2d(2, 10, 1, 9, 8, 1, 1)]
