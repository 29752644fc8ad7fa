"""`python -m sim.waterline resnet50 --machine a5000 --dtype float16 --batch 128`: the waterline of a network, layer by layer or fused.

What is attainable of a machine's arithmetic peak by kernels that run one after another, each under its own roof (sim/analysis/waterline.py).
"""

import argparse

from refconv.cli import MODEL_OPTIONS, Parser, in_options, note, positive
from refconv.elements import LEGAL
from refconv.graph.read import is_file, read_model
from refconv.networks import names, network
from refconv.tables import show_parts
from sim.account.parallel import available_cores
from sim.account.trace_cost import MOST_ACCESSES
from sim.account.waterline import network_waterline
from sim.cli import options as command
from sim.machine.record import load_machine, presets
from sim.report.output import write_json, write_rows
from sim.report.waterline import waterline_report

OPTIONS = {"dtype": "--dtype", "batch": "--batch", "n": "--batch", "size": "--size"}
"""The options by the argument of the library that they set."""


def parser():
    """The command line of sim.waterline."""
    listed = "\n".join(f"  {name}" for name in names())
    machines = "\n".join(f"  {name}" for name in ("host", *presets()))
    result = Parser(
        prog="sim.waterline",
        description="What a network can attain of a machine's peak: its kernels one after another, each moving what it must.",
        epilog=f"networks:\n{listed}\n\nmachines:\n{machines}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("network", nargs="?", metavar="NETWORK|FILE", help="a network below, an ONNX graph (.onnx) or a SCALE-Sim topology (.csv)")
    add("--machine", default="host", metavar="NAME|FILE", help="a machine below or a YAML file, of which the rates count (default host)")
    add("--fused", action="store_true", help="a kernel a block of the network, not a kernel a layer")
    add("--batch", type=positive, metavar="N", help="images (default 1, or what a file says)")
    add("--size", type=positive, metavar="PIXELS", help="rows and columns of the input (default the network's own)")
    add("--dtype", default="float32", help=f"{LEGAL} (default float32), of those that the machine has a peak for")
    shape = "sizes of an ONNX graph's input instead of its own; the name may be left out where there is one input; repeatable"
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help=shape)
    about = "bytes that a run of each convolution, or with --fused of each fused kernel, moves on the machine's caches, not those it must"
    add("--simulated", action="store_true", help=about)
    add("--limit", type=positive, default=MOST_ACCESSES, metavar="N", help=f"with --simulated: accesses a kernel may take (default {MOST_ACCESSES})")
    add("--jobs", type=positive, metavar="N", help="with --simulated: kernels side by side, in processes (default: the cores)")
    form = result.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON on stdout")
    form.add_argument("--csv", action="store_true", help="CSV on stdout, a row a kernel")
    add("--list", action="store_true", help="list networks and machines and exit")
    return result


def chosen_network(arguments):
    """(a Network or a Model, keywords of network_waterline that it leaves open) of the command line."""
    given = arguments.network
    if given is None:
        raise ValueError("NETWORK is missing: must be a network by name or a file (.onnx, .csv); --list tells the names")
    if not is_file(given):
        if arguments.input_shape:
            raise ValueError(f"--input-shape {arguments.input_shape[0]!r}: is for an ONNX graph; legal with {given}: --size")
        return network(given), {"batch": arguments.batch, "size": arguments.size}
    if arguments.size is not None:
        raise ValueError(f"--size {arguments.size}: a file has its own sizes; legal with .onnx: --input-shape")
    if arguments.fused:
        raise ValueError(f"--fused: {given} is a list of layers, which says nothing of blocks; legal with a network by name (--list)")
    with in_options(MODEL_OPTIONS):
        model = read_model(given, arguments.input_shape, arguments.batch)
    for text in model.notes:
        note(f"{given}: {text}")
    return model, {}


def accounted(arguments):
    """(machine, WaterlineAccount) of the command line."""
    chosen, open_ = chosen_network(arguments)
    machine = load_machine(arguments.machine)
    if arguments.simulated:
        open_["simulated"] = {"limit": arguments.limit, "jobs": arguments.jobs or available_cores()}
    with in_options(OPTIONS), command.advised(command.LARGER):
        return machine, network_waterline(chosen, machine, fused=arguments.fused, dtype=arguments.dtype, **open_)


def write(machine, account, arguments):
    """The WaterlineAccount in the form asked for, to stdout."""
    if arguments.json:
        write_json(machine, {"waterline": account.as_json()})
    elif arguments.csv:
        write_rows([kernel.as_json() for kernel in account.kernels])
        if account.left_out:
            note(f"left out: {account.left_out}")
    else:
        show_parts(waterline_report(account, machine))


def main(argv=None):
    """Run the command line; returns the exit status."""
    made = parser()
    return command.finish(made, made.parse_args(argv), accounted, write)
