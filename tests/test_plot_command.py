"""The command line of pictures: files, and what it refuses."""

import json
import subprocess
import sys

import pytest
from commands import GOOD
from commands import run as run_command

pytest.importorskip("matplotlib")

from sim.cli import plot

SMALL = "mb1ic8ih8oc8kh3ph1"
ROWS = "family,label,accuracy_percent,macs,latency_s,backend\nmine,S,70,1e8,0.02,numba\nmine,L,75.5,4e8,0.06,numba\n"


def run(*arguments):
    """(status, stdout, stderr) of the command line in this process."""
    return run_command(*arguments, main=plot.main)


def check_file(path):
    """A picture of its suffix, with something in it."""
    content = path.read_bytes()
    assert content.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[path.suffix])
    assert len(content) > 5_000


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
@pytest.mark.parametrize("arguments", [("gap",), ("intensity",), ("intensity", "--positions", "196", "--machine", "zen4", "--dtype", "float32")])
def test_pictures_of_formulas_and_published_results_are_written(tmp_path, suffix, arguments):
    path = tmp_path / f"picture.{suffix}"
    assert run(*arguments, "-o", str(path)) == (0, "", "")
    check_file(path)


def test_gap_of_results_of_ones_own(tmp_path):
    table, path = tmp_path / "mine.csv", tmp_path / "mine.svg"
    table.write_text(ROWS)
    (family,) = plot.read_families(str(table))
    assert (family.name, family.backend) == ("mine", "numba")
    assert [tuple(point) for point in family.points] == [("S", 70.0, 1e8, 0.02), ("L", 75.5, 4e8, 0.06)]
    assert run("gap", "--csv", str(table), "--machine", "zen4", "--dtype", "float32", "--batch", "2", "-o", str(path)) == (0, "", "")
    check_file(path)


@pytest.mark.parametrize("picture", ["roofline", "traffic"])
def test_accounts_are_run_or_read(tmp_path, picture):
    """The same picture, byte for byte, of a layer run here and of the file that sim.traffic writes of it."""
    ran, read, accounts = tmp_path / "ran.svg", tmp_path / "read.svg", tmp_path / "accounts.json"
    status, out, _ = run_command("--layer", SMALL, "--machine", "textbook", "--json")
    accounts.write_text(out)
    assert run(picture, "--layer", SMALL, "--machine", "textbook", "-o", str(ran)) == (0, "", "")
    assert run(picture, "--accounts", str(accounts), "-o", str(read)) == (status, "", "")
    check_file(ran)
    assert ran.read_bytes() == read.read_bytes()


@pytest.mark.parametrize("fused", [(), ("--fused",)])
def test_waterline_of_a_network(tmp_path, fused):
    path = tmp_path / "waterline.png"
    assert run("waterline", "resnet18", "--machine", "a5000", "--dtype", "float16", "--batch", "8", *fused, "-o", str(path)) == (0, "", "")
    check_file(path)


