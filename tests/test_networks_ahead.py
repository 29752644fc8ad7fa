"""Networks compiled and tuned ahead: Net.compile, and python -m refconv.warm and refconv.tune --model."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from networks import by_onnx, network, onnx, whole
from test_network_blocks import ARRAYS, CONVNEXT, C, X, Y, model, same
from test_tune import own_folder  # noqa: F401
from tiny_network import TINY

import refconv
from refconv import networks, warm
from refconv.ops import convert
from refconv.tiling.measured import Measured, keep
from refconv.tune import __main__ as tune

ROOT = pathlib.Path(__file__).parent.parent
SHAPE = (2, C, 7, 5)
BLOCK = CONVNEXT.replace("y = Add", "b = Add")


def saved(made, path):
    onnx.save(made, path)
    return str(path)


def test_nothing_is_left_to_be_compiled(monkeypatch):
    """A fused block, an activation by itself, and what brings the input to the order of its kernel."""
    graph, x = model(f"{BLOCK}  y = Relu (b)"), whole(SHAPE, 20)
    net = refconv.load(graph, threads=1)
    convert._entry.cache_clear()
    net.compile(SHAPE)
    assert [call.op for call in net.schedule.calls] == ["ConvNeXtBlock", "activation"]

    def compiled(run, signature):
        raise AssertionError(f"{run} is compiled")

    for module in ("plan", "ops.steps", "ops.convert"):
        monkeypatch.setattr(f"refconv.{module}.compiled", compiled)
    assert same(net(x), by_onnx(graph, x=x)[0], BLOCK)
    with pytest.raises(AssertionError, match="is compiled"):
        refconv.load(graph, threads=1).compile(SHAPE)


RUN = """
import sys
import numpy as np
import refconv

net = refconv.load(sys.argv[1], threads=1)
for n in (1, 2):
    net(np.zeros((n, 8, 6, 6), np.float32))
"""


def test_a_call_that_waits_for_the_compiler_says_so_once_where_no_terminal_shows_it(tmp_path):
    """And one that finds its code on disk says nothing, nor does what compiles ahead."""
    path = saved(model("y = Sigmoid (x)", inputs="float[N,8,6,6] x"), tmp_path / "net.onnx")
    environment = {**os.environ, "REFCONV_CACHE_DIR": str(tmp_path / "code")}
    run = lambda: subprocess.run([sys.executable, "-c", RUN, path], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stderr
    first = run().splitlines()
    assert len(first) == 1
    assert first[0].startswith("refconv: compiling kernels for this CPU, of this network 1 at most")
    assert run() == ""


def test_shapes_are_checked():
    net = refconv.load(model(BLOCK.replace("b = Add", "y = Add")), threads=1)
    with pytest.raises(ValueError, match=r"x of shape \(2, 9, 7, 5\): must be \[N, 8, H, W\]"):
        net.compile((2, 9, 7, 5))
    with pytest.raises(TypeError, match="input x is missing"):
        net.compile()


def test_a_network_after_warm_compiles_nothing(tmp_path):
    """In another process: an activation by itself, a layer with one, the order of its input and output, and what runs one call after another."""
    body = "s = Sigmoid (x)  c = Conv <pads = [1, 1, 1, 1], group = 8> (s, dw8)  y = Relu (c)"
    path = saved(model(body, inputs="float[N,8,6,6] x"), tmp_path / "net.onnx")
    environment = {**os.environ, "REFCONV_CACHE_DIR": str(tmp_path)}

    def run(*words):
        return subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert run("-m", "refconv.warm", "--model", path, "--threads", "1").startswith("1 network, threads 1: 4 kernels compiled in ")
    code = f"""
import numpy as np, refconv
from refconv.jit import compiling
refconv.load({path!r}, threads=1)(np.ones((1, 8, 6, 6), np.float32))
print(compiling.kernels)
"""
    assert run("-c", code) == "0\n"


def opened(*words):
    arguments = warm.parser().parse_args(words)
    return [warm.open_network(source, arguments) for source in warm.chosen(arguments)[2]]


def test_which_networks(tmp_path, monkeypatch):
    """By name, of 224x224 unless told otherwise; by file, with the sizes that it leaves open."""
    path = saved(model(BLOCK.replace("b = Add", "y = Add")), tmp_path / "net.onnx")
    ((net, shapes),) = opened("--model", path, "--model", path, "--input-shape", "3x8x7x5")
    assert (net.path, shapes) == (path, ((3, 8, 7, 5),))
    blocks = lambda net: [call.op for call in net.schedule_for(SHAPE).calls if call.block]
    assert blocks(net) == ["ConvNeXtBlock"]
    ((net, _),) = opened("--model", path, "--no-fuse", "--input-shape", "x:2x8x7x5")
    assert blocks(net) == []
    monkeypatch.setitem(networks._NETWORKS, "tiny", TINY)
    assert [shapes for _, shapes in opened("--model", "tiny", "--size", "8", "--batch", "2")] == [((2, 3, 8, 8),)]
    assert [shapes for _, shapes in opened("--model", "tiny")] == [((1, 3, 224, 224),)]
    path = saved(model("y = Neg (x)", inputs="float[N,8,6,6] x"), tmp_path / "open.onnx")
    assert [shapes for _, shapes in opened("--model", path, "--model", "tiny", "--size", "8", "--batch", "2")] == [((2, 8, 6, 6),), ((2, 3, 8, 8),)]


LAYERS = f"""
    {BLOCK}
    f = Conv (b, eight)
    g = Relu (f)
    h = Conv (g, eight, b8)
    i = Add (h, g)
    j = Sigmoid (i)
    y = Conv <pads = [1, 1, 1, 1]> (j, first)
