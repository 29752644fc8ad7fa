"""Reports on terminals of any width: every number whole, one unit a column, `ratio` the less the better."""

import collections
import functools
import re

import pytest
from rich.text import Text

import sim
from refconv import Conv2d
from refconv.graph.model import Model, ModelLayer, OtherNode
from refconv.tables import BYTES, COUNTS, Table, broken, count, size, texts, unit_for
from sim.account.capacity import against_capacity
from sim.machine.record import load_machine
from sim.report.bench import bench_table
from sim.report.block import block_report
from sim.report.capacity import capacity_report
from sim.report.layer import layer_report
from sim.report.network import model_report
from sim.report.output import show

ZEN4 = load_machine("zen4")
DENSE = Conv2d.parse("mb1ic64ih14oc64kh3ph1")


@functools.cache
def parts(report):
    """The parts of a report of each kind."""
    if report == "layer":
        return layer_report(sim.simulate(None, DENSE, ZEN4, classify=True), ZEN4)
    if report == "cores":
        return layer_report(sim.simulate(None, DENSE, ZEN4, cores=2), ZEN4)
    if report == "block":
        return block_report(sim.simulate_block("ffn", 1, 12, 12, ZEN4), ZEN4)
    if report == "network":
        layers = ModelLayer("a long name of a layer", "Conv", DENSE), ModelLayer("b", "Conv", Conv2d.parse("mb1ic512ih1oc1000kh1"))
        others = OtherNode("r", "Relu", 12_544, "elementwise: fusable with the layer before it"), OtherNode("s", "If", None, "no kernel")
        network = sim.simulate_model(Model("mine.onnx", layers, others), ZEN4)
        return list(model_report(network.totals, network.layers))
    if report == "capacity":
        return capacity_report(against_capacity((sim.simulate, {"kernel": None, "problem": DENSE, "machine": ZEN4, "bias": True}), DENSE, ZEN4))
    rows = [("conv2d kernel", 123_456_789.0, 1_234_567.0), ("half of L2 again and again", 98_765_432.1, None)]
    return [bench_table(ZEN4, rows)]


def shown(report, capsys):
    show(ZEN4, parts(report))
    return capsys.readouterr().out


def words(text):
    """Every word with a digit in it, and how often."""
    return collections.Counter(word for word in text.split() if re.search(r"\d", word))


REPORTS = "layer", "cores", "block", "network", "capacity", "bench"


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("report", REPORTS)
def test_every_number_is_printed_whole(report, columns, monkeypatch, capsys):
    """The words with digits are those of a place without an edge; those of a first column come again. No line that could be folded is too long."""
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = shown(report, capsys)
    monkeypatch.setenv("COLUMNS", str(columns))
    out = shown(report, capsys)
    assert "…" not in out
    assert words(out) >= words(whole)
    assert words(out).keys() == words(whole).keys(), "nothing is there that was cut from another word"
    longest = max(map(len, out.splitlines()))
    assert longest <= max(columns, 60), "at 40 a name beside one column, or a problem's text, may need more"


@pytest.mark.parametrize("report", REPORTS)
def test_a_pipe_has_no_edge(report, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "(continued)" not in shown(report, capsys)


def test_one_unit_a_column():
    """The largest in which every number has three digits, or is whole; that of the first column is its own."""
    assert unit_for([18_816, 1_204_224], BYTES) == ("KiB", 1 << 10)
    assert unit_for([384, 1_204_224], BYTES) == ("B", 1)
    assert unit_for([1 << 10, 1 << 20], BYTES) == ("KiB", 1 << 10), "whole"
    assert unit_for([0, 0], BYTES) == ("B", 1)
    assert unit_for([1 << 34, 0], BYTES) == ("GiB", 1 << 30)
    assert unit_for([118_013_952, 12_845_056], COUNTS) == ("M", 10**6)
    assert texts([18_816, 1_204_224], 1 << 10) == ["18.4", "1,176.0"]
    assert texts([1 << 10, 1 << 20], 1 << 10) == ["1", "1,024"]
    table = Table("t", "capacity", "read", "MACs", "ratio")
    table.add_row(size(1 << 20), size(18_816), count(12_000_000), "1.00")
    table.add_row(size(1 << 15), size(1 << 24), count(118_013_952), "2.00")
    assert table._texts() == [
        ("capacity\nKiB", ["1,024", "32"]),
        ("read\nKiB", ["18.4", "16,384.0"]),
        ("MACs\nM", ["12.0", "118.0"]),
        ("ratio", ["1.00", "2.00"]),
    ]


def test_columns_that_do_not_fit_follow_below():
    table = Table("title", "name", *(f"column {i}" for i in range(5)))
    table.add_row("row", *("1,234,567" for _ in range(5)))
    (whole,) = table.folded()
    assert len(whole[1].columns) == 6
    folded = table.folded(40)
    assert [title for title, _ in folded] == ["title", "title (continued)", "title (continued)"]
    assert [column.header for _, drawn in folded for column in drawn.columns] == [
        *("name", "column 0", "column 1", "name", "column 2", "column 3", "name", "column 4"),
    ]
    assert len(table.folded(1)) == 5, "at least a column each"


def test_texts_are_broken_between_words():
    lines = [line.plain for line in broken(Text("one 1,234,567 two\n  three four"), 10)]
    assert lines == ["one", "1,234,567", "two", "  three", "four"]
    assert [line.plain for line in broken(Text("a\n\nwordlongerthanthat b"), 8)] == ["a", "", "wordlongerthanthat", "b"]


def test_ratio_is_the_less_the_better(capsys):
    """Over a lower bound everywhere; what is better the more there is has another name."""
    out = {report: shown(report, capsys) for report in REPORTS}
    assert all("ratio" in out[report] for report in ("layer", "network", "capacity"))
    assert "times better" in out["block"] and "times faster" in out["bench"] and "ratio" not in out["bench"]
    comparison = out["block"].partition("Fused beside")[2]
    assert "ratio" not in comparison
    (line,) = (line for line in comparison.splitlines() if "FLOP/B simulated" in line)
    fused, apart, better = map(float, line.split()[-3:])
    assert better == pytest.approx(fused / apart, abs=0.02)
