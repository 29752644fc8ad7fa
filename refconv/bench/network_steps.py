"""Where the time of a network goes: every call of its schedule, beside the roof that arithmetic and memory put on it."""

import statistics

from refconv.bench.networks import loaded_case
from refconv.graph.model import printable

WARM = 3
"""Runs that are not timed: the first compiles."""


def network_steps(case, threads, rounds, machine):
    """A record for each call, in order: medians over `rounds` runs of the whole network, so that each call finds the caches as in any run.

    bytes: of the tensors and weights that it reads and writes, each once; roof_s: what its multiply-adds take at the peak, or its bytes at the
    rate of a copy in memory, whichever is longer. Tensors that stay in a cache may come faster than that.
    """
    _, net, x = loaded_case(case, threads)
    for _ in range(WARM):
        net(x)
    runs = [net.call_times(x) for _ in range(rounds)]
    tensors = net.schedule.tensors
    records = []
    for timed in zip(*runs, strict=True):
        call, seconds, bytes_moved = timed[0].call, statistics.median(one.seconds for one in timed), timed[0].bytes
        flops = 2 * call.macs
        records.append(
            {
                "step": printable(call.out),
                "op": call.op,
                "kernel": call.kernel,
                "shape": list(tensors[call.out].shape),
                "seconds": seconds,
                "flops": flops,
                "bytes": bytes_moved,
                "flop_per_s": flops / seconds,
                "efficiency": flops / seconds / (machine["peak_flop_per_s"] * threads),
                "bytes_per_s": bytes_moved / seconds,
                "roof_s": max(flops / (machine["peak_flop_per_s"] * threads), bytes_moved / machine["copy_bytes_per_s"]),
            }
        )
    return records