def test_lists_and_helps():
    for arguments, text in (
        (("traffic", "--list"), "mbconv"),
        (("waterline", "--list"), "resnet18"),
        (("--help",), "gap"),
        (("gap", "--help"), "--csv"),
    ):
        status, out, err = run(*arguments)
        assert (status, err) == (0, "")
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "sim.plot: the following arguments are required: PICTURE"),
        (("pie",), "sim.plot: argument PICTURE: invalid choice: 'pie'"),
        (("gap",), "sim.plot gap: -o is missing: must be a file that ends in .svg, .png, .pdf"),
        (("gap", "-o", "gap.bmp"), "sim.plot gap: -o gap.bmp: must end in .svg, .png or .pdf"),
        (("gap", "-o", "no/such/folder.svg"), "-o no/such/folder.svg: No such file"),
        (("gap", "--batch", "8", "-o", "x.svg"), "--batch 8: is for results of your own; legal with --csv"),
        (("gap", "--csv", "nowhere.csv", "-o", "x.svg"), "--csv nowhere.csv: cannot be read: No such file"),
        (("intensity", "--machine", "pdp11", "-o", "x.svg"), "machine 'pdp11': must be host"),
        (("intensity", "--machine", "a5000", "--dtype", "float64", "-o", "x.svg"), "machine a5000 says no peak for it: must be one of float16"),
        (("intensity", "--positions", "0", "-o", "x.svg"), "argument --positions: '0': must be a positive integer"),
        (("roofline", "-o", "x.svg"), "--layer is missing: must be conv2d"),
        (("roofline", "--layer", SMALL, "--machine", "a5000", "-o", "x.svg"), "machine a5000: "),
        (("traffic", "--accounts", "nowhere.json", "-o", "x.svg"), "--accounts nowhere.json: cannot be read: No such file"),
        (("traffic", "--accounts", "a.json", "--layer", SMALL, "-o", "x.svg"), "--accounts a.json: must be alone"),
        (("waterline", "-o", "x.svg"), "NETWORK is missing"),
        (("waterline", "resnet18", "--json", "-o", "x.svg"), "--json: is legal with sim.waterline"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments, text):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert text in err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "must be what sim.traffic --json wrote"),
        ("[1]", "must be what sim.traffic --json wrote, with machine and at least one of layers"),
        (json.dumps({"machine": {"name": "m"}, "layers": []}), "with machine and at least one of layers"),
        (
            json.dumps({"machine": {"name": "m", "bandwidth_bytes_per_s": 1.0}, "layers": [{"name": "n"}]}),
            "must be what sim.traffic --json wrote of layers",
        ),
    ],
)
def test_a_file_that_holds_no_accounts_is_refused(tmp_path, content, text):
    path = tmp_path / "a.json"
    path.write_text(content)
    for picture in ("traffic", "roofline"):
        status, _, err = run(picture, "--accounts", str(path), "-o", "x.svg")
        assert status == 2
        assert text in err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (ROWS.replace("70", "170"), "line 2: accuracy_percent 170: must be at most 100"),
        ("", "column family is missing: must have family, label, accuracy_percent, macs, latency_s"),
        (ROWS.replace("macs", "flops"), "column macs is missing"),
        (ROWS.splitlines()[0], "has no rows"),
        (ROWS.replace("4e8", "many"), "line 3: macs 'many': must be a finite number above 0"),
        (ROWS.replace("0.02", "-1"), "line 2: latency_s '-1': must be a finite number above 0"),
        (ROWS.replace("75.5,4e8,0.06,numba", "75.5"), "line 3: macs None"),
    ],
)
def test_a_table_that_is_wrong_is_told_by_line_and_column(tmp_path, content, text):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    status, _, err = run("gap", "--csv", str(path), "-o", "x.svg")
    assert status == 2
    assert text in err


def test_latencies_that_no_machine_of_that_peak_can_have_are_refused(tmp_path):
    """The batch forgotten, or milliseconds given as seconds, would draw a network above 100 % of the peak."""
    path = tmp_path / "mine.csv"
    path.write_text(ROWS)
    status, _, err = run("gap", "--csv", str(path), "--machine", "zen4", "--dtype", "float32", "--batch", "64", "-o", "x.svg")
    assert (status, err.count("\n")) == (2, 1)
    assert "mine S: latency_s 0.02: must be 0.108 or more, in which the peak of zen4 makes 1e+08 MACs for --batch 64" in err


@pytest.mark.parametrize("picture", plot.PICTURES)
def test_every_picture_has_a_help(picture):
    status, out, _ = run(picture, "--help")
    assert status == 0
    assert out.startswith(f"usage: sim.plot {picture} ")


def test_a_machine_file_without_a_rate_is_named(tmp_path):
    path = tmp_path / "machine.yaml"
    path.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in GOOD.items() if key != "bandwidth"))
    status, _, err = run("intensity", "--machine", str(path), "-o", "x.svg")
    assert status == 2
    assert "bandwidth: missing; such as bandwidth: 25 GB/s" in err


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = run("gap", "-o", "x.svg")
    assert (status, err) == (2, "sim.plot gap: -o x.svg: needs matplotlib: pip install matplotlib (the extra plot)\n")


def test_the_module_runs_as_a_command(tmp_path):
    path = tmp_path / "gap.svg"
    done = subprocess.run([sys.executable, "-m", "sim.plot", "gap", "-o", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
    check_file(path)
