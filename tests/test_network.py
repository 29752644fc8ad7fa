"""Networks from ONNX graphs: they compute what onnx says, whatever is done to their steps, the order of their tensors and their memory."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import by_onnx, network, onnx, whole
from problems import few_shapes

import refconv
from refconv.graph.arena import Lifetime, placed

RESIDUAL = """
    a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    r = Relu (a)
    d = Conv <pads = [1, 1, 1, 1], group = 8, strides = [2, 2]> (r, dw)
    s = Conv <strides = [2, 2]> (x, short)
    t = Conv (d, pw)
    u = Add (t, s)
    y = Relu (u)
"""
WEIGHTS = {
    "w": whole((8, 8, 3, 3), 1),
    "b": whole((8,), 2),
    "dw": whole((8, 1, 3, 3), 3),
    "short": whole((8, 8, 1, 1), 4),
    "pw": whole((8, 8, 1, 1), 5),
}


def residual(sizes="N,8,H,W"):
    return network(f"float[{sizes}] x", "float[a,b,c,d] y", RESIDUAL, WEIGHTS)


def ops(net):
    return [call.step.op for call in net.schedule.calls]


def test_a_network_of_convolutions():
    """Kernels alone: additions and activations have joined them, the input is converted as it enters, the output as it leaves."""
    model, x = residual(), whole((2, 8, 9, 7))
    net = refconv.load(model, threads=1)
    assert np.array_equal(net(x), by_onnx(model, x=x)[0])
    assert ops(net) == ["conv"] * 4
    assert [call.step.attributes.get("activation") for call in net.schedule.calls] == ["relu", None, None, "relu"]
    assert net.schedule.macs == 2 * (9 * 7 * 8 * 72 + 5 * 4 * (8 * 9 + 2 * 64))
    text = str(net.schedule)
    assert all(word in text for word in ("conv + Add + relu", "NHWC", "depthwise", f"{net.peak_bytes:,} bytes", "2x8x5x4"))


def test_sizes_that_the_file_leaves_open():
    """A schedule for each size, weights packed once, an empty batch."""
    model = residual()
    net = refconv.load(model, threads=1)
    for shape in ((1, 8, 6, 6), (3, 8, 9, 4), (1, 8, 6, 6), (0, 8, 6, 6)):
        x = whole(shape, 6)
        y = net(x=x)
        assert np.array_equal(y, by_onnx(model, x=x)[0]) if shape[0] else y.shape == (0, 8, 3, 3)
    assert len(net._programs) == 3
    assert len(net._packed) == 4


def test_before_anything_runs():
    """A schedule for the file's own sizes is there without a call, and others can be asked for."""
    net = refconv.load(residual("1,8,6,6"))
    assert net.peak_bytes == net.schedule.peak_bytes > 4 * 8 * 36
    net = refconv.load(residual())
    with pytest.raises(ValueError, match=r"the sizes of x \[N, 8, H, W\] are not known before a call; legal: schedule_for\(shape\)"):
        _ = net.schedule
    small, large = (net.schedule_for((1, 8, size, size), threads=1).peak_bytes for size in (6, 12))
    assert 0 < small < large
    with pytest.raises(ValueError, match=r"these sizes need .* bytes: must be at most the .* of this computer's memory"):
        net.schedule_for((1000, 8, 8000, 8000))


def test_results_do_not_depend_on_threads():
    model = residual()
    x = np.random.default_rng(0).standard_normal((2, 8, 21, 23)).astype(np.float32)
    net = refconv.load(model)
    with few_shapes("float32"):
        results = [net(x, threads=count) for count in (1, 2) if count <= refconv.plan.numba.config.NUMBA_NUM_THREADS]
    assert all(np.array_equal(results[0], other) for other in results)


def test_several_python_threads_at_once():
    model, net = residual(), refconv.load(residual(), threads=1)
    inputs = [whole((1, 8, 6, 6), seed) for seed in range(8)]
    results = [None] * len(inputs)

    def work(i):
        results[i] = [net(inputs[i]) for _ in range(20)][-1]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(result, by_onnx(model, x=x)[0]) for result, x in zip(results, inputs, strict=True))


