"""Traces and caches against valgrind: C twins of two kernels' loops (nests.c), compiled for AVX2, run natively under lackey and callgrind.

lackey lists what a binary accesses: the twin's accesses to its tensors are the traced kernel's events, one by one, in order, exactly.

callgrind simulates caches of its own. It counts what `nest` does, less the same call that has nothing to do; before that, loads drive out
all that the start of the program has left. What is in its caches besides is the nest's stack and code, some twenty lines. Under LRU further
lines never turn a miss into a hit, so callgrind counts at least what is simulated. A set that also holds such a line works as if
it had a way less: with gcc 12 that is up to 2 % more where a working set just fits, else less than 1 % or some ten lines; allowed here are 5 %
and 32 lines, since where the stack lies depends on the environment. callgrind does not flush at the end.

Its first level writes through: each store goes on to the last level, which writes back. So the levels are compared one at a time: misses of
the first, and traffic of the last below a first level of two sets of one way. That one keeps from the last level only hits of lines
that are the most recent of their sets there, which changes nothing.
"""

import platform
import shutil
import subprocess
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import accounts
import numpy as np
import pytest

from refconv import Conv2d, kernels
from refconv.schedule import weight_elements
from refconv.static import Static
from refconv.tiling.layers import DenseTiling, DepthwiseTiling
from refconv.tiling.shapes import DepthwiseStrip, Tile
from sim.hierarchy.observe import observing
from sim.hierarchy.words import TENSOR_BITS
from sim.machine.record import Level, load_machine

AVX2 = load_machine("zen4")._replace(vector_bytes=32, registers=16)
LINE, LANES = 64, 8

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the twins are compiled for AVX2"),
]


class Twin(NamedTuple):
    """A kernel's problem and tiling, and the twin's block of rows."""

    problem: Conv2d
    tiling: Any
    block: int


TWINS = {
    "conv2d": Twin(Conv2d.parse("mb1ic32ih20oc32kh3ph1"), DenseTiling(Tile(Static(4), Static(2), Static(2)), 5, 32), 5),
    "depthwise": Twin(Conv2d.parse("g64mb1ic64ih24oc64kh3ph1"), DepthwiseTiling(DepthwiseStrip(Static(8), Static(3), Static(1)), 24, 64, 24), 1),
}


@pytest.fixture(scope="module", params=TWINS)
def twin(request, tmp_path_factory):
    """(name, binary) of each twin."""
    problem, tiling, block = TWINS[request.param]
    shape = tiling[0]
    sizes = {"CHANNELS": problem.c, "OUTPUTS": problem.k, "SIZE": problem.h, "KERNEL": problem.r, "BLOCK": block, "ROWS": int(shape.rows)}
    sizes |= {"VECTORS": int(getattr(shape, "vectors", 1)), "WEIGHTS": weight_elements(kernels.KERNELS[request.param], problem, LANES)}
    assert all(sizes[key] * 4 % LINE == 0 for key in ("CHANNELS", "OUTPUTS", "WEIGHTS")), "every tensor is whole lines"
    binary = tmp_path_factory.mktemp("twin") / request.param
    macros = [f"-D{key}={value}" for key, value in {"NEST": request.param, **sizes}.items()]
    flags = ["-O2", "-mavx2", "-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, *macros, "-o", binary, Path(__file__).with_name("nests.c")], check=True)
    return request.param, binary


def simulated(name, level):
    """The counts of the traced kernel on a cache."""
    return accounts.simulate(name, TWINS[name].problem, AVX2._replace(levels=(level,)), TWINS[name].tiling)["levels"][0]


def callgrind(binary, first, last):
    """{event: count} of `nest` with a first and a last level, less those of a run in which it has nothing to do."""
    totals = []
    for arguments in ([], ["none"]):
        file = binary.with_suffix(".callgrind")
        caches = [f"--I1={32 << 10},8,{LINE}", f"--D1={first.size_bytes},{first.ways},{LINE}", f"--LL={last.size_bytes},{last.ways},{LINE}"]
        options = ["--tool=callgrind", "--cache-sim=yes", "--simulate-wb=yes", "--toggle-collect=nest", f"--callgrind-out-file={file}", *caches]
        subprocess.run(["valgrind", "-q", *options, binary, *arguments], check=True, capture_output=True, timeout=300)
        lines = dict(line.split(": ", 1) for line in file.read_text().splitlines() if line.startswith(("events: ", "totals: ")))
        totals.append(dict(zip_longest(lines["events"].split(), map(int, lines["totals"].split()), fillvalue=0)))  # zeros at the end are left out
    return {event: count - totals[1][event] for event, count in totals[0].items()}


def check(counted, simulated):
    """callgrind's count is the simulated one, or slightly more for the nest's own stack and code."""
    assert simulated <= counted <= 1.05 * simulated + 32


def test_the_kernel_s_events_are_the_accesses_of_its_twin(twin):
    name, binary = twin
    done = subprocess.run(
        ["valgrind", "-q", "--tool=lackey", "--trace-mem=yes", "--log-fd=2", binary], check=True, capture_output=True, text=True, timeout=300
    )
    start, size = done.stdout.split()
    accesses = [line[1:].replace(",", " ").split() for line in done.stderr.splitlines() if line.startswith((" L ", " S ", " M "))]
    places = np.array([int(address, 16) for _, address, _ in accesses]) - int(start, 16)
    stores, within = np.array([kind != "L" for kind, *_ in accesses]), (places >= 0) & (places < int(size))
    events = []
    with observing(lambda buffers, line_bytes: lambda chunk: events.append(chunk.copy())):
        simulated(name, Level("L1", 1 << 15, 8, LINE))
    events = np.concatenate(events)
    np.testing.assert_array_equal(stores[within], events & 1)
    np.testing.assert_array_equal(places[within] // LINE, (events >> 1) & ((1 << TENSOR_BITS - 6) - 1))


@pytest.mark.parametrize("geometry", [(8 << 10, 8), (32 << 10, 8), (48 << 10, 12)])
def test_misses_of_the_first_level(twin, geometry):
    name, binary = twin
    level = Level("L1", *geometry, LINE)
    counts, exact = callgrind(binary, level, Level("LL", 1 << 20, 16, LINE)), simulated(name, level)
    check(counts["D1mr"], exact["load_misses"])
    check(counts["D1mw"], exact["store_misses"])


@pytest.mark.parametrize("geometry", [(32 << 10, 8), (64 << 10, 8), (256 << 10, 16)])
def test_reads_and_write_backs_of_memory(twin, geometry):
    name, binary = twin
    level = Level("LL", *geometry, LINE)
    counts, exact = callgrind(binary, Level("L1", 2 * LINE, 1, LINE), level), simulated(name, level)
    check(counts["DLmr"] + counts["DLmw"], exact["load_misses"] + exact["store_misses"])
    check(counts["DLdmr"] + counts["DLdmw"] + counts["ILdmr"], exact["writebacks"])
