"""Networks in the benchmark: peers run the graph that is ours, what disagrees is named, the command line. No figure is asserted."""

import functools
import io
import json

import numpy as np
import pytest
from commands import run as run_command
from rich.console import Console
from tiny_network import TINY

onnx = pytest.importorskip("onnx", reason="extra: test")
from networks import by_onnx  # noqa: E402
from networks import network as graph_of  # noqa: E402

from refconv.bench.__main__ import main  # noqa: E402
from refconv.bench.entry import Entry, WrongResult  # noqa: E402
from refconv.bench.measure import Contest, record  # noqa: E402
from refconv.bench.network_report import kernels_table, network_table, pairs_table, steps_table  # noqa: E402
from refconv.bench.networks import SETS, Case, agree, exact, set_cases  # noqa: E402
from refconv.bench.peers import PEERS, installed, peer  # noqa: E402
from refconv.networks import build, names  # noqa: E402
from refconv.networks.built import build_network  # noqa: E402
from refconv.ops.network import load  # noqa: E402

run = functools.partial(run_command, main=main)


@pytest.fixture
def tiny(tmp_path):
    """The path of a file with a network of two layers."""
    path = str(tmp_path / "tiny.onnx")
    build_network(TINY, size=8).to_onnx(path)
    return path


def images(size):
    return np.random.default_rng(1).standard_normal((1, 3, size, size)).astype(np.float32)


def test_the_sets_are_networks_that_there_are():
    assert {name for chosen in SETS.values() for name in chosen} <= set(names())
    assert len(SETS["light"]) == len(set(SETS["light"])) == 10
    assert set_cases("convfirst", n=2)[:2] == [Case("convfirstnet_pico", 256, 2), Case("convnext_pico", 288, 2)]
    assert set_cases("convfirst", 64)[1] == Case("convnext_pico", 64)
    assert set_cases("light")[0] == Case("fasternet_t0", 224)


@pytest.mark.parametrize("name", PEERS)
def test_peers_run_the_graph_from_a_file(name, tiny, monkeypatch):
    """Every form of every peer; torch compiles nothing here: the tests of blocks have it do that."""
    if not installed([name]):
        pytest.skip(f"{name} is not installed (extra: bench)")
    if name == "torch":
        monkeypatch.setattr(peer(name).torch, "compile", lambda module, **options: module)
    case = Case(tiny)
    model, x = case.model(), images(8)
    entries = peer(name).network_entries(model, x, 1)
    assert bool(entries) == (name != "ncnn")
    agree(case, entries, by_onnx(model, input=x)[0].astype(np.float64), 2)


@pytest.mark.parametrize("name", ["regnety_008", "mobilenetv3_small", "mobilenetv2", "convnext_atto", "fasternet_t0", "convfirstnet_pico"])
def test_torch_computes_the_operators_of_networks(name):
    """In place or not, with linear layers or without, it is onnxruntime's result; in float64 the exact one."""
    torch, runtime = pytest.importorskip("torch", reason="extra: bench"), pytest.importorskip("onnxruntime", reason="extra: bench")
    from refconv.bench.peers.torch_graph import TorchGraph

    model, x = build(name, size=32).model, images(32)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    forms = {"onnxruntime": session.run(None, {"input": x})[0]}
    with torch.no_grad():
        for linear in (False, True):
            for form in (torch.contiguous_format, torch.channels_last):
                module = TorchGraph(model, linear=linear).to(memory_format=form)
                given = torch.from_numpy(x).contiguous(memory_format=form)
                module(given)
                forms[linear, form] = module(given).numpy()
                assert np.array_equal(given.numpy(), x), "what is given stays as it is"
    agree(Case(name), {str(form): Entry(None, lambda made=made: made) for form, made in forms.items()}, exact(model, x), 50)


