"""`python -m sim.capacity --layer conv2d --plot traffic.svg`: DRAM traffic of a layer or block against the size of the cache.

One run of the kernel, whose stack distances (sim/stack.py) have the traffic of every fully associative LRU cache, write-back and
write-allocate, flushed at the end. The kernel keeps the tiling chosen for the machine, whatever the size.
"""

import csv
import json
import math
import sys

import numpy as np

from refconv.block_presets import BlockPreset
from refconv.elements import element
from sim import traffic
from sim.cache import FLUSHED, LOAD_MISSES, STORE_MISSES, WRITEBACKS
from sim.nontemporal import TEMPORAL
from sim.simulate import OPERANDS
from sim.stack import StackDistances
from sim.watch import watching

SCHEMA = 1
KEPT = ("name", "descriptor", "kernel", "tiling", "dtype", "halo", "macs", "recomputed_macs", "flops", "compulsory_bytes", "workspace_bytes")
SMALLEST_BYTES = 1 << 10
STEPS = 16
"""Capacities of the curve in each factor of two."""


def against_capacity(layer, machine, arguments):
    """The record of a Layer or BlockPreset on a sim.machine.Machine; arguments: those of `python -m sim.traffic`.

    Keys: what sim.simulate's record says of the problem; touched_bytes, of all lines the kernel touches; simulated_bytes, what the machine's
    own hierarchy moves; points, at powers of two and at the sizes of the machine's caches, each {capacity_bytes, caches, read_bytes,
    write_bytes, flushed_bytes (of those written), bound_bytes, tensors}; curve, {capacity_bytes, moved_bytes, bound_bytes}, lists. A block
    has "unfused" besides, the same of its layers one after another; their compulsory_bytes are a sum over the layers.
    """
    runs = []

    def start(buffers, line_bytes):
        runs.append((buffers, StackDistances(buffers, line_bytes)))
        return runs[-1][1].take

    if arguments.stores != TEMPORAL:
        raise ValueError(f"--stores {arguments.stores}: must be {TEMPORAL}: capacities are those of caches that see every store")
    with watching(start):
        record = traffic.simulated(layer, machine, arguments)
    problem = None if isinstance(layer, BlockPreset) else layer.problem
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
    """Bytes that a schedule has to move with a cache of this size: of one convolution; of several layers, what is compulsory.

    max(compulsory, 2 G / sqrt(rho M) - 2 M) words: G MACs, M words of fast memory, the registers among them; rho: how many windows an input
    may be in, R S / (stride_h stride_w), rounded up along each axis. Chen, Demmel, Dinh, Haberle and Holtz (PASC 2022), as commonly
    quoted: the constants have not been checked against the paper.
    """
    if problem is None:
        return record["compulsory_bytes"]
    conv, itemsize = getattr(problem, "conv", problem), element(record["dtype"]).itemsize
    axes = (conv.r, conv.stride_h, conv.dilation_h), (conv.s, conv.stride_w, conv.dilation_w)
    rho = math.prod(-(-taps * math.gcd(stride, dilation) // stride) for taps, stride, dilation in axes)
    words = (capacity_bytes + machine.registers * machine.vector_bytes) / itemsize
    return max(record["compulsory_bytes"], math.ceil(itemsize * (2 * record["macs"] / math.sqrt(rho * words) - 2 * words)))


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


def write(records, machine, arguments):
    """The result in the form asked for, to stdout; the picture to its file."""
    if arguments.plot:
        from sim.plot import plot_capacity

        try:
            plot_capacity(records, machine.record(), arguments.plot)
        except OSError as error:
            parser().error(f"--plot {arguments.plot}: {error.strerror or error}")
    if arguments.json:
        json.dump({"schema": SCHEMA, "machine": machine.record(), "layers": records}, sys.stdout, indent=1)
        print()
    elif arguments.csv:
        rows = [row for record in records for row in flat_rows(record)]
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        from sim.capacity_report import capacity_report

        traffic.show(machine, [part for record in records for part in capacity_report(record)])


def parser():
    """The command line of sim.capacity: that of sim.traffic, and a picture."""
    result = traffic.parser("sim.capacity", "DRAM traffic of a kernel against the size of a fully associative LRU cache, from one run.")
    result.add_argument("--plot", metavar="FILE", help="draw it: .svg, .png or .pdf (needs matplotlib)")
    return result


def main(argv=None):
    """Run the command line; returns the exit status."""
    command = parser()
    path = command.parse_args(argv).plot
    if path is not None:
        from sim.plot import check_plot

        try:
            check_plot(path)
        except (ValueError, ImportError) as error:
            command.error(f"--plot {path}: {error}")
    return traffic.main(argv, command, against_capacity, write)


if __name__ == "__main__":
    sys.exit(main())
