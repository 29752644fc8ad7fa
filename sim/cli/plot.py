"""`python -m sim.plot gap|intensity|roofline|traffic|waterline ... -o FILE`: the pictures of sim/report/figures, each with options of its own."""

import argparse
import csv
import json
import math
import re
import sys
from typing import Any, NamedTuple

from refconv.cli import Parser, in_options, positive
from refconv.elements import LEGAL, element
from refconv.published import lavin
from sim.account.parallel import run_all
from sim.analysis.efficiency import ideal_latency_s
from sim.analysis.intensity import LAVIN
from sim.analysis.waterline import KernelCost
from sim.analysis.waterline import waterline as waterline_of
from sim.cli import options as command
from sim.cli import waterline
from sim.machine.record import load_machine, presets
from sim.report.figures import gap, intensity, roofline, traffic
from sim.report.figures.style import FORMATS, check_plot, save
from sim.report.figures.waterline import waterline_figure as waterline_picture
from sim.report.waterline import described

MACHINE, DTYPE = "a5000", lavin.DTYPE
"""Of pictures after Lavin's figures, unless it is said: the paper's."""
GAP_COLUMNS = ("family", "label", "accuracy_percent", "macs", "latency_s")
OF_DTYPE = {"dtype": "--dtype"}


class Picture(NamedTuple):
    """What it shows; parser(): its command line; figure(arguments): its matplotlib Figure."""

    about: str
    parser: Any
    figure: Any


def own_parser(name, description):
    """The command line of a picture that runs no layers, without its own options; --machine and --dtype are left to it, too."""
    machines = "\n".join(f"  {machine}" for machine in ("host", *presets()))
    layout = argparse.RawDescriptionHelpFormatter
    made = Parser(prog=f"sim.plot {name}", description=description, epilog=f"machines:\n{machines}\n", formatter_class=layout)
    made.set_defaults(list=False)
    return with_file(made)


def with_file(made):
    """The command line with -o."""
    made.add_argument("-o", "--output", metavar="FILE", help=f"where to: {', '.join(FORMATS)} (needs matplotlib)")
    return made


def rates_of(name, dtype):
    """(Machine, peak FLOP/s for tensors of a dtype) of --machine and --dtype."""
    machine = load_machine(name)
    with in_options(OF_DTYPE):
        return machine, machine.peak_of(element(dtype))


def gap_parser():
    """The command line of the efficiency gap."""
    made = own_parser("gap", "The efficiency gap: accuracy against operations, and against latency. Without --csv of Lavin's results on an A5000.")
    columns = ", ".join(GAP_COLUMNS)
    made.add_argument("--csv", metavar="FILE", help=f"networks of your own, a row each, families in order: {columns}, and backend if there is one")
    made.add_argument("--machine", metavar="NAME|FILE", help=f"with --csv: whose peak is the ideal (default {MACHINE})")
    made.add_argument("--dtype", help=f"with --csv: {LEGAL} (default {DTYPE}), of those that the machine has a peak for")
    made.add_argument("--batch", type=positive, metavar="N", help="with --csv: images in a latency (default 1)")
    return made


def gap_figure(arguments):
    """The Figure of the efficiency gap."""
    if arguments.csv is None:
        for option in ("machine", "dtype", "batch"):
            if getattr(arguments, option) is not None:
                raise ValueError(f"--{option} {getattr(arguments, option)}: is for results of your own; legal with --csv")
        title = f"RTX A5000, {lavin.DTYPE}; results of Lavin, arXiv 2404.03617"
        return gap.gap_figure(gap.lavin_families(), lavin.PEAK_FLOP_PER_S, lavin.BATCH, title)
    families, batch = read_families(arguments.csv), arguments.batch or 1
    machine, dtype = arguments.machine or MACHINE, arguments.dtype or DTYPE
    machine, peak = rates_of(machine, dtype)
    for family in families:
        for point in family.points:
            ideal = ideal_latency_s(2 * point.macs * batch, peak)
            if point.latency_s < ideal:
                raise ValueError(
                    f"--csv {arguments.csv}: {family.name} {point.label}: latency_s {point.latency_s:g}: must be {ideal:.3g} or more, in which "
                    f"the peak of {machine.name} makes {point.macs:g} MACs for --batch {batch}; latencies are of a whole batch, MACs of one image"
                )
    return gap.gap_figure(families, peak, batch, f"{machine.name}, {dtype}; {arguments.csv}")