OPERATORS = {
    "in place": "x1 = Relu (x) y1 = Relu (x1) y2 = Sigmoid (x1) y = Add (y1, y2)",
    "broadcast": "m = GlobalAveragePool (x) g = Sigmoid (m) r = Relu (x) p = Mul (g, r) y = Add (p, r)",
    "views": "t = Transpose <perm = [0, 2, 3, 1]> (x) u = Transpose <perm = [0, 3, 1, 2]> (t) r = Relu (u) y = Mul (r, x)",
    "gate of another": "s = Sigmoid (x) r = Relu (x) m = Mul (r, s) t = Sigmoid (m) y = Mul (m, t)",
    "two gates": "s = Sigmoid (x) m = Mul (x, s) y = Add (m, s)",
    "hard": "h = HardSigmoid <alpha = 0.3, beta = 0.4> (x) k = HardSwish (x) c = Clip (k, low) d = Mul (c, h) y = Clip (d, low, high)",
    "pools": "a = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x) y = MaxPool <kernel_shape = [2, 2], pads = [0, 0, 1, 1]> (a)",
    "pads": 'a = Pad <mode = "reflect"> (x, one) y = Pad (a, two)',
    "split": "a, b = Split <axis = 1> (x, sizes) c = Relu (a) y = Concat <axis = 1> (b, c, a)",
    "mean": "m = ReduceMean <axes = [2, 3], keepdims = 0> (x) r = Reshape (m, row) g = Gemm (r, square) y = Softmax (g)",
    "matrix": "t = Transpose <perm = [0, 2, 3, 1]> (x) m = MatMul (t, square) e = Erf (m) s = Sub (e, m) q = Tanh (s) y = Div (q, square)",
    "unequal": "y = Conv <pads = [0, 1, 2, 0], strides = [2, 1]> (x, filters)",
    "norm": "b = BatchNormalization (x, v, v, v, v) g = Gelu (b) i = Identity (g) s = Sqrt (v) w = Reshape (s, column) y = Mul (i, w)",
}
ARRAYS = {
    "low": np.float32(-0.1),
    "high": np.float32(0.9),
    "one": np.array([0, 0, 1, 2, 0, 0, 2, 1]),
    "two": np.array([0, 1, 1, 0, 0, 0, 2, 3]),
    "sizes": np.array([1, 3]),
    "row": np.array([1, 4]),
    "column": np.array([4, 1, 1]),
    "square": np.eye(4, dtype=np.float32) + 1,
    "filters": np.arange(4 * 4 * 9, dtype=np.float32).reshape(4, 4, 3, 3) / 99,
    "v": np.float32([1, 2, 3, 0.5]),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_torch_computes_what_onnx_says(name):
    torch, runtime = pytest.importorskip("torch", reason="extra: bench"), pytest.importorskip("onnxruntime", reason="extra: bench")
    from refconv.bench.peers.torch_graph import TorchGraph

    body = OPERATORS[name]
    arrays = {key: array for key, array in ARRAYS.items() if f"{key})" in body or f"{key}," in body}
    model = graph_of("float[1,4,4,4] x", "float[a,b,c,d] y", body, arrays, opset=20 if "Gelu" in body else 17)
    x = np.random.default_rng(3).standard_normal((1, 4, 4, 4)).astype(np.float32)
    with torch.no_grad():
        made = TorchGraph(model)(torch.from_numpy(x.copy()))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    assert made.shape == expected.shape
    assert np.allclose(made, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("y = Mod (x, x)", r"y \(Mod\): not among the operators"),
        ('y = Conv <auto_pad = "SAME_UPPER"> (x, w)', "auto_pad or ceil_mode"),
        ("y = Conv (x, x)", "without a constant weight"),
        ('y = Pad <mode = "edge"> (x, w)', "Pad of mode edge"),
    ],
)
def test_what_is_not_put_to_torch_leaves_it_out(body, said, capsys):
    pytest.importorskip("torch", reason="extra: bench")
    model = graph_of("float[1,4,4,4] x", "float[a,b,c,d] y", body, {"w": np.ones((4, 4, 1, 1), np.float32)})
    assert peer("torch").network_entries(model, np.ones((1, 4, 4, 4), np.float32), 1) == {}
    assert said.partition(" ")[2].replace("\\", "") in capsys.readouterr().err
    assert exact(model, np.ones((1, 4, 4, 4), np.float32)) is None


