"""Which tiling is fastest here: the search on clocks of the tests' own, what is kept of it, and that no result depends on it."""

import json
import math
import random

import numpy as np
import pytest
from block_problems import build, squeeze_excite
from problems import OF_EACH_KERNEL, call, operands
from test_fused import filled

import refconv
from refconv import host
from refconv.bench.blocks import weights as bench_weights
from refconv.elements import element
from refconv.kernels import kernel_for
from refconv.schedule import block_schedule, subject_of
from refconv.tiling import measured
from refconv.tiling.checked import as_numbers, checked
from refconv.tiling.measured import Measured, Subject, keep, look_up
from refconv.tiling.neighbours import Space, neighbours
from refconv.tune import tune
from refconv.tune.race import CLEARLY, MOST_ROUNDS, Runner, duel, race
from refconv.tune.search import Task, settle, task

FLOAT = element("float32")
LANES = host.target().lanes(4)
BLOCKS = {
    "ffn": (build(refconv.FFNBlock, 40, hidden=100), (2, 5, 9)),
    "convnext": (build(refconv.ConvNeXtBlock, 24, hidden=96, kernel=(7, 7)), (2, 7, 7)),
    "convfirst down": (build(refconv.ConvFirstBlock, 24, 20, 80, 8, stride=2), (2, 9, 14)),
    "fusedmbconv": (build(refconv.FusedMBConvBlock, 20, 36, 80, stride=2), (2, 11, 9)),
    "mbconv": (build(refconv.MBConvBlock, 24, 24, 72, 1, kernel=(5, 5), se=squeeze_excite(72, 6)), (2, 14, 14)),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """What is measured goes to a folder of the test's, and is taken."""
    monkeypatch.setenv("REFCONV_TUNED", "1")
    monkeypatch.setattr(measured, "folder", lambda: tmp_path / "tuned")
    monkeypatch.setattr(measured, "_TOLD", [])
    monkeypatch.setattr(measured, "_UNKEPT", {})
    yield tmp_path / "tuned"
    for forget in measured._FORGET:
        forget()


class Clock:
    """Seconds that pass only as functions say that they have taken them."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def runner(self, seconds, noise=lambda: 1.0):
        """The Runner of a function that takes `seconds`, times noise()."""

        def run():
            self.now += seconds * noise()

        return Runner(run, self)


def subject(name, threads=1):
    """The Subject of a problem of OF_EACH_KERNEL or of BLOCKS, for float32."""
    if name in BLOCKS:
        record, shape = BLOCKS[name]
        return subject_of(block_schedule(record, *shape, FLOAT, host.target()._replace(threads=threads)), threads)
    problem = OF_EACH_KERNEL[name]
    return Subject(kernel_for(problem, LANES), problem, FLOAT, threads)


def space_of(about):
    return Space(about.problem, about.rule, about.lanes, about.target)


def another(about, field=None):
    """A tiling beside the rule's, in `field`; else the first that there is, block sizes first."""
    found = neighbours(about.rule, space_of(about))
    return found[field or next(iter(found))][0]


def test_a_race_finds_the_fastest_through_noise():
    """Bursts of half as much again in a tenth of all samples, 3 % up and down in all; the fastest is 4 % ahead."""
    rng, won = random.Random(1), 0
    noise = lambda: rng.uniform(0.97, 1.03) * (1.5 if rng.random() < 0.1 else 1)
    for _ in range(20):
        clock = Clock()
        times = {"rule": 1.04, "best": 1.0, "worse": 1.05, "bad": 1.5, "hopeless": 9.0}
        won += race({name: clock.runner(seconds * 2e-3, noise) for name, seconds in times.items()}) == "best"
    assert won >= 18


def test_what_is_clearly_slower_is_dropped_early_and_half_a_percent_moves_nobody():
    clock, rounds = Clock(), {}
    runners = {name: clock.runner(seconds) for name, seconds in {"first": 1.0, "equal": 0.995, "slow": 1.02, "hopeless": CLEARLY + 0.01}.items()}
    for name, runner in runners.items():
        sample = runner.sample
        runner.sample = lambda name=name, sample=sample: rounds.update({name: rounds.get(name, 0) + 1}) or sample()
    assert race(runners) == "first"
    assert rounds["hopeless"] == 3 < rounds["slow"] < rounds["first"] == rounds["equal"] == MOST_ROUNDS
    assert race({"first": clock.runner(1.0), "faster": clock.runner(0.98)}) == "faster"
    assert duel(clock.runner(3.0), clock.runner(4.0)) == 0.75


def test_a_race_ends_at_its_deadline():
    clock = Clock()
    runners = {name: clock.runner(1.0) for name in "abc"}
    before = clock.now
    race(runners, deadline=before + 1, clock=clock)
    assert clock.now - before < 3 * 3 * 3  # three rounds of three samples of at most two calls and a half


@pytest.mark.parametrize("target", [host.Target(*vectors, 32 << 10, 256 << 10) for vectors in ((64, 32), (32, 16), (16, 16))])
@pytest.mark.parametrize("name", [*OF_EACH_KERNEL, *BLOCKS])
def test_neighbours_are_legal_a_step_away_and_fit_the_registers(name, target):
    """Of the rule's tiling, and of theirs in turn."""
    problem = OF_EACH_KERNEL.get(name)
    if name in BLOCKS:
        schedule = block_schedule(BLOCKS[name][0], *BLOCKS[name][1], FLOAT, target)
        kernel, problem = schedule.calls[0].kernel, schedule.calls[-1].problem
    else:
        kernel = kernel_for(problem, target.lanes(4))
    rule = kernel.tiling(problem, 4, target)
    space, tilings, fields = Space(problem, rule, target.lanes(4), target), [rule], set()
    for tiling in tilings[:1] + [other for steps in neighbours(rule, space).values() for other in steps]:
        for field, steps in neighbours(tiling, space).items():
            assert steps
            fields.add(field)
            for other in steps:
                assert getattr(other, field) != getattr(tiling, field)
                assert checked(other, rule, problem, space.lanes) == other
                shape = getattr(other, field)
                if isinstance(shape, tuple):
                    width = getattr(shape, "inputs", 1) if shape.kind == "grouped" else getattr(shape, "vectors", 1)
                    assert shape.rows == 1 or shape.rows * width < target.registers
    assert len(fields) > 1 or name == "few_outputs", "block sizes and shapes; the sums of few outputs have one shape"


def pretend(about, seconds_of):
    """(a Task in which a tiling takes seconds_of(tiling), the tilings that were run)."""
    clock, tried = Clock(), []

    def run(tiling):
        tried.append(tiling)

        def once():
            clock.now += seconds_of(tiling)

        return once

    return Task(about, run, "pretended", clock), tried


@pytest.mark.parametrize("name", [*OF_EACH_KERNEL, *BLOCKS])
def test_a_search_walks_to_the_best_of_a_smooth_valley(name):
    """The time grows with the distance from a tiling two steps away from the rule's; that one is found, and its regret is right."""
    about = subject(name)
    space, goal, other = space_of(about), about.rule, []
    for i, field in enumerate([*neighbours(about.rule, space)][:3]):
        goal = neighbours(goal, space).get(field, [goal])[-1 if i else 0]
    wanted = as_numbers(goal)

    def seconds_of(tiling):
        numbers = as_numbers(tiling)
        return 1e-3 * (1 + sum(abs(math.log(max(numbers[key], 0.5) / max(wanted[key], 0.5))) for key in wanted))

    pretended, tried = pretend(about, seconds_of)
    found = settle(pretended)
    assert found.measured.settled
    assert seconds_of(found.tiling) <= 1.02 * seconds_of(goal)
    assert found.regret == pytest.approx(seconds_of(about.rule) / seconds_of(found.tiling))
    assert found.measured.tried == len(tried) == len(set(tried)), "none is measured as two"
    other = settle(pretended)
    assert (other, len(tried)) == (found, found.measured.tried), "it is settled, and read"
    assert look_up(about) == found.measured


def test_where_the_rule_is_best_nothing_changes():
    about = subject("conv2d")
    found = settle(pretend(about, lambda tiling: 1.0 if tiling == about.rule else 0.995)[0])
    assert (found.tiling, found.regret) == (about.rule, 1.0)
    assert "measured: the rule's is the fastest of" in str(found)


def test_a_search_that_is_out_of_time_goes_on_when_asked_again():
    about = subject("pointwise")
    pretended, tried = pretend(about, lambda tiling: 1.0 / sum(as_numbers(tiling).values()))
    first = settle(pretended, budget_s=1e-9)
    assert (first.measured.tried, first.measured.settled, first.tiling) == (1, False, about.rule)
    assert "1 tiling, not all that were to be tried" in str(first)
    better = another(about)
    keep(about, Measured(better, 0.9, 3, False))
    tried.clear()
    second = settle(pretended)
    assert second.measured.settled
    assert tried[:2] == [about.rule, better]
    tried.clear()
    third = settle(pretended, again=True)
    assert (third.measured.settled, third.tiling) == (True, second.tiling)
    assert tried[0] == about.rule
    assert tried[1] in [tiling for steps in neighbours(about.rule, space_of(about)).values() for tiling in steps]


@pytest.mark.parametrize(("name", "threads"), [*((name, 1) for name in OF_EACH_KERNEL if name != "few_outputs"), ("depthwise", 2)])
def test_calls_take_what_is_kept_and_results_are_the_same_bits(name, threads, monkeypatch):
    """Numbers that are not exact; another register tile or strip. REFCONV_TUNED=0 and a tiling of the call override it."""
    problem, about = OF_EACH_KERNEL[name], subject(name, threads)
    x, weight, bias = operands(problem, make=lambda rng, shape, dtype: rng.standard_normal(shape).astype(dtype))
    field = "tile" if hasattr(about.rule, "tile") else "strip"
    monkeypatch.setenv("REFCONV_TUNED", "0")
    expected = call(problem, x, weight, bias, threads=threads)
    keep(about, Measured(another(about, field), 0.5, 2, True))
    plans = spied(monkeypatch)
    np.testing.assert_array_equal(call(problem, x, weight, bias, threads=threads), expected)
    monkeypatch.delenv("REFCONV_TUNED")
    np.testing.assert_array_equal(call(problem, x, weight, bias, threads=threads, tiling=about.rule), expected)
    assert plans == [about.rule, about.rule]
    keep(about, Measured(another(about, field), 0.5, 2, True))
    np.testing.assert_array_equal(call(problem, x, weight, bias, threads=threads), expected)
    assert plans[2:] == [another(about, field)]


def spied(monkeypatch):
    """The tilings of the plans that are made from now on."""
    from refconv import plan

    made, real = [], plan.plan_of
    monkeypatch.setattr(plan, "plan_of", lambda call, stored: made.append(call.tiling) or real(call, stored))
    return made


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_take_what_is_kept_and_results_are_the_same_bits(name, monkeypatch):
    """Squeeze-excitation on one thread too, in both modes; a halo that is asked for, and a tiling, override it."""
    record, shape = filled(BLOCKS[name][0]), BLOCKS[name][1]
    about = subject(name)
    x = np.random.default_rng(3).standard_normal((shape[0], record.c, *shape[1:])).astype(np.float32)
    expected = refconv.fused_block(x, record, threads=1)
    wanted = another(about)
    keep(about, Measured(wanted, 0.5, 2, True))
    plans = spied(monkeypatch)
    np.testing.assert_array_equal(refconv.fused_block(x, record, threads=1), expected)
    assert plans[0] == wanted
    plans.clear()
    np.testing.assert_array_equal(refconv.fused_block(x, record, threads=1, tiling=about.rule), expected)
    if about.kernel.halo:
        np.testing.assert_array_equal(refconv.fused_block(x, record, threads=1, halo="cache"), expected)
    assert {plan for plan in plans if type(plan) is type(wanted)} == {about.rule}


def test_a_call_asks_once_what_has_been_measured(monkeypatch):
    asked = []
    monkeypatch.setattr("refconv.plan.look_up", asked.append)
    for forget in measured._FORGET:
        forget()
    x, weight, bias = operands(OF_EACH_KERNEL["depthwise"])
    for _ in range(3):
        call(OF_EACH_KERNEL["depthwise"], x, weight, bias, threads=1)
    assert asked == [subject("depthwise")]


def test_a_real_search_of_a_small_layer():
    """Measured in earnest, so only what must hold of any times."""
    found = tune(OF_EACH_KERNEL["depthwise"], threads=1, budget_s=20)
    assert found.regret >= 1
    assert found.measured.tried >= 2
    assert (found.regret == 1) == (found.tiling == found.rule)
    assert look_up(found.subject) == found.measured
    again = tune(OF_EACH_KERNEL["depthwise"], threads=1, budget_s=1e-6)
    assert again == found if found.measured.settled else again.subject == found.subject


def test_a_real_search_of_a_block_makes_what_its_calls_make():
    record, shape = filled(BLOCKS["mbconv"][0]), BLOCKS["mbconv"][1]
    wanted = task(record, shape, threads=1)
    assert wanted.subject == subject("mbconv")
    found = tune(record, shape, threads=1, budget_s=1e-6)
    assert (found.measured.tried, found.measured.settled, found.regret) == (1, False, 1.0)


ERRORS = [
    (lambda: tune("mb1ic8ih6oc8kh3", (1, 2, 3)), ValueError, r"shape = \(1, 2, 3\): must be None for a layer"),
    (lambda: tune(BLOCKS["ffn"][0]), ValueError, r"shape = None: must be \(n, h, w\)"),
    (lambda: tune(BLOCKS["ffn"][0], (1, 0, 3)), ValueError, "height = 0"),
    (lambda: tune(7), TypeError, "problem = 7: must be a Conv2d"),
    (lambda: tune("mb1ic8ih6"), ValueError, "oc is missing"),
    (lambda: tune("mb1ic8ih6oc8kh3", dtype="int8"), ValueError, "dtype = 'int8': must be float32"),
    (lambda: tune("mb1ic8ih6oc8kh3", threads=0), ValueError, "threads = 0"),
    (lambda: tune("mb1ic8ih6oc8kh3", budget_s=0), ValueError, "budget_s = 0: must be a number of seconds above 0"),
    (lambda: refconv.choose("mb1ic8ih6oc8kh3", threads=0), ValueError, "threads = 0"),
    (lambda: refconv.choose("mb1ic8ih6oc8kh3", target=host.target(), threads=2), ValueError, "threads = 2 with a target: must be None"),
]


@pytest.mark.parametrize("i", range(len(ERRORS)))
def test_bad_input_names_the_argument_and_what_is_legal(i):
    run, error, text = ERRORS[i]
    with pytest.raises(error, match=text):
        run()


def test_choose_says_what_has_been_measured(monkeypatch):
    about, two = subject("conv2d"), subject("conv2d", threads=2)
    assert "measured" not in str(refconv.choose(about.problem))
    keep(about, Measured(another(about), 0.873, 9, True))
    keep(two, Measured(two.rule, 1.0, 5, True))
    choice = refconv.choose(about.problem)
    assert choice.tiling == another(about)
    assert str(choice).endswith("; measured: 0.87 of the rule's time, the fastest of 9 tilings")
    assert "\n" not in str(choice)
    assert str(refconv.choose(about.problem, threads=2)).endswith("; measured: the rule's is the fastest of 5 tilings")
    for choice in (refconv.choose(about.problem, target=host.target()), refconv.choose(about.problem, dtype="float64")):
        assert "measured" not in str(choice)
    assert refconv.choose(about.problem, target=host.target()).tiling == about.rule
    monkeypatch.setenv("REFCONV_TUNED", "0")
    assert refconv.choose(about.problem).tiling == about.rule


def test_the_simulator_counts_the_rule_on_every_machine_and_what_is_asked_for():
    """On this computer, too: counts must not change as it is tuned."""
    import sim

    about = subject("pointwise")
    count = lambda machine, tiling=None: {**sim.simulate(None, about.problem, machine, tiling).as_json(), "simulation_s": None}
    before = [count(machine) for machine in ("zen4", "host")]
    other = another(about)
    keep(about, Measured(other, 0.5, 2, True))
    assert [count(machine) for machine in ("zen4", "host")] == before
    assert count("host", refconv.choose(about.problem).tiling)["tiling"] == as_numbers(other) != before[1]["tiling"]


def test_json_is_what_is_kept(own_folder):
    about = subject("grouped")
    keep(about, Measured(about.rule, 1.0, 4, True))
    (path,) = own_folder.iterdir()
    assert json.loads(path.read_text())["tiling"] == as_numbers(about.rule)
    assert path.name.startswith("grouped-")


@pytest.mark.parametrize("kept", [True, False])
def test_the_benchmark_says_of_each_row_what_is_tuned(kept, monkeypatch):
    """Of layers, blocks and stacked layers, in JSON and tables: the ratio that was kept, and nothing of a row that takes the rule's tiling."""
    from commands import run

    from refconv.bench import __main__ as bench
    from refconv.bench import operators

    problem, block = OF_EACH_KERNEL["depthwise"], bench.CASES[-1]._replace(c=8, size=3)
    monkeypatch.setattr(bench, "CASES", [block])
    monkeypatch.setattr(operators, "OPERATORS", dict.fromkeys(operators.OPERATORS, (problem,)))
    if kept:
        keep(subject("depthwise"), Measured(subject("depthwise").rule, 1.0, 5, True))
        of_block = task(bench_weights(block), (1, 3, 3), threads=1).subject
        keep(of_block, Measured(of_block.rule._replace(pixels=4), 0.875, 5, True))
    layer = "g32mb1ic32ih5oc32kh3ph1"
    words = ("--layer", layer, "--layer", "mb1ic7ih3iw2oc20kh1kw1", "--set", "blocks", "--set", "operators", "--peers", "none", "--rounds", "1")
    status, out, _ = run(*words, "--json", main=bench.main)
    document = json.loads(out)
    assert status == 0
    tuned = lambda records: [record["tuned"] for record in records]
    assert tuned(document["sets"]["layers"]) == [1.0 if kept else None, None]
    assert tuned(document["sets"]["blocks"]) == [0.875 if kept else None]
    assert set(tuned(document["operators"])) == {1.0 if kept else None}
    status, out, _ = run(*words, main=bench.main)
    assert status == 0
    assert ("tuned: 6 of 7 tilings" in out) == kept
    assert out.count(" tuned ") == (3 if kept else 0)
