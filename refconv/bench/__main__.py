"""`python -m refconv.bench`: this project's kernels and every installed peer on the same layers, interleaved in one process.

Results go to stdout, progress to stderr; bad input exits with status 2 and one line.
"""

import json
import sys

from refconv import host
from refconv.bench.blocks import CASES, Case, block_contests
from refconv.bench.entry import WrongResult
from refconv.bench.isa import NEEDS, cpu_name, environment, hold, in_force, run_held
from refconv.bench.layers import layer_contests
from refconv.bench.measure import copy_bytes_per_s, measure
from refconv.bench.network_steps import network_steps
from refconv.bench.networks import LAYOUT, MODELS, network_contests, set_cases
from refconv.bench.networks import SETS as NETWORK_SETS
from refconv.bench.networks import Case as NetworkCase
from refconv.bench.operators import operators
from refconv.bench.peers import PEERS, installed, versions
from refconv.cli import Parser, door, note, positive, progress
from refconv.elements import LEGAL, element
from refconv.networks import BUILT_SIZE
from refconv.networks.layers import PRESETS, SETS, Layer, find_layer, with_batch
from refconv.peak import peak_flop_per_s
from refconv.plan import thread_count

NAMES = (*SETS, "blocks", *NETWORK_SETS, "networks", "operators", "all")


def parser():
    """The command line of refconv.bench."""
    result = Parser(prog="refconv.bench", description=f"Time the kernels beside {', '.join(PEERS)}, one thread unless told otherwise.")
    add = result.add_argument
    add("--layer", action="append", metavar="NAME|DESCRIPTOR", help=f"{', '.join(PRESETS)}, or a benchdnn descriptor; repeatable")
    add(
        "--set",
        action="append",
        metavar="NAME",
        help=f"{', '.join(NAMES)}; repeatable (default all, which is every set of layers; networks: {', '.join(NETWORK_SETS)})",
    )
    add("--model", action="append", metavar="NAME|FILE", help="a network of refconv.networks, with random weights, or an ONNX graph; repeatable")
    add(
        "--size",
        type=positive,
        metavar="PIXELS",
        help=f"rows and columns of the images of networks by name (default {BUILT_SIZE}; of convfirst their own)",
    )
    add("--steps", action="store_true", help="of each --model the time of every call of its schedule beside its roof, without peers")
    add("--threads", type=int, default=1, help="threads of every contender (default 1)")
    add("--dtype", default="float32", help=f"{LEGAL} (default float32); beside halves also the float32 time is shown")
    add("--batch", type=positive, help="images, instead of the layers' own number")
    add("--layout", default="NHWC", help="arrays given to and taken from this project: NHWC, or NCHW, which pays the conversion (default NHWC)")
    add("--peers", default=",".join(PEERS), help=f"comma-separated: {', '.join(PEERS)}; or none (default all that are installed)")
    add(
        "--isa",
        default="native",
        help=f"{', '.join(NEEDS)}: every contender held to that instruction set, in a process of its own where the CPU has more; or native (default)",
    )
    add("--rounds", type=positive, default=31, help="interleaved rounds, of which the median is taken (default 31)")
    add("--json", action="store_true", help="JSON on stdout")
    add("--plot", metavar="FILE", help="a bar chart of the achieved FLOP/s, PNG, SVG or PDF (extra: bench)")
    return result


def chosen_sets(arguments):
    """{name: layers, or cases of blocks} that the command line asks for."""
    sets = {}
    if arguments.layer:
        sets["layers"] = [find_layer(text) for text in arguments.layer]
    if arguments.model:
        sets[MODELS] = [NetworkCase(source, arguments.size or BUILT_SIZE, arguments.batch).checked() for source in arguments.model]
    names = arguments.set or ([] if arguments.layer or arguments.model else list(SETS))
    for name in names:
        if name not in NAMES:
            raise ValueError(f"--set {name}: must be {', '.join(NAMES)}")
    layers = list(SETS) if "all" in names else [name for name in names if name in SETS]
    sets.update({name: [Layer(str(problem), problem, name) for problem in SETS[name]] for name in layers})
    if "blocks" in names:
        sets["blocks"] = CASES
    if arguments.batch is not None:
        sets = {name: [batched(entry, arguments.batch) for entry in entries] for name, entries in sets.items()}
    chosen = list(NETWORK_SETS) if "networks" in names else [name for name in names if name in NETWORK_SETS]
    sets.update({name: set_cases(name, arguments.size, arguments.batch) for name in chosen})
    return sets