def test_who_disagrees_is_named():
    case, right, wrong = Case("resnet18"), np.float32([[1, 100]]), np.float32([[1, 100.01]])
    entry = lambda array: Entry(None, lambda: array)
    agree(case, {"a b": entry(right), "c d": entry(right)}, None, 20)
    with pytest.raises(WrongResult, match=r"^c d: resnet18 is off by 1\.0e-04 of its largest output; at most 2e-06 is legal$"):
        agree(case, {"a b": entry(right), "c d": entry(wrong)}, None, 20)
    with pytest.raises(WrongResult, match="a b: resnet18 is off by"):
        agree(case, {"a b": entry(wrong)}, right.astype(np.float64), 20)
    with pytest.raises(WrongResult, match=r"a b: resnet18 gives \(1, 1\); should be \(1, 2\)"):
        agree(case, {"a b": entry(right[:, :1])}, right, 20)
    with pytest.raises(WrongResult, match="off by nan"):
        agree(case, {"a b": entry(np.full((1, 2), np.nan))}, right, 20)


def drawn(table):
    """The rows of a table as lists of words."""
    text, found = io.StringIO(), []
    for _, each in table.folded():
        Console(file=text, width=200).print(each)
    for line in text.getvalue().splitlines():
        if line.strip() and "\u2500" not in line:
            found.append(line.split())
    return found


def test_the_table_has_each_contenders_best_the_mean_and_the_least():
    forms = ("refconv NCHW", "torch eager contiguous", "torch eager linear", "torch compile linear", "onnxruntime bound")
    contest = lambda name: Contest(name, name, 10**9, dict.fromkeys(forms, Entry(None, None)))
    one = record(contest("one"), dict(zip(forms, (1.0, 9.0, 8.0, 4.0, 5.0), strict=True)), 1e10, 1, "NCHW")
    two = record(contest("two"), dict(zip(forms, (2.0, 9.0, 8.0, 7.0, 2.0), strict=True)), 1e10, 1, "NCHW")
    assert (one["best_peer"], one["ratio"], one["conversion_share"]) == ("torch compile linear", 4.0, None)
    _, *rows = drawn(network_table("light", [one, two]))
    assert rows[0][-5:] == ["10.0", "5000.00", "8000.00", "4000.00", "4.00"]
    assert rows[2] == ["geometric", "mean", "2.24", "x", "5.66", "x", "3.74", "x", "2.00"]
    assert rows[3] == ["least", "1.00", "x", "4.00", "x", "3.50", "x", "1.00"]
    alone = record(Contest("a", "a", 10**9, {"refconv NCHW": Entry(None, None)}), {"refconv NCHW": 2.0}, 1e10, 1, "NCHW")
    assert drawn(network_table("models", [alone]))[-1] == ["a", "2000.00", "0.5", "5.0"]


def test_pairs_compare_their_second_by_peers_with_our_first():
    forms = ("refconv NCHW", "torch compile linear", "onnxruntime bound")
    measured = lambda name, *times: record(
        Contest(name, name, 10**9, dict.fromkeys(forms, Entry(None, None))), dict(zip(forms, times, strict=True)), 1e10, 1, "NCHW"
    )
    records = [measured("f1", 1.0, 2.0, 3.0), measured("n1", 3.0, 6.0, 4.0), measured("f2", 2.0, 2.0, 2.0), measured("n2", 3.0, 3.0, 4.0)]
    rows = drawn(pairs_table(records))
    assert rows[-3] == ["f1", ":", "n1", "1000.00", "3000.00", "6000.00", "6.00", "4000.00", "4.00"]
    assert rows[-2] == ["f2", ":", "n2", "2000.00", "3000.00", "3000.00", "1.50", "3000.00", "1.50"]
    assert rows[-1] == ["geometric", "mean", "3.00", "2.45"]
    alone = [one | {"best_peer_s": None, "times_s": {"refconv NCHW": one["seconds"]}} for one in records]
    assert drawn(pairs_table(alone))[1:] == [["f1", ":", "n1", "1000.00", "3000.00"], ["f2", ":", "n2", "2000.00", "3000.00"]]