def test_several_inputs_and_outputs_and_values_that_decide_shapes():
    body = "r = Reshape (x, shape)  s, t = Split <axis = 1> (r)  y = Add (s, z)"
    model = network("float[n] x, int64[2] shape, float[m,2] z", "float[a,b] y, float[c,d] t", body)
    net = refconv.load(model)
    assert (net.inputs, net.outputs) == (("x", "shape", "z"), ("y", "t"))
    x, z = whole((12,)), whole((3, 2))
    for shape, other in (((3, 4), z), ((-1, 4), z), ((1, 12), whole((1, 6)))):
        if shape == (1, 12):
            with pytest.raises(ValueError, match=r"z of shape \(1, 6\): must be \[m, 2\]"):
                net(x, np.array(shape), z=other)
            continue
        y, t = net(x, np.array(shape), z=other)
        wanted = by_onnx(model, x=x, shape=np.array(shape), z=other)
        assert np.array_equal(y, wanted[0])
        assert np.array_equal(t, wanted[1])


def test_what_an_output_or_an_input_is_besides():
    """An output that others read, one that is an input, one that is a constant, one twice removed by views; results are the caller's own."""
    body = "r = Relu (x)  n = Neg (r)  v = Transpose <perm = [0, 2, 3, 1]> (n)  i = Identity (x)  c = Add (k, k)"
    model = network("float[1,2,3,4] x", "float[1,2,3,4] r, float[1,3,4,2] v, float[1,2,3,4] i, float[2] c", body, {"k": whole((2,))})
    net, x = refconv.load(model), whole((1, 2, 3, 4), 1)
    first, wanted = net(x), by_onnx(model, x=x)
    copies = [array.copy() for array in first]
    net(x + 1)
    for array, copy, expected in zip(first, copies, wanted, strict=True):
        assert np.array_equal(array, expected)
        assert np.array_equal(array, copy)


def test_lines_are_maps_of_one_row():
    body = "a = Conv <pads = [2, 1], strides = [2], dilations = [2]> (x, w, b)  y = Relu (a)"
    model = network("float[2,8,N] x", "float[a,b,c] y", body, {"w": whole((8, 8, 3), 1), "b": whole((8,), 2)})
    net, x = refconv.load(model, threads=1), whole((2, 8, 11))
    assert np.array_equal(net(x), by_onnx(model, x=x)[0])
    assert ops(net) == ["conv"]


def test_a_transpose_is_no_work():
    """As ConvNeXt is exported: channels move to the end, meet two matrices, and move back. No call moves an element."""
    body = """
        c = Conv <group = 8, pads = [3, 3, 3, 3]> (x, dw)
        t = Transpose <perm = [0, 2, 3, 1]> (c)
        e = MatMul (t, up)
        f = Add (e, b)
        g = Relu (f)
        p = MatMul (g, down)
        u = Transpose <perm = [0, 3, 1, 2]> (p)
        m = Mul (u, gamma)
        y = Add (x, m)
    """
    arrays = {"dw": whole((8, 1, 7, 7)), "up": whole((8, 32), 1), "b": whole((32,), 2), "down": whole((32, 8), 3), "gamma": whole((8, 1, 1), 5)}
    model, x = network("float[1,8,N,N] x", "float[a,b,c,d] y", body, arrays), whole((1, 8, 9, 9), 4)
    net = refconv.load(model, threads=1, fuse=False)
    assert np.array_equal(net(x), by_onnx(model, x=x)[0])
    assert ops(net) == ["conv", "product", "product"]
    assert [len(call.sources) for call in net.schedule.calls] == [1, 1, 2]


