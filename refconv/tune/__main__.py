"""`python -m refconv.tune --set dense`: measure tilings of layers and blocks on this CPU, keep the fastest, and print the rules' regret.

A problem's regret is the time of the rule's tiling over that of the fastest found. Results go to stdout; progress to stderr, a line for each problem
that is measured. Bad input exits with status 2 and one line, and what could not be kept with status 2.
"""

import argparse
import json
import math
import sys
import time

from refconv import host
from refconv.bench import blocks
from refconv.bench.measure import geometric_mean
from refconv.cli import Parser, door, note, positive, progress
from refconv.elements import element
from refconv.networks.drawn import drawn_layers
from refconv.plan import thread_count
from refconv.tables import Table, show_parts
from refconv.tiling.checked import as_numbers
from refconv.tiling.measured import lost
from refconv.tune.network import network_tasks
from refconv.tune.search import is_settled, settle, task
from refconv.warm import DTYPE, add_problems, chosen, open_network


def parser():
    """The command line of refconv.tune."""
    result = Parser(prog="refconv.tune", description="Measure tilings on this CPU, keep the fastest for later calls, and print the rules' regret.")
    add_problems(result)
    add = result.add_argument
    add("--random", type=positive, metavar="N", help="N layers drawn at random from the ranges of real networks, with ragged sizes")
    add("--seed", type=int, metavar="S", help="of --random: another seed draws other layers (default 0)")
    add("--budget", type=seconds, metavar="SECONDS", help="about how long it may take in all (default: until every search is settled)")
    add("--again", action="store_true", help="measure anew what has been measured and kept")
    add("--json", action="store_true", help="JSON on stdout")
    return result


def seconds(text):
    """An argument that must be a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of seconds above 0")
    return value


def tasks(arguments):
    """{name: function that makes its Task}: arrays are made when their turn comes."""
    stored, threads = element(arguments.dtype or DTYPE), thread_count(arguments.threads)
    if arguments.seed is not None and arguments.random is None:
        raise ValueError(f"--seed {arguments.seed}: needs --random N")
    problems, cases, networks = chosen(arguments, drawn_layers(arguments.random, arguments.seed or 0) if arguments.random else ())
    made = {str(problem): lambda problem=problem: task(problem, None, stored.dtype, threads) for problem in problems}
    for case in cases:
        made[str(case)] = lambda case=case: task(blocks.weights(case, stored.dtype), (case.n, case.size, case.size), threads=threads)
    made |= network_tasks((schedule_of(source, arguments, threads) for source in networks), threads, stored)
    if not made:
        raise ValueError(f"--model {arguments.model[-1]}: has no layer or block that a kernel of this project runs")
    return made


def schedule_of(source, arguments, threads):
    """The NetworkSchedule of a network by name or file."""
    net, shapes = open_network(source, arguments)
    return net.schedule_for(*shapes, threads=threads)


def tuned(made, budget_s, again):
    """Yield (name, Tuned) of each task, which has an even share of the seconds that are left."""
    end = None if budget_s is None else time.perf_counter() + budget_s
    told = False
    for i, (name, make) in enumerate(made.items()):
        share = None if end is None else max(1e-9, (end - time.perf_counter()) / (len(made) - i))
        wanted, place, start = make(), f"{i + 1} of {len(made)}: ", time.perf_counter()
        measures = not is_settled(wanted.subject, again)
        if measures and not told:
            allowed = f"about {budget_s:g} s in all" if budget_s else "up to some minutes each, where much is to be compiled"
            note(f"measuring {len(made)} problem{'s' * (len(made) != 1)}, {allowed}; Ctrl-C ends it, and what is settled is kept")
            told = True
        one = settle(wanted, share, again, place)
        if measures:
            note(f"{place}{name}: {one.measured}, in {time.perf_counter() - start:.0f} s")
        yield name, one


def document(found, arguments):
    """The JSON of what has been found, a {name: Tuned}."""
    entries = [
        {
            "problem": name,
            "kernel": one.subject.kernel.name,
            "dtype": one.subject.element.name,
            "rule": as_numbers(one.rule),
            "tiling": as_numbers(one.tiling),
            "regret": one.regret,
            "tilings": one.measured.tried,
            "settled": one.measured.settled,
        }
        for name, one in found.items()
    ]
    regrets = [entry["regret"] for entry in entries]
    return {
        "schema": 1,
        "cpu": host.processor(),
        "compiled_for": host.compiler_target()[0],
        "target": host.target()._replace(threads=thread_count(arguments.threads))._asdict(),
        "dtype": ", ".join(dict.fromkeys(entry["dtype"] for entry in entries)),
        "regret": {"geometric_mean": geometric_mean(regrets), "greatest": max(regrets)},
        "problems": entries,
    }


def report(made):
    """The parts of what is printed of a document: a table, and lines."""
    rows = Table(
        "Rule's tiling, and the fastest found", "problem", "kernel", "rule", "fastest", "regret", "tilings", left=("kernel", "rule", "fastest")
    )
    for entry in made["problems"]:
        differs = {name: number for name, number in entry["tiling"].items() if number != entry["rule"][name]}
        tried = f"{entry['tilings']}{'' if entry['settled'] else '*'}"
        rows.add_row(entry["problem"], entry["kernel"], _text(entry["rule"]), _text(differs) or "the rule's", f"{entry['regret']:.3f}", tried)
    worst = max(made["problems"], key=lambda entry: entry["regret"])["problem"]
    mean, greatest, count = *made["regret"].values(), len(made["problems"])
    unsettled = ["* ended by the time allowed, not settled"] * any(not entry["settled"] for entry in made["problems"])
    return [
        rows,
        *unsettled,
        f"{made['cpu']}, compiled for {made['compiled_for']}; {made['dtype']}, threads {made['target']['threads']}",
        f"regret of the rules on {count} problem{'s' * (count != 1)}: geometric mean {mean:.3f}, greatest {greatest:.3f} ({worst})",
    ]


def _text(numbers):
    return " ".join(f"{name}={number}" for name, number in numbers.items())


def main(argv=None):
    """Run the command line; returns the exit status."""
    command = parser()
    arguments = command.parse_args(argv)
    try:
        found = dict(tuned(tasks(arguments), arguments.budget, arguments.again))
    except (TypeError, ValueError, ImportError, MemoryError) as error:
        progress()
        command.error(str(error) or type(error).__name__)
    progress()
    made = document(found, arguments)
    if arguments.json:
        json.dump(made, sys.stdout, indent=1)
        print()
    else:
        show_parts(report(made))
    return 2 if lost() else 0


if __name__ == "__main__":
    door(main)
