"""What the papers measured beside what is computed: the page in docs/, the order of latencies, Kendall's tau."""

import pathlib

import pytest
from commands import run

from refconv.networks import names
from refconv.published import fasternet, isynet
from sim.account.papers import PREDICTORS, lavin_waterlines, predictions, rankings, settings
from sim.analysis.ranking import kendall_tau
from sim.cli.papers import main

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "waterline.md"


def test_the_page_is_what_the_command_prints():
    status, out, err = run(main=main)
    assert (status, err) == (0, "")
    assert out == PAGE.read_text()


def test_all_of_lavin_s_rows_lie_below_their_waterlines():
    rows = lavin_waterlines()
    assert len(rows) == 15
    for row in rows:
        assert 0 < row.share_of_waterline < 1
        assert row.row.peak_percent / 100 < row.as_run.waterline_efficiency <= row.fused.waterline_efficiency


def test_the_waterline_ranks_lavin_s_latencies_where_operations_do_not():
    ascend, *table3, lavin = settings()
    tau = rankings(lavin)
    assert tau["MACs"] < 0.6 < 0.8 < tau["waterline"]
    assert rankings(ascend)["waterline"] >= rankings(ascend)["MACs"]
    for one in table3:
        assert rankings(one)["compulsory bytes"] > rankings(one)["MACs"]


def test_settings_have_every_published_latency_of_a_network_that_there_is():
    ascend, gpu, cpu, arm, lavin = settings()
    assert [len(one.rows) for one in (ascend, lavin)] == [len(isynet.ROWS), 15]
    there = [row for row in fasternet.NETWORKS if row.network in names()]
    assert len(gpu.rows) == len(cpu.rows) == len(there)
    assert len(arm.rows) == sum(row.arm_ms is not None for row in there)
    assert {len(values) for values in predictions(arm).values()} == {len(arm.rows)}
    assert tuple(predictions(arm)) == PREDICTORS


def test_kendall_s_tau_by_its_definition():
    one, other = [3, 1, 4, 1.5, 9], [2, 7, 1, 8, 2.8]
    pairs = [(i, j) for i in range(5) for j in range(i)]
    agree = sum(1 if (one[i] - one[j]) * (other[i] - other[j]) > 0 else -1 for i, j in pairs)
    assert kendall_tau(one, other) == pytest.approx(agree / len(pairs))
    assert (kendall_tau(one, one), kendall_tau(one, [-x for x in one])) == (pytest.approx(1), pytest.approx(-1))
    for bad, text in (
        ([1], "predicted = .1.: must have two"),
        ([2, 2, 2, 2, 2], "predicted = .2, 2"),
        ([1, 2], "predicted has 2 numbers, measured 5"),
    ):
        with pytest.raises(ValueError, match=text):
            kendall_tau(bad, one)
