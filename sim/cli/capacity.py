"""`python -m sim.capacity --layer conv2d --plot traffic.svg`: DRAM traffic of a layer or block against the size of the cache.

One run of the kernel, whose stack distances (sim/analysis/stack_distance.py) have the traffic of every fully associative LRU cache, write-back and
write-allocate, flushed at the end. The kernel keeps the tiling chosen for the machine, whatever the size.
"""

import numpy as np

from refconv.elements import element
from sim.account.layer import OPERANDS
from sim.analysis.bounds import compulsory, fast_elements, layer_bound
from sim.analysis.stack_distance import StackDistances
from sim.cli import options as command
from sim.cli.parallel import run_all
from sim.hierarchy.observe import watching
from sim.hierarchy.words import FLUSHED, LOAD_MISSES, STORE_MISSES, WRITEBACKS
from sim.report.output import show, write_json, write_rows

KEPT = ("name", "descriptor", "kernel", "tiling", "dtype", "halo", "macs", "recomputed_macs", "flops", "compulsory_bytes", "workspace_bytes")
SMALLEST_BYTES = 1 << 10
STEPS = 16
"""Capacities of the curve in each factor of two."""


def against_capacity(call, problem, machine):
    """The record of a layer or block on a sim.machine.Machine. call: (function, keywords) of one simulation; problem: None for a block.

    Keys: what sim.simulate's record says of the problem; touched_bytes, of all lines the kernel touches; simulated_bytes, what the machine's
    own hierarchy moves; points, at powers of two and at the sizes of the machine's caches, each {capacity_bytes, caches, read_bytes,
    write_bytes, flushed_bytes (of those written), bound_bytes, tensors}; curve, {capacity_bytes, moved_bytes, bound_bytes}, lists. A block
    has "unfused" besides, the same of its layers one after another; their compulsory_bytes are a sum over the layers.
    """
    runs = []

    def start(buffers, line_bytes):
        runs.append((buffers, StackDistances(buffers, line_bytes)))
        return runs[-1][1].take

    function, keywords = call
    with watching(start):
        record = function(**keywords)
    result = one_run(record, problem, *runs[0], machine)
    return {**result, "unfused": one_run(record["unfused"], None, *runs[1], machine)} if "unfused" in record else result


def capacities(machine, touched_bytes):
    """(sizes for a table, more of them for a curve): powers of two up to one that holds all lines touched, and the machine's caches."""
    caches, line = [level.size_bytes for level in machine.levels], machine.line_bytes
    first = max(line, min(SMALLEST_BYTES, *caches)).bit_length() - 1
    last = max(first, (touched_bytes - 1).bit_length())
    shown = {*caches, *(1 << i for i in range(first, last + 1))}
    between = {int(2 ** (first + i / STEPS)) // line * line for i in range((last - first) * STEPS)}
    return sorted(shown), sorted(shown | between)


def one_run(record, problem, buffers, distances, machine):
    """The record of one run; problem: None for several layers."""
    shown, sizes = capacities(machine, distances.touched_bytes)
    counts = distances.counts(np.array(sizes) // machine.line_bytes) * machine.line_bytes
    read, flushed = counts[:, :, LOAD_MISSES] + counts[:, :, STORE_MISSES], counts[:, :, FLUSHED]
    written = counts[:, :, WRITEBACKS] + flushed
    bounds = [bound_bytes(record, problem, size, machine) for size in sizes]
    numbers = {}
    for i, (name, elements, _) in enumerate(buffers):
        if elements:
            numbers.setdefault(name, []).append(i)

    def point(size):
        at = sizes.index(size)
        return {
            "capacity_bytes": size,
            "caches": [level.name for level in machine.levels if level.size_bytes == size],
            "read_bytes": int(read[at].sum()),
            "write_bytes": int(written[at].sum()),
            "flushed_bytes": int(flushed[at].sum()),
            "bound_bytes": bounds[at],
            "tensors": {
                name: {"read_bytes": int(read[at, of_name].sum()), "write_bytes": int(written[at, of_name].sum())}
                for name, of_name in numbers.items()
            },
        }

    return {
        **{key: record[key] for key in KEPT if key in record},
        "touched_bytes": distances.touched_bytes,
        "simulated_bytes": record["dram"]["read_bytes"] + record["dram"]["write_bytes"],
        "points": [point(size) for size in shown],
        "curve": {"capacity_bytes": sizes, "moved_bytes": (read + written).sum(1).tolist(), "bound_bytes": bounds},
    }


def bound_bytes(record, problem, capacity_bytes, machine):
    """Bytes that a schedule has to move with a cache of this size, the registers besides: of one convolution sim.bounds.layer_bound; of several
    layers, what is compulsory."""
    if problem is None:
        return record["compulsory_bytes"]
    itemsize = element(record["dtype"]).itemsize
    bias = record["compulsory_bytes"] // itemsize - compulsory(problem)
    return itemsize * layer_bound(problem, fast_elements(machine, itemsize, sizes=[capacity_bytes]), bias).elements


def runs_of(record):
    """A layer's record; a block's two."""
    return [record, record["unfused"]] if "unfused" in record else [record]


def by_operand(point):
    """{input, weight, bias, output, workspace: {read_bytes, write_bytes}} of a point; what is none of the first four is workspace."""
    result = {name: {"read_bytes": 0, "write_bytes": 0} for name in (*OPERANDS, "workspace")}
    for name, tensor in point["tensors"].items():
        for key, moved in tensor.items():
            result[name if name in OPERANDS else "workspace"][key] += moved
    return result


def flat_rows(record):
    """The points of a record as flat rows of scalars for CSV."""
    for one in runs_of(record):
        for point in one["points"]:
            row = {key: one[key] for key in ("name", "descriptor", "kernel", "dtype", "macs", "compulsory_bytes", "touched_bytes")}
            row |= {key: point[key] for key in ("capacity_bytes", "read_bytes", "write_bytes", "flushed_bytes", "bound_bytes")}
            row["caches"] = " ".join(point["caches"])
            for name, tensor in by_operand(point).items():
                row |= {f"{name}_{key}": moved for key, moved in tensor.items()}
            yield row


def write(machine, result, arguments):
    """The result in the form asked for, to stdout; the picture to its file."""
    records = result["layers"]
    if arguments.plot:
        from sim.report.plot import plot_capacity

        try:
            plot_capacity(records, machine.record(), arguments.plot)
        except OSError as error:
            parser().error(f"--plot {arguments.plot}: {error.strerror or error}")
    if arguments.json:
        write_json(machine.record(), result)
    elif arguments.csv:
        write_rows([row for record in records for row in flat_rows(record)])
    else:
        from sim.report.capacity import capacity_report

        show(machine.record(), [part for record in records for part in capacity_report(record)])


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
    """(machine, {"layers": records}) of the command line's layers."""
    if arguments.plot is not None:
        from sim.report.plot import check_plot

        try:
            check_plot(arguments.plot)
        except (ValueError, ImportError) as error:
            raise ValueError(f"--plot {arguments.plot}: {error}") from None
    layers = command.chosen_layers(arguments)
    modes, machine = command.chosen_modes(layers, arguments), command.chosen_machine(arguments)
    calls = [(command.call_of(layer, machine, modes, arguments), command.problem_of(layer, arguments)) for layer in layers]
    return machine, {"layers": run_all([(against_capacity, {"call": call, "problem": problem, "machine": machine}) for call, problem in calls])}


def main(argv=None):
    """Run the command line; returns the exit status."""
    made = parser()
    return command.finish(made, made.parse_args(argv), accounted, write)
