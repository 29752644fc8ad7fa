"""python -m refconv.warm, and the line that says on a terminal that kernels are being compiled."""

import io
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

import refconv
from refconv import code_cache, warm
from refconv.jit import compiling, kernel
from refconv.networks.layers import OPERATORS, SETS, with_batch

ROOT = pathlib.Path(__file__).parent.parent
TINY = "g8mb1ic8ih6oc8kh3ph1"


def test_blocks_are_given_their_input_by_the_benchmark(monkeypatch):
    """One owner of what a block is called on: the call and the prepared call have arrays of one making."""
    case, seen = warm.blocks.CASES[-1]._replace(c=8, size=3), []
    monkeypatch.setattr(warm, "fused_block", lambda x, *_, layout, **__: seen.append((layout, x)))
    monkeypatch.setattr(warm.blocks, "ours", lambda record, x, threads, layout: types.SimpleNamespace(run=lambda: None))
    warm.run_block(case, np.float32, 1)
    assert [(layout, x.shape) for layout, x in seen] == [("NCHW", (1, 8, 3, 3)), ("NHWC", (1, 3, 3, 8))]
    for layout, x in seen:
        made = warm.blocks.in_layout(np.zeros((1, 8, 3, 3), np.float32), layout)
        assert (x.strides, x.ctypes.data % 64) == (made.strides, made.ctypes.data % 64)


def test_a_call_after_warm_compiles_nothing(tmp_path):
    """Arrays of both layouts, on one thread and on two; and a second run finds everything on disk."""
    environment = {**os.environ, "REFCONV_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "refconv.warm", "--layer", TINY, "--layer", "g64mb1ic64ih6oc64kh3ph1", "--threads", "2"]
    run = lambda command: subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    first, second = run(command), run(command)
    assert (first.stderr, second.stderr) == ("", "")  # no terminal
    assert first.stdout.startswith("2 layers, 0 blocks, float32, threads 2: ")
    assert " kernels compiled in " in first.stdout
    assert second.stdout == "2 layers, 0 blocks, float32, threads 2: nothing to compile\n"
    code = """
import numpy as np, refconv
from refconv.jit import compiling
for c in (8, 64):
    x, w = np.ones((1, c, 6, 6), np.float32), np.ones((c, 1, 3, 3), np.float32)
    refconv.depthwise_conv2d(x, w, padding=1, threads=2)
    refconv.depthwise_conv2d(x.transpose(0, 2, 3, 1).copy(), w, padding=1, layout="NHWC", threads=2)
    refconv.depthwise_conv2d(x, w, padding=1, threads=1)
print(compiling.kernels)
"""
    assert run([sys.executable, "-c", code]).stdout == "0\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--set", "winograd"], "--set winograd: must be dense, pointwise"),
        (["--layer", "nothing"], "layer 'nothing': must be conv2d"),
        (["--model", "net.txt"], "network 'net.txt': must be one of refconv.networks.names()"),
        (["--input-shape", "x:1x3x8x8"], "--input-shape 'x:1x3x8x8': needs --model"),
        (["--dtype", "int8"], "dtype = 'int8': must be float32"),
        (["--threads", "0"], "threads = 0: must be an integer from 1"),
        (["--batch", "0"], "argument --batch: '0': must be a positive integer"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text, capsys):
    with pytest.raises(SystemExit) as stop:
        warm.main(arguments)
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert text in err


def test_what_is_warmed(tmp_path):
    """Sets by name, all of them where nothing is named, and the layers of a topology; each problem once."""

    def chosen(*words):
        return warm.chosen(warm.parser().parse_args(words))

    assert chosen("--set", "partial", "--set", "partial") == (SETS["partial"], [], [])
    everything = {problem for layers in (*SETS.values(), *OPERATORS.values()) for problem in layers}
    problems, cases, networks = chosen()
    assert len(problems) == len(everything)
    assert set(problems) == everything
    assert (cases, networks) == (warm.blocks.CASES, [])
    problems, cases, _ = chosen("--set", "grouped", "--set", "blocks", "--batch", "3")
    assert problems == [with_batch(problem, 3) for problem in SETS["grouped"]]
    assert {case.n for case in cases} == {3}
    topology = tmp_path / "net.csv"
    topology.write_text(
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\na, 9, 9, 3, 3, 4, 8, 2,\n"
    )
    problems, cases, networks = chosen("--model", str(topology))
    assert [(problem.c, problem.k, problem.h) for problem in problems] == [(4, 8, 9)]
    assert (cases, networks) == ([], [])


def test_code_that_could_not_be_kept_is_no_success(monkeypatch, capsys):
    monkeypatch.setattr(warm, "run_layer", lambda *arguments: None)
    monkeypatch.setattr(compiling, "kernels", 0)  # those that this process has compiled in other tests
    assert warm.main(["--layer", "conv2d", "--threads", "1"]) == 0
    monkeypatch.setattr(code_cache, "_LOST", ["a file"])
    assert warm.main(["--layer", "conv2d", "--threads", "1"]) == 2
    assert "1 layer, 0 blocks, float32, threads 1: nothing to compile" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def add_two(x):
    x[0] += 2


def test_compiling_is_announced_on_a_terminal_while_it_lasts_and_reading_is_not(monkeypatch, tmp_path):
    monkeypatch.setenv("REFCONV_CACHE_DIR", str(tmp_path))
    said = []
    for dtype, stderr in ((np.float32, io.StringIO()), (np.float32, Terminal()), (np.float64, Terminal()), (np.int64, Terminal())):
        monkeypatch.setattr("sys.stderr", stderr)
        monkeypatch.setattr(compiling, "kernels", len([text for text in said if text]))
        kernel(add_two)(np.zeros(1, dtype))
        said.append(stderr.getvalue())
    first, second = (f"\r\033[Kcompiling {text} for this CPU, once: add_two\r\033[K" for text in ("1 kernel", "2 kernels"))
    assert said == ["", "", first, second]  # no terminal; read from disk; compiled


def test_other_functions_are_not_announced(monkeypatch):
    """A user's own, compiled by Numba."""
    import numba

    monkeypatch.setattr("sys.stderr", Terminal())
    before = compiling.kernels
    assert numba.njit(lambda a: a + 1)(1) == 2
    assert (sys.stderr.getvalue(), compiling.kernels) == ("", before)


def test_a_terminal_that_is_gone_ends_no_call(monkeypatch, tmp_path):
    class Gone(Terminal):
        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setenv("REFCONV_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("sys.stderr", Gone())
    x = np.zeros(1, np.float32)
    kernel(add_two)(x)
    assert x[0] == 2
    assert refconv.cli.note("said to nobody") is None
