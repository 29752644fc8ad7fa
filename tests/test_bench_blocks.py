"""The benchmark's blocks: the set, peers against the definition, the command line. No figure is asserted: times are the machine's."""

import functools
import json
import types

import numpy as np
import pytest
from commands import run as run_command

from refconv import reference
from refconv.bench.__main__ import main
from refconv.bench.blocks import CASES, Case, block_contests, ours, weights
from refconv.bench.entry import TOLERANCE, Entry, WrongResult, check
from refconv.bench.measure import Contest, record
from refconv.bench.peers import PEERS, installed, peer
from refconv.bench.plot import plot
from refconv.problem.blocks import ConvFirstBlock, ConvNeXtBlock, FasterNetBlock, FFNBlock, FusedMBConvBlock, MBConvBlock, SeparableBlock

TINY = [
    Case(ConvNeXtBlock, 8, 5, 2, "gelu", 7),
    Case(MBConvBlock, 8, 6, 3, "silu", 5, n=2, squeezed=2),
    Case(ConvFirstBlock, 8, 5, 2, "relu", g=4),
    Case(FasterNetBlock, 8, 5, 2, "relu"),
    Case(FusedMBConvBlock, 4, 5, 2, "silu"),
    Case(FFNBlock, 8, 5, 2, "gelu", 0),
    Case(SeparableBlock, 8, 5, 1, "relu6", k=4, project_activation="relu"),
]
run = functools.partial(run_command, main=main)
ONE_ROUND = ("--set", "blocks", "--rounds", "1")
NAMES = [
    *("ConvNeXt 96@56", "ConvNeXt 192@28", "ConvNeXt 384@14", "ConvNeXt 768@7"),
    *("ConvFirst 64@64", "ConvFirst 64@56", "ConvFirst 128@28"),
    *("FasterNet 96@56", "FasterNet 192@28", "FasterNet 384@14"),
    *("MBConv 24@56", "MBConv 80@14", "MBConv 112@14", "FusedMBConv 48@56"),
    *("Separable 32-64@112", "Separable 512@14", "Separable 32-16@112", "Separable 32-16@112 SE", "FFN 96@56", "FFN 384@14"),
]


@pytest.fixture
def only(monkeypatch):
    """A function of cases that makes them the set of the command line."""

    def change(*cases):
        monkeypatch.setattr("refconv.bench.__main__.CASES", list(cases))

    return change


def data(case):
    return np.random.default_rng(2).standard_normal((case.n, case.c, case.size, case.size), dtype=np.float32)


def test_the_set_is_the_cases_it_says():
    assert [case.name for case in CASES] == NAMES
    assert [str(CASES[i]) for i in (0, 4, 12, 14, 17)] == [
        "ConvNeXt 96@56 alpha 4 7x7 gelu",
        "ConvFirst 64@64 alpha 6 3x3 g 8 relu",
        "MBConv 112@14 alpha 6 5x5 SE silu",
        "Separable 32-64@112 alpha 1 3x3 relu relu",
        "Separable 32-16@112 SE alpha 1 3x3 silu",
    ]
    records = {case.name: weights(case) for case in CASES}
    for case, block in zip(CASES, records.values(), strict=True):
        assert (block.c, block.k) == (case.c, case.k or case.c)
        assert block.residual == (case.kind is not SeparableBlock)
    assert records["FasterNet 192@28"].convolved == 48
    assert records["MBConv 80@14"].se.squeezed == 20
    assert records["ConvFirst 64@64"].groups == 8
    assert records["FFN 96@56"].macs(1, 56, 56) == 2 * 96 * 384 * 56 * 56


def test_activations_stay_of_order_one():
    for case in TINY:
        x = data(case)
        record = weights(case)
        assert 0.1 < np.std(reference.block(x, record) - (x if record.residual else 0)) < 10


