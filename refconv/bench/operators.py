"""FasterNet's Table 1 on this host: ten layers of one operator stacked, beside the paper's CPU column.

Source: Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", Table 1 (Intel i9-9900X, one thread,
PyTorch). The paper's claim is about the FLOPS an operator reaches: PConv 6.2 times those of DWConv on its CPU. Its table calls
multiply-adds FLOPs: 1 of its GFLOPS is 2 of the GFLOP/s here.
"""

import numpy as np

from refconv.bench.entry import Entry
from refconv.bench.measure import rounds_of
from refconv.networks.layers import OPERATORS
from refconv.ops.layers import conv2d, partial_conv2d
from refconv.ops.prepare import prepare
from refconv.peak import peak_flop_per_s
from refconv.problem.conv import PartialConv2d
from refconv.weights.packed import empty

LAYERS = 10
PAPER_MS = {
    "Conv": (35.67, 28.41, 31.85, 62.71),
    "GConv": (21.90, 7.58, 4.40, 4.28),
    "DWConv": (3.59, 1.97, 1.06, 0.68),
    "PConv": (5.46, 3.09, 3.58, 5.02),
}
"""Table 1, CPU latency of ten layers in milliseconds, for the four stages of `refconv.networks.layers.OPERATORS`."""


def stacked(problem, threads):
    """The Entry of ten layers of the problem, each on the output of the one before: prepared calls."""
    rng = np.random.default_rng(0)
    conv = problem.conv if isinstance(problem, PartialConv2d) else problem
    x, y = (empty((problem.n, problem.h, problem.w, problem.c)) for _ in range(2))
    x[...], first = rng.standard_normal(x.shape), x
    calls = []
    for _ in range(LAYERS):
        weight = rng.standard_normal(conv.weight_shape, dtype=np.float32) / 100
        options = {"layout": "NHWC", "threads": threads, "out": y}
        if isinstance(problem, PartialConv2d):
            calls.append(prepare(partial_conv2d, x, weight, **options))
        else:
            calls.append(prepare(conv2d, x, weight, padding=1, groups=conv.groups, **options))
        x, y = y, x

    def run():
        y = first
        for call in calls:
            y = call(y)
        return y

    return Entry(run, lambda: run().transpose(0, 3, 1, 2), measured=calls[0].measured)


def operators(threads=1, rounds=31):
    """[record] of each operator at each stage: milliseconds and GFLOP/s here, and the paper's."""
    records, peak = [], peak_flop_per_s(np.float32) * threads
    for stage in range(len(next(iter(OPERATORS.values())))):
        problems = {name: layers[stage] for name, layers in OPERATORS.items()}
        entries = {name: stacked(problem, threads) for name, problem in problems.items()}
        times = rounds_of({name: entry.run for name, entry in entries.items()}, rounds)
        for name, problem in problems.items():
            flops, paper_s, kept = LAYERS * problem.flops, PAPER_MS[name][stage] / 1e3, entries[name].measured
            records.append(
                {
                    "operator": name,
                    "map": f"{problem.c}@{problem.h}",
                    "flops": flops,
                    "seconds": times[name],
                    "tuned": kept and kept.ratio,
                    "flop_per_s": flops / times[name],
                    "efficiency": flops / times[name] / peak,
                    "paper_s": paper_s,
                    "paper_flop_per_s": flops / paper_s,
                }
            )
    return records
