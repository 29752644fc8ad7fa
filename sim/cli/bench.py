"""`python -m sim.bench`: accesses simulated per second, generation included, beside pycachesim where it is installed.

Rates depend on the computer and on what else it does; the ratios, of medians, less so.
"""

import argparse
import statistics
import time

import numpy as np

from refconv.cli import Parser, positive
from refconv.jit import kernel
from refconv.networks.layers import PRESETS
from refconv.tables import show_parts
from sim.account.layer import simulate
from sim.hierarchy.words import LOADS, STORES
from sim.machine.record import load_machine
from sim.report.bench import bench_table
from sim.trace.run import Run
from sim.trace.traced import read, write

MOST_OUTSIDE = 1 << 20
"""Accesses of a pattern that pycachesim is timed on."""


@kernel
def sweep(x, elements, step, times):
    """Load every step-th element of a range, again and again."""
    for _ in range(times):
        for i in range(0, elements, step):
            read(x, i)


@kernel
def fill(x, elements, step):
    """Store every step-th element of a range."""
    for i in range(0, elements, step):
        write(x, i, 0.0)


@kernel
def conv3x3(x, w, out, k, c, rows, columns):
    """A convolution as one writes it down, element by element: x (rows + 2, columns + 2, C), w (K, 3, 3, C), out (rows, columns, K), all flat."""
    for p in range(rows):
        for q in range(columns):
            for n in range(k):
                total = 0.0
                for r in range(3):
                    for s in range(3):
                        for i in range(c):
                            total += read(x, ((p + r) * (columns + 2) + q + s) * c + i) * read(w, ((n * 3 + r) * 3 + s) * c + i)
                write(out, (p * columns + q) * k + n, total)


def rate(machine, elements, function, *arguments, repeats=5):
    """Accesses per second of function(*float32 buffers of so many elements, *arguments): the median of `repeats`, after one to compile."""
    rates = []
    for _ in range(1 + repeats):
        run = Run(machine, [(str(i), size, 4) for i, size in enumerate(elements)])
        start = time.perf_counter()
        run.call(function, *run.buffers, *arguments)
        counts, _ = run.moved(last=True)
        rates.append(int(counts[0][:, [LOADS, STORES]].sum()) / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def kernel_rate(machine, name, repeats=9):
    """Accesses per second of a preset's kernel, the run's set-up and flush included: the median of `repeats`, after one to compile."""
    layers = [simulate(None, name, machine) for _ in range(1 + repeats)][1:]
    return statistics.median(layer.levels[0].accesses / layer.simulation_s for layer in layers)


def outside_rate(machine, addresses, stores=False, repeats=3):
    """Accesses per second of pycachesim through the same levels, from a list of byte addresses; None where it is not installed."""
    try:
        import cachesim
    except ImportError:
        return None
    rates = []
    for _ in range(repeats):
        memory, below = cachesim.MainMemory(), {}
        for i, level in reversed(list(enumerate(machine.levels))):
            cache = cachesim.Cache(f"L{i + 1}", level.sets, level.ways, level.line_bytes, "LRU", **below)
            if not below:
                memory.load_to(cache)
                memory.store_from(cache)
            below = {"store_to": cache, "load_from": cache}
        simulator = cachesim.CacheSimulator(cache, memory)
        start = time.perf_counter()
        (simulator.store if stores else simulator.load)(addresses, length=1)
        rates.append(len(addresses) / (time.perf_counter() - start))
    return statistics.median(rates)


def patterns(machine, accesses):
    """(name, our rate, pycachesim's or None) of streams and of ranges that a level holds, a line an access."""
    step = machine.line_bytes // 4
    outside = (np.arange(min(accesses, MOST_OUTSIDE)) * machine.line_bytes).tolist()
    yield "load stream, all miss", rate(machine, [accesses * step], sweep, accesses * step, step, 1), outside_rate(machine, outside)
    yield "store stream, all miss", rate(machine, [accesses * step], fill, accesses * step, step), outside_rate(machine, outside, stores=True)
    for level in machine.levels:
        lines = level.size_bytes // machine.line_bytes // 2
        again = (np.arange(MOST_OUTSIDE) % lines * machine.line_bytes).tolist()
        yield (
            f"half of {level.name} again and again",
            rate(machine, [lines * step], sweep, lines * step, step, max(1, accesses // lines)),
            outside_rate(machine, again),
        )


def nest(machine):
    """(name, our rate, pycachesim's or None) of the scalar nest, 16 -> 16 channels, 56 x 56; pycachesim is given its loads of a part."""
    c = k = 16
    sizes = [58 * 58 * c, k * 9 * c, 56 * 56 * k]
    p, q, n, r, s, i = (axis.ravel() for axis in np.indices((4, 56, k, 3, 3, c)))
    both = np.stack([((p + r) * 58 + q + s) * c + i, sizes[0] + ((n * 3 + r) * 3 + s) * c + i], 1).ravel() * 4
    return "scalar conv3x3 nest", rate(machine, sizes, conv3x3, k, c, 56, 56), outside_rate(machine, both.tolist())


def main(argv=None):
    """Run the command line; returns the exit status."""
    command = Parser(prog="sim.bench", description=__doc__.partition("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--machine", default="zen4", metavar="NAME|FILE", help="as of sim.traffic (default zen4, three levels)")
    command.add_argument("--accesses", type=positive, default=10_000_000, metavar="N", help="of a stream (default 10000000)")
    arguments = command.parse_args(argv)
    try:
        machine = load_machine(arguments.machine).checked()
        rows = [(f"{name} kernel", kernel_rate(machine, name), None) for name in PRESETS]
        rows += [nest(machine), *patterns(machine, arguments.accesses)]
    except (ValueError, OSError, MemoryError) as error:
        command.error(str(error) or type(error).__name__)
    show_parts([bench_table(machine, rows)])
    return 0