def read_families(path):
    """GapFamilies of a CSV file; ValueError names the line, the column and what would be legal."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in GAP_COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"--csv {path}: column {missing[0]} is missing: must have {', '.join(GAP_COLUMNS)}, and may have backend")
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"--csv {path}: must be CSV in UTF-8 with the columns {', '.join(GAP_COLUMNS)}: {error}") from None
    except OSError as error:
        raise ValueError(f"--csv {path}: cannot be read: {error.strerror or error}") from None
    if not rows:
        raise ValueError(f"--csv {path}: has no rows: must have a network in each, below the names of the columns")
    families = {}
    for line, row in rows:
        numbers = [_number(path, line, column, row[column]) for column in GAP_COLUMNS[2:]]
        if numbers[0] > 100:
            raise ValueError(f"--csv {path}: line {line}: accuracy_percent {numbers[0]:g}: must be at most 100")
        families.setdefault((row["family"], row.get("backend") or ""), []).append(gap.GapPoint(row["label"] or "", *numbers))
    return [gap.GapFamily(*key, tuple(points)) for key, points in families.items()]


def _number(path, line, column, text):
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"--csv {path}: line {line}: {column} {text!r}: must be a finite number above 0")
    return value


def intensity_parser():
    """The command line of operational intensity."""
    made = own_parser("intensity", "Operational intensity of convolutions against their channels, and a machine's balance.")
    made.add_argument("--machine", default=MACHINE, metavar="NAME|FILE", help=f"whose balance (default {MACHINE})")
    made.add_argument("--dtype", default=DTYPE, help=f"{LEGAL} (default {DTYPE}), of those that the machine has a peak for")
    made.add_argument("--positions", type=positive, metavar="N", help="count the weights, too, at so many output positions (images x rows x columns)")
    return made


def intensity_figure(arguments):
    """The Figure of operational intensity."""
    machine, peak = rates_of(arguments.machine, arguments.dtype)
    balance, positions = peak / machine.bandwidth_bytes_per_s, arguments.positions or math.inf
    curves = intensity.curves_of(LAVIN, element(arguments.dtype).itemsize, balance, positions)
    weights = "weights neglected" if arguments.positions is None else f"weights counted, {positions:,} output positions"
    return intensity.intensity_figure(curves, balance, machine.name, f"{arguments.dtype}, {weights}")


def layers_parser(name, description):
    """The command line of a picture of layers and blocks, which are run as sim.traffic does, or read."""
    made = with_file(command.parser(f"sim.plot {name}", description))
    made.add_argument("--title", metavar="TEXT", help="instead of the machine and the type of the elements")
    made.add_argument("--accounts", metavar="FILE", help="draw these instead of running anything: what sim.traffic --json wrote")
    return made


def accounts_of(arguments):
    """(the machine's record, accounts) as JSON, of --layer run or of --accounts read."""
    if arguments.accounts is not None:
        if arguments.layer or arguments.machine or arguments.cache:
            raise ValueError(f"--accounts {arguments.accounts}: must be alone; legal without it: --layer, --machine, --cache")
        return read_accounts(arguments.accounts)
    layers = command.chosen_layers(arguments)
    modes, machine = command.chosen_modes(layers, arguments), command.chosen_machine(arguments)
    accounts = run_all([command.call_of(layer, machine, modes, arguments) for layer in layers])
    return machine.record(), [account.as_json() for account in accounts]


def read_accounts(path):
    """(the machine's record, accounts) of a file that sim.traffic --json wrote; ValueError of any other."""
    try:
        with open(path, encoding="utf-8") as file:
            read = json.load(file)
    except OSError as error:
        raise ValueError(f"--accounts {path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"--accounts {path}: must be what sim.traffic --json wrote: {error}") from None
    if not isinstance(read, dict) or not isinstance(read.get("machine"), dict) or not isinstance(read.get("layers"), list) or not read["layers"]:
        raise ValueError(f"--accounts {path}: must be what sim.traffic --json wrote, with machine and at least one of layers")
    return read["machine"], read["layers"]


def drawn_of_accounts(arguments, draw):
    """draw(machine's record, accounts), or a ValueError where they are no accounts of runs."""
    machine, accounts = accounts_of(arguments)
    try:
        return draw(machine, accounts)
    except (KeyError, TypeError) as error:
        raise ValueError(f"--accounts {arguments.accounts}: must be what sim.traffic --json wrote of layers that ran: {error}") from None


def run_words(machine, accounts, arguments):
    """What the accounts are of: the title."""
    if arguments.title is not None:
        return arguments.title
    dtypes = dict.fromkeys(account["dtype"] for account in accounts)
    batches = {found[1] for account in accounts if (found := re.search(r"mb(\d+)ic", account["descriptor"]))}
    batch = f", batch {batches.pop()}" if len(batches) == 1 else ""
    return f"{machine['name']}, {', '.join(dtypes)}{batch}"


def roofline_figure(arguments):
    """The Figure of a roofline."""

    def draw(machine, accounts):
        moves, peak = roofline.moves_of(accounts, machine["bandwidth_bytes_per_s"])
        return roofline.roofline_figure(moves, peak, machine["bandwidth_bytes_per_s"], run_words(machine, accounts, arguments))

    return drawn_of_accounts(arguments, draw)


def traffic_figure(arguments):
    """The Figure of traffic by tensor."""

    def draw(machine, accounts):
        return traffic.traffic_figure(traffic.groups_of(accounts), run_words(machine, accounts, arguments))

    return drawn_of_accounts(arguments, draw)


def waterline_parser():
    """The command line of a waterline: that of sim.waterline, and -o."""
    made = with_file(waterline.parser())
    made.prog, made.description = "sim.plot waterline", "The kernels of a network against a machine's balance, and what they attain of its peak."
    return made


def waterline_figure(arguments):
    """The Figure of a waterline."""
    for form in ("json", "csv"):
        if getattr(arguments, form):
            raise ValueError(f"--{form}: is legal with sim.waterline, which prints; legal here: -o FILE")
    machine, account = waterline.accounted(arguments)
    costs = [KernelCost(kernel.name, kernel.macs, kernel.bytes) for kernel in account.kernels]
    line = waterline_of(costs, account.peak_flop_per_s, account.bandwidth_bytes_per_s)
    return waterline_picture(line, f"{account.name}, {described(account)}", machine.name)


PICTURES = {
    "gap": Picture("accuracy against operations and against latency", gap_parser, gap_figure),
    "intensity": Picture("operational intensity against channels", intensity_parser, intensity_figure),
    "roofline": Picture(
        "a roofline with blocks, fused and layer by layer",
        lambda: layers_parser("roofline", "A machine's roofline with layers and blocks; an arrow from layer by layer to fused."),
        roofline_figure,
    ),
    "traffic": Picture(
        "DRAM traffic by tensor, fused and layer by layer",
        lambda: layers_parser("traffic", "DRAM traffic of layers and blocks, stacked by tensor; layer by layer beside fused."),
        traffic_figure,
    ),
    "waterline": Picture("a network's kernels against a machine's balance", waterline_parser, waterline_figure),
}


def parser():
    """The command line in front of the pictures' own."""
    listed = "\n".join(f"  {name:<10} {picture.about}" for name, picture in PICTURES.items())
    layout = argparse.RawDescriptionHelpFormatter
    usage = "sim.plot PICTURE [options] -o FILE; sim.plot PICTURE --help"
    made = Parser(prog="sim.plot", usage=usage, description="Pictures as files.", epilog=f"pictures:\n{listed}\n", formatter_class=layout)
    made.add_argument("picture", metavar="PICTURE", choices=PICTURES, help=", ".join(PICTURES))
    return made


def write(_, figure, arguments):
    """The Figure to its file; ValueError where that cannot be written."""
    try:
        save(figure, arguments.output)
    except OSError as error:
        raise ValueError(f"-o {arguments.output}: {error.strerror or error}") from None


def main(argv=None):
    """Run the command line; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    picture = PICTURES[parser().parse_args(words[:1]).picture]

    def drawn(arguments):
        if arguments.output is None:
            raise ValueError(f"-o is missing: must be a file that ends in {', '.join(FORMATS)}")
        try:
            check_plot(arguments.output)
        except (ValueError, ImportError) as error:
            raise ValueError(f"-o {arguments.output}: {error}") from None
        return None, picture.figure(arguments)

    made = picture.parser()
    return command.finish(made, made.parse_args(words[1:]), drawn, write)