def check_networks(arguments, sets):
    """ValueError where options do not go with the networks that are asked for, or there are none for them."""
    chosen = [name for name in sets if name in (*NETWORK_SETS, MODELS)]
    if chosen and element(arguments.dtype).name != "float32":
        raise ValueError(f"--dtype {arguments.dtype}: must be float32 with networks")
    if arguments.size and not chosen:
        raise ValueError(f"--size {arguments.size}: needs --model NAME or a set of networks")
    if arguments.steps and list(sets) != [MODELS]:
        raise ValueError("--steps: needs --model, and no layers or sets beside it")


def batched(entry, batch):
    """A layer, or a case of blocks or of a network, for `batch` images."""
    return entry._replace(n=batch) if isinstance(entry, Case | NetworkCase) else entry._replace(problem=with_batch(entry.problem, batch))


def chosen_peers(text):
    """The peers asked for that are installed; the others are named on stderr."""
    wanted = [] if text == "none" else text.split(",")
    for name in wanted:
        if name not in PEERS:
            raise ValueError(f"--peers {name}: must be of {', '.join(PEERS)}, or none")
    found = installed(wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        note(f"not installed: {', '.join(missing)}; the extra bench brings them")
    return found


def show_steps(cases, machine, threads, arguments):
    """Print the calls of each case; returns the exit status."""
    found = {case.name: network_steps(case, threads, arguments.rounds, machine) for case in cases}
    if arguments.json:
        json.dump({"schema": 1, "host": machine, "threads": threads, "steps": found}, sys.stdout, indent=1)
        print()
    else:
        from refconv.bench.network_report import report_steps

        report_steps(machine, found, threads, arguments.rounds)
    return 0


def main(argv=None):
    """Run the command line; returns the exit status."""
    command = parser()
    arguments = command.parse_args(argv)
    try:
        dtype = element(arguments.dtype).dtype
        if arguments.layout not in ("NHWC", "NCHW"):
            raise ValueError(f"--layout {arguments.layout}: must be NHWC or NCHW")
        threads, sets = thread_count(arguments.threads), chosen_sets(arguments)
        check_networks(arguments, sets)
        settings = environment(arguments.isa)
        if not in_force(settings):
            return run_held(settings, sys.argv[1:] if argv is None else argv)
        peers = hold(arguments.isa, chosen_peers(arguments.peers))
    except (ValueError, ImportError) as error:
        command.error(str(error))
    machine = {
        "cpu": cpu_name(),
        "isa": arguments.isa,
        "vector_bytes": host.vector_unit()[0],
        "peak_flop_per_s": peak_flop_per_s(arguments.dtype),
        "copy_bytes_per_s": copy_bytes_per_s(),
    }
    results = {}
    try:
        if arguments.steps:
            return show_steps(sets[MODELS], machine, threads, arguments)
        for name, entries in sets.items():
            results[name] = []
            if name in (*NETWORK_SETS, MODELS):
                contests, layout = network_contests(entries, peers, threads), LAYOUT
            else:
                layout = arguments.layout
                contests = (block_contests if name == "blocks" else layer_contests)(entries, peers, dtype, threads, layout)
            for record in measure(contests, dtype, threads, layout, arguments.rounds):
                results[name].append(record)
                progress(f"{name}: {record['descriptor']}")
    except (WrongResult, ValueError) as error:
        progress()
        command.error(str(error))
    stacked = operators(threads, arguments.rounds) if arguments.set and "operators" in arguments.set else []
    progress()
    if arguments.json:
        document = {"schema": 1, "host": machine, "peers": versions(peers), "dtype": arguments.dtype, "threads": threads}
        json.dump({**document, "layout": arguments.layout, "sets": results, "operators": stacked}, sys.stdout, indent=1)
        print()
    else:
        from refconv.bench.report import report

        report(machine, versions(peers), results, stacked, threads, arguments)
    if arguments.plot:
        from refconv.bench.plot import plot

        try:
            plot(results, arguments.plot)
        except (ImportError, ValueError, OSError) as error:
            command.error(f"--plot {arguments.plot}: {error}")
    return 0


if __name__ == "__main__":
    door(main)
