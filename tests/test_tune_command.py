"""python -m refconv.tune, and the layers that it draws."""

import json

import pytest
from test_tune import another, own_folder, subject  # noqa: F401

from refconv import Conv2d, PartialConv2d
from refconv.networks.drawn import KINDS, _kind, drawn_layers
from refconv.networks.layers import SETS
from refconv.tiling.checked import as_numbers
from refconv.tiling.measured import Measured, keep
from refconv.tune import __main__ as command

TINY, POINTWISE = "g32mb1ic32ih5oc32kh3ph1", "mb1ic7ih3iw2oc20kh1kw1"


def run(capsys, *arguments):
    """(status, stdout, stderr)."""
    status = command.main(list(arguments))
    return status, *capsys.readouterr()


def kept():
    """Both layers, so that nothing is measured; a Subject of each."""
    fast, same = subject("pointwise"), subject("depthwise")
    keep(fast, Measured(another(fast), 0.8, 7, True))
    keep(same, Measured(same.rule, 1.0, 5, True))
    return fast, same


def test_the_table_has_both_tilings_and_the_regret(capsys):
    kept()
    status, out, err = run(capsys, "--layer", TINY, "--layer", POINTWISE, "--threads", "1")
    assert (status, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "the rule's" in rows[str(Conv2d.parse(TINY))]
    assert rows[str(Conv2d.parse(TINY))].split()[-2:] == ["1.000", "5"]
    assert rows[str(Conv2d.parse(POINTWISE))].split()[-2:] == ["1.250", "7"]
    assert out.splitlines()[-1] == (f"regret of the rules on 2 problems: geometric mean {1.25**0.5:.3f}, greatest 1.250 ({Conv2d.parse(POINTWISE)})")
    assert "*" not in out


def test_json(capsys):
    fast, _ = kept()
    status, out, err = run(capsys, "--layer", POINTWISE, "--threads", "1", "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    (entry,) = document["problems"]
    assert (entry["kernel"], entry["regret"], entry["tilings"], entry["settled"]) == ("pointwise", 1.25, 7, True)
    assert (entry["rule"], entry["tiling"]) == (as_numbers(fast.rule), as_numbers(another(fast)))
    assert document["regret"] == {"geometric_mean": 1.25, "greatest": 1.25}
    assert (document["target"]["threads"], document["dtype"]) == (1, "float32")


def test_a_budget_is_for_all_and_what_it_ended_is_marked(capsys):
    """No time at all: of each the rule's tiling alone is run."""
    status, out, err = run(capsys, "--layer", TINY, "--layer", POINTWISE, "--threads", "1", "--budget", "1e-6")
    assert status == 0
    begin, *lines = err.splitlines()
    assert begin == "measuring 2 problems, about 1e-06 s in all; Ctrl-C ends it, and what is settled is kept"
    assert [line.partition(", not all")[0] for line in lines] == [
        f"{i} of 2: {Conv2d.parse(text)}: measured: the rule's is the fastest of 1 tiling" for i, text in ((1, TINY), (2, POINTWISE))
    ], "a line as each is settled, terminal or not"
    assert out.count(" 1*") == 2  # tilings
    assert "* ended by the time allowed, not settled" in out


def test_what_cannot_be_kept_is_no_success(capsys, monkeypatch):
    monkeypatch.setattr("refconv.tiling.measured.folder", lambda: None)
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        status, out, _ = run(capsys, "--layer", TINY, "--threads", "1", "--budget", "1e-6")
    assert status == 2
    assert "regret of the rules on 1 problem:" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--set", "winograd"], "--set winograd: must be dense, pointwise"),
        (["--layer", "nothing"], "layer 'nothing': must be conv2d"),
        (["--model", "net.txt"], "network 'net.txt': must be one of refconv.networks.names()"),
        (["--dtype", "int8"], "dtype = 'int8': must be float32"),
        (["--threads", "0"], "threads = 0: must be an integer from 1"),
        (["--budget", "0"], "argument --budget: '0': must be a number of seconds above 0"),
        (["--budget", "nan"], "argument --budget: 'nan': must be a number of seconds above 0"),
        (["--random", "0"], "argument --random: '0': must be a positive integer"),
        (["--seed", "3"], "--seed 3: needs --random N"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert text in err


def test_what_is_tuned():
    named = lambda *words: list(command.tasks(command.parser().parse_args(words)))
    assert named("--set", "partial", "--set", "partial") == [str(problem) for problem in SETS["partial"]]
    assert named("--random", "3", "--seed", "5") == [str(problem) for problem in drawn_layers(3, 5)]
    assert named("--layer", TINY, "--random", "2", "--batch", "4")[0].startswith("g32mb4")
    assert "ConvNeXt 96@56 alpha 4 7x7 gelu" in named("--set", "blocks")


def test_layers_are_drawn_of_every_kind_with_ragged_sizes():
    """The same for a seed; within a factor of sqrt(2) of a layer of a network, which has channels in eights."""
    drawn = drawn_layers(30, 1)
    assert drawn == drawn_layers(30, 1)
    assert drawn[:10] == drawn_layers(10, 1)
    assert drawn != drawn_layers(30, 2)
    assert [_kind(problem) for problem in drawn] == list(KINDS) * 6
    for problem in drawn:
        assert problem == problem.checked()
        assert isinstance(problem, Conv2d | PartialConv2d)
        assert problem.n == 1
    assert sum(problem.c % 8 != 0 for problem in drawn) > 10
    assert sum(problem.h != problem.w for problem in drawn) > 15
