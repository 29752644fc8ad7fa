"""Fuzzed input: whatever a file or a text holds, it is read or refused in one line that names it; nothing hangs, nothing is raised but ValueError."""

import contextlib
import math
import pathlib
import re
import tempfile
import unicodedata

import pytest
import yaml
from commands import GOOD, run
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import Conv2d, PartialConv2d
from refconv.graph.read import parse_input_shape, read_model
from refconv.problem.conv import KNOWN
from sim.cli.cache_option import parse_cache
from sim.machine.record import make_level, presets, read_machine

SIZES = st.one_of(st.integers(-2, 9), st.sampled_from([16, 64, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 63, 10**30]), st.integers())


def one_line(text):
    """Whether nothing in a text moves a terminal's cursor."""
    return not any(unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs") for letter in text)


@contextlib.contextmanager
def holding(data, suffix):
    """The path of a file that holds these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"given{suffix}"
        path.write_bytes(data)
        yield str(path)


def refused(read, path):
    """What `read` makes of the file, None if it refuses it in one line that names it."""
    try:
        return read(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert one_line(str(error))
        return None


# --- problems and descriptors ---------------------------------------------------------------------------------------------


@given(st.lists(SIZES, min_size=16, max_size=16))
@example([1, 1, 1 << 30, 1, 1, 1, 1, 1 << 30, 1, 0, 0, 0, 0, 1, 1, 1])
@example([1, 1, 1 << 20, 1 << 19, 1, 65535, 1, 1, 1 << 30, 0, 0, 0, 0, 1, 1, 1])
def test_any_numbers_are_a_problem_or_refused(numbers):
    """Also the costs of a legal problem, however large: they take milliseconds."""
    for problem in (Conv2d(*numbers), PartialConv2d(*numbers[:7])):
        try:
            legal = problem.checked()
        except ValueError as error:
            assert one_line(str(error))
        else:
            assert all(0 < least <= legal.tensors[name] for name, least in legal.compulsory.items() if name != "weight")


TOKENS = st.sampled_from(KNOWN.split())


@given(st.lists(st.tuples(TOKENS, SIZES), max_size=12))
def test_any_tokens_are_a_descriptor_or_refused(tokens):
    try:
        problem = Conv2d.parse("".join(f"{token}{value}" for token, value in tokens))
    except ValueError as error:
        assert one_line(str(error))
    else:
        assert Conv2d.parse(str(problem)) == problem


# --- machines -------------------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    SIZES,
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["32 KiB", "0 B", "64 B", "1 GB/s", "1e400 GB/s", "9" * 18 + " GiB", "25 GFLOP/s", "L1"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)), max_leaves=8
)
CACHES = st.lists(st.dictionaries(st.sampled_from(["name", "size", "ways", "more"]), SCALARS, max_size=4), max_size=3)


@given(
    st.dictionaries(st.sampled_from([*GOOD, "name", "source", "x"]), st.one_of(VALUES, CACHES), max_size=4),
    st.sets(st.sampled_from(list(GOOD)), max_size=1),
)
def test_any_mapping_is_a_machine_or_refused(changed, left_out):
    document = {key: value for key, value in {**GOOD, **changed}.items() if key not in left_out}
    with holding(yaml.safe_dump(document, allow_unicode=True).encode(), ".yaml") as path:
        machine = refused(read_machine, path)
        assert machine is None or machine.checked() == machine


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_any_bytes_are_a_machine_or_refused(noise, end):
    whole = next(iter(presets().values())).read_bytes()
    for data in (noise, whole[:end], whole[:end] + noise, noise + whole):
        with holding(data, ".yaml") as path:
            refused(read_machine, path)


REST = b"vector: 64 B\nregisters: 32\npeak: 1 GFLOP/s\nbandwidth: 1 GB/s\n"
LAUGHS = b"[&a [x, x, x], " + b", ".join(b"&%c [%s]" % (c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 122)) + b"]\n"
ODD_YAML = {
    "empty": b"",
    "cyclic": b"a: &a\n  b: *a\n",
    "cyclic key": b"? &a [*a]\n: 1\n",
    "cyclic size": b"line: &l [*l]\ncaches: [{name: L1, size: 32 KiB, ways: 8}]\n" + REST,
    "cyclic caches": b"line: 64 B\ncaches: &c\n  - *c\n" + REST,
    "cyclic cache": b"line: 64 B\ncaches:\n  - &c {name: L1, size: *c, ways: 8}\n" + REST,
    "cyclic name": b"name: &n [*n]\nline: 64 B\ncaches: [{name: L1, size: 32 KiB, ways: 8}]\n" + REST,
    "laughs": b"line: 64 B\ncaches: " + LAUGHS + REST,
    "laughing line": b"line: " + LAUGHS + b"caches: [{name: L1, size: 32 KiB, ways: 8}]\n" + REST,
    "laughing ways": b"line: 64 B\ncaches: [{name: L1, size: 32 KiB, ways: " + LAUGHS.strip() + b"}]\n" + REST,
    "deep": b"[" * 20000,
    "merge": b"<<: 5\n",
    "merge of itself": b"&a\n<<: *a\n",
    "tag": b"!!python/object/apply:os.system [ls]\n",
    "date": b"name: 2020-99-99\n",
    "binary": b"line: !!binary aGVsbG8\n",
    "list": b"- 1\n",
    "unhashable key": b"{[1]: 2}\n",
    "set": b"!!set {a, b}\n",
    "utf-16": "line: 64 B".encode("utf-16"),
    "not a number": b"line: .nan\nvector: .inf\nregisters: .nan\npeak: .inf\nbandwidth: .nan\ncaches: .nan\n",
    "huge integer": b"line: 1" + b"0" * 5000 + b"\n",
    "long text": b"caches: 5\nline: " + b"x" * 100_000 + b"\n" + REST,
    "two documents": b"a: 1\n---\nb: 2\n",
}


@pytest.mark.parametrize("case", ODD_YAML)
def test_odd_yaml_is_refused(case):
    with holding(ODD_YAML[case], ".yaml") as path:
        assert refused(read_machine, path) is None
        status, out, err = run("--layer", "dwconv", "--machine", path)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err[:-1].isprintable()
        assert len(err) < 2000


def test_an_enormous_yaml_is_refused():
    with holding(b"# " + b"x" * (1 << 25), ".yaml") as path:
        assert refused(read_machine, path) is None


def test_files_of_gibibytes_are_refused_unread(tmp_path):
    for read, suffix in ((read_machine, ".yaml"), (read_model, ".csv"), (read_model, ".onnx")):
        path = tmp_path / f"large{suffix}"
        with open(path, "wb") as file:
            file.truncate(1 << 31)  # no byte of it is on disk
        assert refused(read, str(path)) is None


def test_a_folder_is_no_file(tmp_path):
    for read, suffix in ((read_machine, ".yaml"), (read_model, ".csv"), (read_model, ".onnx")):
        (tmp_path / f"folder{suffix}").mkdir()
        assert refused(read, str(tmp_path / f"folder{suffix}")) is None


@given(st.tuples(st.text(max_size=4), SCALARS, SCALARS, SCALARS))
def test_any_cache_is_legal_or_refused(given_level):
    """Ways of zero, lines larger than the level, sizes of any kind; and the same as text of the command line."""
    name, size, ways, line = given_level
    for make in (lambda: make_level(name, size, ways, line), lambda: parse_cache(f"{name}={size},{ways},{line}")):
        try:
            level = make()
        except ValueError as error:
            assert one_line(str(error))
        else:
            assert level.sets >= 1
            assert level.sets * level.ways * level.line_bytes == level.size_bytes


@pytest.mark.parametrize(
    ("cache", "text"),
    [
        ("L1=32KiB,0,64", "ways = 0: must be a positive integer"),
        ("L1=64B,1,128", "size = '64B': must be a multiple of ways \\* line = 128 bytes"),
        ("L1=0B,1,64", "size = '0B': must be a multiple"),
        ("L1=32KiB,8,4194304", "line = '4194304': must be a power of two"),
        ("L1=99999999999 GiB,8,64", "size = '99999999999 GiB': must be a multiple"),
        ("L1=32KiB,999999999999999999999,64", "size = '32KiB': must be a multiple"),
    ],
)
def test_impossible_caches_exit_2(cache, text):
    status, out, err = run("--layer", "dwconv", "--cache", cache)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(text, err)


# --- topologies -----------------------------------------------------------------------------------------------------------

TOPOLOGY = b"Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\na, 9, 9, 3, 3, 4, 8, 1,\n"
CELLS = st.one_of(st.text(max_size=6), st.integers(-1, 20).map(str), SIZES.map(str))


@given(st.binary(max_size=200), st.integers(0, len(TOPOLOGY)), st.lists(st.lists(CELLS, max_size=10), max_size=4))
def test_any_bytes_are_a_topology_or_refused(noise, end, rows):
    table = "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
    for data in (noise, TOPOLOGY[:end], TOPOLOGY[:end] + noise, table, TOPOLOGY + table):
        with holding(data, ".csv") as path:
            model = refused(read_model, path)
            assert model is None or all(layer.problem.checked() == layer.problem for layer in model.layers)


def test_an_enormous_topology_is_refused():
    for data in (b"a," * (1 << 24), b"a, 9, 9, 3, 3, 4, 8, 1,\n" * (1 << 20), b"\0" * (1 << 25), b'"' + b"a" * (1 << 20)):
        with holding(data, ".csv") as path:
            assert refused(read_model, path) is None


@given(st.text(max_size=30))
def test_any_text_is_an_input_shape_or_refused(text):
    try:
        _, sizes = parse_input_shape(text)
    except ValueError as error:
        assert one_line(str(error))
    else:
        assert all(size > 0 for size in sizes)


# --- ONNX -----------------------------------------------------------------------------------------------------------------


def graph():
    """A valid graph with most of what the reader looks at, as bytes."""
    helper = pytest.importorskip("onnx").helper
    tensor = lambda name, values: helper.make_tensor(name, 7, [len(values)], values)
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["c"], name="c", pads=[1, 1, 1, 1], strides=[1, 1], auto_pad="NOTSET", group=1),
        helper.make_node("Split", ["c", "sizes"], ["a", "b"], axis=1),
        helper.make_node("Conv", ["a", "v"], ["d"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["d", "b"], ["e"], axis=1),
        helper.make_node("Sigmoid", ["e"], ["s"]),
        helper.make_node("Mul", ["e", "s"], ["m"]),
        helper.make_node("Shape", ["m"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "all"], ["to"], axis=0),
        helper.make_node("Reshape", ["m", "to"], ["f"]),
        helper.make_node("Gemm", ["f", "g", "h"], ["y"], transB=1),
    ]
    zeros = {"w": (8, 4, 3, 3), "v": (2, 2, 3, 3), "g": (3, 800), "h": (3,)}
    constants = [helper.make_tensor(name, 1, sizes, bytes(4 * math.prod(sizes)), raw=True) for name, sizes in zeros.items()]
    constants += [tensor("pads", [0, 0, 1, 1, 0, 0, 1, 1]), tensor("sizes", [2, 6]), tensor("zero", [0]), tensor("all", [-1])]
    inputs, outputs = [helper.make_tensor_value_info("x", 1, [1, 4, 8, 8])], [helper.make_tensor_value_info("y", 1, [None, None])]
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def read_bytes(data):
    """The Model of these bytes, or None where they are refused."""
    with holding(data, ".onnx") as path:
        return refused(read_model, path)


def test_the_graph_that_is_fuzzed_is_read():
    assert [layer.op for layer in read_bytes(graph().SerializeToString()).layers] == ["Pad-Conv", "Split-Conv-Concat", "Gemm"]


@given(st.data())
def test_any_bytes_are_an_onnx_graph_or_refused(data):
    whole = graph().SerializeToString()
    noise, at = data.draw(st.binary(max_size=100)), data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    for i in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        flipped[i] ^= data.draw(st.integers(1, 255))
    for changed in (noise, whole[:at], whole[:at] + noise, bytes(flipped)):
        read_bytes(changed)


ATTRIBUTES = ["auto_pad", "pads", "strides", "dilations", "group", "kernel_shape", "axis", "transA", "transB", "mode", "value", "x"]
OPERATORS = ["Conv", "Gemm", "MatMul", "Pad", "Slice", "Identity", "Constant", "Shape", "Nothing", "Range", "If"]
INT64 = SIZES.filter(lambda value: abs(value) < 1 << 63)
GIVEN = st.one_of(INT64, st.text(max_size=5), st.floats(width=32), st.lists(st.integers(-3, 9), min_size=1, max_size=5))


@given(st.data())
def test_any_change_of_a_graph_is_read_or_refused(data):
    """Attributes of any kind, inputs swapped or taken away, nodes twice or in another order, other operators, other constants, other shapes."""
    import onnx

    model = graph()
    nodes = model.graph.node
    for _ in range(data.draw(st.integers(1, 3))):
        node = nodes[data.draw(st.integers(0, len(nodes) - 1))]
        names = [name for other in nodes for name in (*other.input, *other.output)]
        change = data.draw(st.sampled_from(["attribute", "input", "fewer", "output", "operator", "order", "twice", "constant", "shape", "domain"]))
        if change == "attribute":
            name = data.draw(st.sampled_from(ATTRIBUTES))
            kept = [attribute for attribute in node.attribute if attribute.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute(name, data.draw(GIVEN))])
        elif change == "input" and node.input:
            node.input[data.draw(st.integers(0, len(node.input) - 1))] = data.draw(st.sampled_from([*names, "", "absent"]))
        elif change == "fewer" and node.input:
            del node.input[data.draw(st.integers(0, len(node.input) - 1)) :]
        elif change == "output" and node.output:
            node.output[0] = data.draw(st.sampled_from([*names, ""]))
        elif change == "operator":
            node.op_type = data.draw(st.sampled_from(OPERATORS))
        elif change == "order":
            node.CopyFrom(nodes[data.draw(st.integers(0, len(nodes) - 1))])
        elif change == "twice":
            nodes.add().CopyFrom(node)
        elif change == "constant":
            tensor = model.graph.initializer[data.draw(st.integers(0, len(model.graph.initializer) - 1))]
            sizes = data.draw(st.lists(INT64, max_size=5))
            del tensor.dims[:]
            tensor.dims.extend(sizes)
        elif change == "shape":
            dims = model.graph.input[0].type.tensor_type.shape.dim
            dims[data.draw(st.integers(0, 3))].dim_value = data.draw(INT64)
        elif change == "domain":
            node.domain = data.draw(st.sampled_from(["", "ai.onnx", "mine"]))
    read_bytes(model.SerializeToString())
