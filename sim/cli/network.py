"""`python -m sim.network resnet50` or `FILE.onnx`: DRAM traffic of a whole network, call by call, with caches warm from one to the next.

The table, JSON and CSV go to stdout, progress to stderr; bad input exits with status 2 and one line.
"""

import argparse

from refconv.cli import NETWORK_OPTIONS, Parser, in_options, note, positive
from refconv.networks import names
from refconv.networks.opened import opened
from sim.account.network_run import simulate_network
from sim.account.trace_cost import MOST_ACCESSES
from sim.cli import options as command
from sim.machine.record import presets
from sim.report.network_run import network_report
from sim.report.output import show, write_json, write_rows
from sim.report.rows import network_rows


def parser():
    """The command line of sim.network."""
    networks, machines = ("\n".join(f"  {name}" for name in listed) for listed in (names(), ("host", *presets())))
    result = Parser(
        prog="sim.network",
        description="Run a whole network on a simulated cache hierarchy and count what each call of its schedule moves.",
        epilog=f"networks:\n{networks}\n\nmachines:\n{machines}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("network", nargs="?", metavar="NAME|FILE", help="a network below or an ONNX graph (.onnx); needs the extra onnx")
    command.add_machine(result)
    add("--batch", type=positive, metavar="N", help="images (default 1); of a graph whose first size is open")
    add("--size", type=positive, metavar="PIXELS", help="rows and columns of the image of a network by name (default its own)")
    shape = "sizes of an input that the graph leaves open; the name may be left out where there is one input; repeatable"
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help=shape)
    about = "blocks run by their fused kernels where that pays; without, every convolution is a call of its own (default --fuse)"
    add("--fuse", action=argparse.BooleanOptionalAction, default=True, help=about)
    add("--warm", action="store_true", help="count a second run, which meets what a first has left in the caches")
    add("--strict", action="store_true", help="refuse a network with an operator that cannot be run, instead of counting the rest")
    add("--limit", type=positive, default=MOST_ACCESSES, metavar="N", help=f"accesses that the run may take by estimate (default {MOST_ACCESSES})")
    form = result.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON on stdout")
    form.add_argument("--csv", action="store_true", help="CSV on stdout, a row a call")
    add("--list", action="store_true", help="list networks and machines and exit")
    return result


def simulated(arguments):
    """(machine, NetworkRunAccount) of the command line."""
    if arguments.network is None:
        raise ValueError("NAME is missing: must be a network by name or an ONNX graph (.onnx); --list tells the names")
    with in_options(NETWORK_OPTIONS), command.advised(command.LARGER):
        options = {key: getattr(arguments, key) for key in ("batch", "size", "fuse", "strict")}
        net, name, batch = opened(arguments.network, **options)
        machine = command.chosen_machine(arguments)  # which may measure the host
        options = {key: getattr(arguments, key) for key in ("warm", "strict", "limit")}
        return machine, simulate_network(net, machine, input_shapes=arguments.input_shape, batch=batch, name=name, **options)


def write(machine, account, arguments):
    """The NetworkRunAccount in the form asked for, to stdout; what was assumed, to stderr."""
    for text in account.notes:
        note(f"{account.name}: {text}")
    if arguments.json:
        write_json(machine, {"network": account.as_json()}, arguments.warm)
    elif arguments.csv:
        write_rows(network_rows(account))
    else:
        show(machine, network_report(account, machine), arguments.warm)


def main(argv=None):
    """Run the command line; returns the exit status."""
    made = parser()
    return command.finish(made, made.parse_args(argv), simulated, write)