FORMS = {
    "torch": {f"{a} {b}" for a in ("eager", "compile") for b in ("contiguous", "channels_last")},
    "onnxruntime": {"bound"},
    "openvino": {"NCHW", "NHWC"},
    "ncnn": set(),
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("case", TINY, ids=lambda case: case.name)
def test_peers_compute_the_definition(name, case, monkeypatch):
    """Every form; what torch.compile makes is checked by the benchmark itself, for it takes seconds."""
    if not installed([name]):
        pytest.skip(f"{name} is not installed (extra: bench)")
    if name == "torch":
        monkeypatch.setattr("torch.compile", lambda module, **options: module)
    block, x = weights(case), data(case)
    entries = peer(name).block_entries(block, x, 1)
    assert set(entries) == FORMS[name]
    check(case, entries, reference.block(x, block), TOLERANCE["float32"])


def test_what_torch_cannot_compile_is_said_once(monkeypatch, capsys):
    torch = pytest.importorskip("torch")

    def fails(module, **options):
        def call(x):
            raise RuntimeError("no C++ compiler\nat all")

        return call

    monkeypatch.setattr(torch, "compile", fails)
    for _ in range(2):
        assert set(peer("torch").block_entries(weights(TINY[5]), data(TINY[5]), 1)) == {"eager contiguous", "eager channels_last"}
    said = capsys.readouterr().err.splitlines()
    assert said == [f"torch compile {name}: not measured: no C++ compiler" for name in ("contiguous", "channels_last")]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_ours_is_checked_in_each_layout(layout, dtype):
    forms = {f"refconv {name}" for name in ("NHWC", layout, *["float32"] * (dtype == "float16"))}
    for contest in block_contests([TINY[5]], [], dtype, 1, layout):
        assert set(contest.entries) == forms
        assert (contest.name, contest.flops) == ("FFN 8@5", 2 * 2 * 8 * 16 * 25)


def test_a_wrong_result_is_named(only, monkeypatch):
    with pytest.raises(WrongResult, match=r"^mkl eager: FFN 8@5 alpha 2 gelu is off the definition by 5.0e-01; at most 2e-05 is legal$"):
        check(TINY[5], {"mkl eager": Entry(None, lambda: np.ones(3))}, np.array([1, 1, 3]), 2e-5)
    with pytest.raises(WrongResult, match="nan"):
        check(TINY[5], {"mkl eager": Entry(None, lambda: np.array([np.nan]))}, np.zeros(1), 2e-5)
    only(TINY[5])
    monkeypatch.setattr("refconv.bench.blocks.TOLERANCE", {"float32": 1e-9})
    status, out, err = run(*ONE_ROUND, "--peers", "none")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "refconv NHWC: FFN 8@5 alpha 2 gelu is off the definition" in err


def test_the_command_line_prints_a_ratio(only, monkeypatch):
    """With a peer whose numbers are ours."""
    only(TINY[5])
    same = types.SimpleNamespace(block_entries=lambda block, x, threads: {"eager": ours(block, x, threads, "NCHW")})
    monkeypatch.setattr("refconv.bench.__main__.installed", lambda wanted: ["torch"])
    monkeypatch.setattr("refconv.bench.__main__.versions", lambda peers: dict.fromkeys(peers, "1.2"))
    monkeypatch.setattr("refconv.bench.blocks.peer", {"torch": same}.get)
    status, out, err = run(*ONE_ROUND, "--peers", "torch")
    assert (status, err) == (0, "")
    row = next(line for line in out.splitlines() if "FFN 8@5 alpha 2 gelu" in line).split()
    assert row[-4:-2] == ["torch", "eager"]
    assert float(row[-1]) > 0
    assert "geometric mean" in out


def test_json_of_a_block_without_a_kernel_says_why(only, monkeypatch):
    def no_kernel(*arguments, **options):
        raise ValueError("FFNBlock: has no fused kernel yet")

    only(TINY[5])
    monkeypatch.setattr("refconv.bench.blocks.prepare", no_kernel)
    status, out, err = run(*ONE_ROUND, "--peers", "none", "--json", "--batch", "3")
    assert status == 0
    assert err == "FFN 8@5 alpha 2 gelu mb 3: not measured: FFNBlock: has no fused kernel yet\n"
    (measured,) = json.loads(out)["sets"]["blocks"]
    known = {"name": "FFN 8@5", "descriptor": "FFN 8@5 alpha 2 gelu mb 3", "flops": 3 * 2 * 2 * 8 * 16 * 25, "threads": 1, "times_s": {}}
    assert known.items() <= measured.items()
    unknown = (
        "tuned",
        "winograd",
        "winograd_s",
        "winograd_ratio",
        "seconds",
        "float32_s",
        "conversion_share",
        "flop_per_s",
        "efficiency",
        "best_peer",
        "best_peer_s",
        "ratio",
    )
    assert {name for name, value in measured.items() if value is None} == set(unknown)
    status, out, _ = run(*ONE_ROUND, "--peers", "none")
    assert status == 0
    row = next(line for line in out.splitlines() if "FFN 8@5" in line)
    assert row.split()[4:] == ["gelu", *["-"] * 6]


def test_plot_of_a_block_without_a_kernel(tmp_path):
    pytest.importorskip("matplotlib")
    measured = record(Contest("a", "a", 100, {"torch eager": Entry(None, None)}), {"torch eager": 1e-3}, 1e9, 1, "NHWC")
    plot({"blocks": [measured]}, tmp_path / "blocks.svg")
    assert "best peer" in (tmp_path / "blocks.svg").read_text()


def test_all_does_not_mean_the_blocks(only):
    from refconv.bench.__main__ import chosen_sets, parser

    only(TINY[0])
    chosen = lambda *arguments: chosen_sets(parser().parse_args(arguments))
    assert "blocks" not in chosen() | chosen("--set", "all")
    assert chosen("--set", "all", "--set", "blocks", "--batch", "2")["blocks"] == [TINY[0]._replace(n=2)]