@st.composite
def graphs(draw):
    """A graph of steps that each read any tensors before, and every tensor that nobody reads as an output; whole numbers stay exact."""
    body, alive = [], ["x"]
    for i in range(draw(st.integers(1, 9))):
        pick = lambda: draw(st.sampled_from(alive))
        kind = draw(st.sampled_from(["conv", "depthwise", "relu", "neg", "add", "max", "nhwc", "rows", "join", "pool", "sub"]))
        body.append(
            {
                "conv": "Conv (%s, w)",
                "depthwise": "Conv <group = 4, pads = [1, 1, 1, 1]> (%s, dw)",
                "relu": "Relu (%s)",
                "neg": "Neg (%s)",
                "add": "Add (%s, %s)",
                "max": "Max (%s, %s)",
                "sub": "Sub (k, %s)",
                "pool": "MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (%s)",
                "nhwc": f"Transpose <perm = [0, 3, 1, 2]> (t{i})",
                "rows": f"Reshape (r{i}, shape)",
                "join": f"Slice (c{i}, two, six, one)",
            }[kind]
        )
        before = {
            "nhwc": f"t{i} = Transpose <perm = [0, 2, 3, 1]> (%s)",
            "rows": f"q{i} = Reshape (%s, flat)  r{i} = Abs (q{i})",
            "join": f"c{i} = Concat <axis = 1> (%s, %s)",
        }.get(kind, "")
        filled = f"{before}  v{i} = {body[-1]}"
        for _ in range(filled.count("%s")):
            filled = filled.replace("%s", pick(), 1)
        body[-1] = filled
        alive.append(f"v{i}")
    text = "\n".join(body)
    outputs = draw(st.lists(st.sampled_from(alive[1:]), min_size=1, max_size=2, unique=True)) + alive[-1:]
    return text, list(dict.fromkeys(outputs))


GRAPH_ARRAYS = {
    "w": whole((4, 4, 1, 1), 1, -1, 2),
    "dw": whole((4, 1, 3, 3), 2, -1, 2),
    "k": whole((4, 1, 1), 3),
    "flat": np.array([0, 4, 25]),
    "shape": np.array([-1, 4, 5, 5]),
    "two": np.array([2]),
    "six": np.array([6]),
    "one": np.array([1]),
}


@settings(max_examples=80, deadline=None)
@given(graphs(), st.integers(1, 2))
def test_any_graph(drawn, batch):
    """Orders of tensors, memory shared and reused, steps joined: none of it changes a bit, and no two live buffers overlap."""
    body, outputs = drawn
    model = network(f"float[{batch},4,5,5] x", ", ".join(f"float[{batch},4,5,5] {name}" for name in outputs), body, GRAPH_ARRAYS)
    net, x = refconv.load(model, threads=1), whole((batch, 4, 5, 5), 7)
    made = net(x)
    for array, expected in zip(made if isinstance(made, tuple) else (made,), by_onnx(model, x=x), strict=True):
        assert np.array_equal(array, expected)


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 12), st.integers(0, 12)), max_size=25))
def test_buffers_that_live_at_once_lie_apart(drawn):
    """And the whole is at least what lives at once, at most all together."""
    lives = {str(i): Lifetime(size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(drawn)}
    offsets, whole_bytes = placed(lives)
    lines = {name: -(-life.nbytes // 64) * 64 for name, life in lives.items()}
    for a in lives:
        assert offsets[a] % 64 == 0
        for b in lives:
            apart = lives[a].last < lives[b].first or lives[b].last < lives[a].first
            assert a == b or apart or offsets[a] + lines[a] <= offsets[b] or offsets[b] + lines[b] <= offsets[a] or 0 in (lines[a], lines[b])
    at_once = [sum(lines[name] for name, life in lives.items() if life.first <= moment <= life.last) for moment in range(13)]
    assert max(at_once) <= whole_bytes <= sum(lines.values())


def test_files(tmp_path):
    """Weights inside, and beside it as external data."""
    model, x = residual(), whole((1, 8, 6, 6))
    onnx.save(model, tmp_path / "m.onnx")
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    wanted = by_onnx(residual(), x=x)[0]
    for name in ("m.onnx", "e.onnx"):
        assert np.array_equal(refconv.load(tmp_path / name)(x), wanted)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ValueError, match=r"e\.onnx: .*weights\.bin"):
        refconv.load(tmp_path / "e.onnx")