"""


def tasks(*words):
    return tune.tasks(tune.parser().parse_args([*words, "--threads", "1"]))


def test_calls_are_tuned(tmp_path, capsys):
    """Each distinct layer and block once; what is kept is what the network's own calls take, with their activations and residuals."""
    words = "--model", saved(model(LAYERS), tmp_path / "net.onnx"), "--input-shape", "2x8x7x5"
    calls = lambda: [call for call in refconv.load(model(LAYERS), threads=1).schedule_for(SHAPE).calls if call.kernel_calls]
    assert [call.op for call in calls()] == ["ConvNeXtBlock", "conv + relu", "conv + Add + sigmoid", "conv"]
    made = tasks(*words)
    pointwise, dense = (str(calls()[i].call.problem) for i in (1, 3))
    assert list(made) == ["ConvNeXtBlock 8@7x5 hidden 16 7x7 groups 8 mb 2", pointwise, dense]
    assert not any(call.kernel_calls[0].measured for call in calls())
    for make in made.values():
        subject = make().subject
        keep(subject, Measured(subject.rule, 1.0, 3, True))
    assert all(call.kernel_calls[0].measured for call in calls())
    assert tune.main([*words, "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert ("regret of the rules on 3 problems" in out, err) == (True, "")
    assert "ConvNeXtBlock" not in " ".join(tasks(*words, "--no-fuse"))


def test_dtypes_of_networks_and_layers(tmp_path):
    """A network has its file's; the layer of --layer that of --dtype, even where the network has that layer, too."""
    arrays = {"eight": ARRAYS["eight"].astype(np.float64)}
    path = saved(network(X.replace("float", "double"), Y.replace("float", "double"), "y = Conv (x, eight)", arrays), tmp_path / "net.onnx")
    alone = tasks("--model", path, "--input-shape", "1x8x4x4")
    ((name, make),) = alone.items()
    assert (name.endswith(" float64"), make().subject.element.name) == (True, "float64")
    problem = name.removesuffix(" float64")
    both = tasks("--model", path, "--input-shape", "1x8x4x4", "--layer", problem)
    assert [(name, make().subject.element.name) for name, make in both.items()] == [(problem, "float32"), (name, "float64")]


def test_a_network_that_no_kernel_runs(tmp_path):
    path = saved(network("float[2,3] x", "float[a,b] y", "y = Neg (x)"), tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"net.onnx: has no layer or block that a kernel of this project runs"):
        tasks("--model", path)


@pytest.mark.parametrize("main", [warm.main, tune.main], ids=["warm", "tune"])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--model", "resnet5"], "network 'resnet5': must be one of refconv.networks.names(), such as resnet50"),
        (["--model", "nothing.onnx"], "nothing.onnx: no such file"),
        (["--model", "STRANGE"], "operators that there are not: NonZero n of x [1, 8, 6, 6]"),
        (["--model", "FIXED", "--batch", "3"], "--batch 3: no input has a first size that is left open"),
        (["--model", "FIXED", "--input-shape", "x:1x8x9x9"], "x of shape (1, 8, 9, 9): must be [1, 8, 6, 6]"),
        (["--model", "FIXED", "--dtype", "float16"], "--dtype float16: legal with layers, sets and topologies (.csv)"),
        (["--model", "FIXED", "--size", "64"], "--size 64: needs --model NAME"),
        (["--model", "FIXED", "--model", "resnet50", "--input-shape", "1x8x6x6"], "--input-shape '1x8x6x6': needs --model FILE.onnx, one alone"),
        (["--layer", "dwconv", "--no-fuse"], "--no-fuse: needs --model"),
    ],
)
def test_bad_input_exits_2_with_one_line(main, arguments, text, tmp_path, capsys):
    inputs = "float[1,8,6,6] x"
    paths = {"FIXED": saved(model("y = Neg (x)", inputs=inputs), tmp_path / "fixed.onnx")}
    paths["STRANGE"] = saved(model("n = NonZero (x)  y = Cast <to = 1> (n)", inputs=inputs), tmp_path / "strange.onnx")
    with pytest.raises(SystemExit) as stop:
        main([paths.get(word, word) for word in arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert text in err
