"""`python -m sim.capacity --layer conv2d --plot traffic.svg`: DRAM traffic of a layer or block against the size of the cache.

One run of the kernel has the traffic of every fully associative LRU cache (sim/account/capacity.py).
"""

from sim.account.capacity import against_capacity
from sim.account.parallel import run_all
from sim.cli import options as command
from sim.report.capacity import capacity_report
from sim.report.figures.capacity import capacity_figure
from sim.report.figures.style import check_plot, save
from sim.report.output import show, write_json, write_rows
from sim.report.rows import capacity_rows


def write(machine, records, arguments):
    """The CapacityAccounts in the form asked for, to stdout; the picture to its file."""
    if arguments.plot:
        try:
            save(capacity_figure(records, machine), arguments.plot)
        except OSError as error:
            parser().error(f"--plot {arguments.plot}: {error.strerror or error}")
    if arguments.json:
        write_json(machine, {"layers": [record.as_json() for record in records]})
    elif arguments.csv:
        write_rows([row for record in records for row in capacity_rows(record)])
    else:
        show(machine, [part for record in records for part in capacity_report(record)])


def parser():
    """The command line of sim.capacity."""
    result = command.parser(
        "sim.capacity",
        "DRAM traffic of a kernel against the size of a fully associative LRU cache, from one run.",
        json="JSON on stdout",
        csv="CSV on stdout, a row a size, fused and unfused for a block",
    )
    result.add_argument("--plot", metavar="FILE", help="draw it: .svg, .png or .pdf (needs matplotlib)")
    return result


def accounted(arguments):
    """(machine, CapacityAccounts) of the command line's layers."""
    if arguments.plot is not None:
        try:
            check_plot(arguments.plot)
        except (ValueError, ImportError) as error:
            raise ValueError(f"--plot {arguments.plot}: {error}") from None
    layers = command.chosen_layers(arguments)
    modes, machine = command.chosen_modes(layers, arguments), command.chosen_machine(arguments)
    calls = [(command.call_of(layer, machine, modes, arguments), command.problem_of(layer, arguments)) for layer in layers]
    return machine, run_all([(against_capacity, {"call": call, "problem": problem, "machine": machine}) for call, problem in calls])


def main(argv=None):
    """Run the command line; returns the exit status."""
    made = parser()
    return command.finish(made, made.parse_args(argv), accounted, write)
