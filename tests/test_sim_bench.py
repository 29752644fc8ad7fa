"""The nests that sim.bench times: what they compute on arrays, what they touch on traced buffers; and its table."""

import numpy as np
import pytest

from refconv import reference
from sim.cli import bench
from sim.hierarchy.words import LOADS, READ, STORES
from sim.machine.record import load_machine
from sim.trace.run import Run

ZEN4 = load_machine("zen4")


def test_the_scalar_nest_is_a_convolution_and_every_access_is_counted():
    rng = np.random.default_rng(0)
    c, k, rows, columns = 3, 4, 5, 6
    x = rng.integers(-4, 5, (rows + 2, columns + 2, c)).astype(np.float32)
    w = rng.integers(-4, 5, (k, 3, 3, c)).astype(np.float32)
    out = np.zeros((rows, columns, k), np.float32)
    bench.conv3x3(x.ravel(), w.ravel(), out.reshape(-1), k, c, rows, columns)
    expected = reference.conv2d(x.transpose(2, 0, 1)[None], w.transpose(0, 3, 1, 2))[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(out, expected)
    run = Run(ZEN4, [("x", x.size, 4), ("w", w.size, 4), ("out", out.size, 4)])
    run.call(bench.conv3x3, *run.buffers, k, c, rows, columns)
    counts, dram = run.moved(last=True)
    macs = rows * columns * k * 9 * c
    assert counts[0][:, [LOADS, STORES]].tolist() == [[macs, 0], [macs, 0], [0, out.size]]
    assert dram[:, READ].tolist() == [-(-array.size * 4 // 64) for array in (x, w, out)]


def test_the_table_and_bad_input(capsys, monkeypatch):
    monkeypatch.setattr(bench, "PRESETS", {"dwconv3": None})
    monkeypatch.setattr(bench, "MOST_OUTSIDE", 1 << 12)
    assert bench.main(["--accesses", "10000", "--machine", "textbook"]) == 0
    out = capsys.readouterr().out
    for text in ("2 levels of textbook", "dwconv3 kernel", "scalar conv3x3 nest", "load stream", "half of L2"):
        assert text in out
    with pytest.raises(SystemExit) as stop:
        bench.main(["--machine", "pdp11"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