def test_steps_say_where_the_time_goes(tiny):
    status, out, err = run("--model", tiny, "--steps", "--rounds", "2", "--peers", "none", "--json")
    assert status == 0, err  # which says so where kernels have to be compiled
    document = json.loads(out)
    records = document["steps"][tiny]
    assert sum(one["flops"] for one in records) == 2 * TINY.macs(8)
    assert [one["kernel"] for one in records] == [call.kernel for call in load(tiny, threads=1).schedule.calls]
    assert next(one["kernel"] for one in records if one["flops"]) == "conv2d"
    first = next(one for one in records if one["flops"])
    assert first["bytes"] == 4 * (3 * 64 + 16 * 16 + 16 * 27 + 16)
    peak, copied = document["host"]["peak_flop_per_s"], document["host"]["copy_bytes_per_s"]
    for one in records:
        assert one["roof_s"] == max(one["flops"] / peak, one["bytes"] / copied)
        assert one["flop_per_s"] == one["flops"] / one["seconds"]
    rows = drawn(steps_table("tiny", records))
    assert len(rows) == len(records) + 1
    assert drawn(kernels_table(records))[-1][:2] == ["all", str(len(records))]
    status, out, _ = run("--model", tiny, "--steps", "--rounds", "1")
    assert status == 0
    assert "every call" in out
    assert "By kernel" in out


def test_the_command_line_takes_models(tiny):
    status, out, _ = run("--model", tiny, "--rounds", "1", "--peers", "none", "--json")
    (measured,) = json.loads(out)["sets"]["models"]
    assert (status, measured["flops"], measured["name"]) == (0, 2 * TINY.macs(8), tiny)
    assert measured["descriptor"] == f"{tiny} 1x3x8x8"
    assert set(measured["times_s"]) == {"refconv NCHW"}
    status, out, _ = run("--model", tiny, "--rounds", "1", "--peers", "none")
    assert status == 0
    assert "1x3x8x8" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--model", "resnet51"), "network 'resnet51': must be one of refconv.networks.names(), such as resnet50"),
        (("--model", "absent.onnx"), "absent.onnx: No such file"),
        (("--model", "a.csv"), "a.csv: must be an ONNX graph (.onnx) or a network by name"),
        (("--model", "TINY", "--dtype", "float16"), "--dtype float16: must be float32 with networks"),
        (("--model", "TINY", "--batch", "2"), "batch = 2: must be 1, as the graph"),
        (("--model", "convnext_atto", "--size", "31"), "size = 31: not legal for convnext_atto"),
        (("--size", "64", "--set", "dense"), "--size 64: needs --model NAME or a set of networks"),
        (("--steps",), "--steps: needs --model, and no layers or sets beside it"),
        (("--steps", "--model", "TINY", "--set", "dense"), "--steps: needs --model, and no layers or sets beside it"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text, tiny):
    status, out, err = run("--peers", "none", *(tiny if word == "TINY" else word for word in arguments))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert text in err


@pytest.mark.parametrize(
    ("inputs", "outputs", "body", "said"),
    [
        ("float[1,4] x, float[1,4] z", "float[1,4] y", "y = Add (x, z)", "has 2 inputs and 1 outputs: must have one of each to be measured"),
        ("float[1,N] x", "float[1,N] y", "y = Relu (x)", "input x: must be float32, of sizes that are known but for the first"),
        ("int64[1,4] x", "int64[1,4] y", "y = Abs (x)", "input x: must be float32"),
    ],
)
def test_files_that_are_not_measured(inputs, outputs, body, said, tmp_path):
    path = str(tmp_path / "odd.onnx")
    onnx.save(graph_of(inputs, outputs, body), path)
    with pytest.raises(ValueError, match=said):
        Case(path).model()


def test_an_open_number_of_images_is_one_or_as_asked(tmp_path):
    path = str(tmp_path / "open.onnx")
    onnx.save(graph_of("float[N,4] x", "float[N,4] y", "y = Relu (x)"), path)
    images_of = lambda case: case.model().graph.input[0].type.tensor_type.shape.dim[0].dim_value
    assert (images_of(Case(path)), images_of(Case(path, n=3))) == (1, 3)
