"""How a layer is measured: contenders interleaved in one process, medians of many rounds, the peak measured in between."""

import math
import random
import statistics
import time

import numpy as np

from refconv.bench.peers import FORMS, Operands, ours
from refconv.elements import element
from refconv.peak import loop_times

ROUNDS, SAMPLE_S = 31, 3e-3
PAUSE_S = 0.01
"""Worker threads of the one before spin for some milliseconds, on the cores of the next."""


def measure(layers, peers, dtype="float32", threads=1, layout="NHWC", rounds=ROUNDS):
    """Yield a record for each layer: seconds of every contender's every form, ratio to the best peer, efficiency.

    A round calls every form, in an order drawn anew, as often in a row as fills some 3 ms after half as many calls that are not
    timed (one call alone finds its data where the others have driven them), and a register-only loop of multiply-adds for the
    peak of this moment. A contender's time is the median over the rounds of its best form.
    """
    for layer in layers:
        operands = Operands(layer.problem, dtype)
        layouts = dict.fromkeys((layout, "NHWC"))  # with NCHW both, to tell the share of the conversion
        forms = {f"refconv {name}": ours(operands, threads, name) for name in layouts}
        if element(operands.dtype).half:
            forms["refconv float32"] = ours(Operands(layer.problem, np.float32), threads, layout)
        for peer in peers:
            forms.update({f"{peer} {name}": run for name, run in FORMS[peer](operands, threads).items()})
        times, peak = rounds_of(forms, operands.dtype, rounds, PAUSE_S if threads > 1 else 0.0)
        yield record(layer, times, peak * threads, threads, layout)


def rounds_of(forms, dtype, rounds, pause_s=0.0):
    """({form: median seconds of a call}, median FLOP/s of one core) over interleaved rounds, with a pause before each form."""
    often = {}
    for name, run in forms.items():
        for _ in range(3):  # compiles, packs, warms
            run()
        start = time.perf_counter()
        run()
        often[name] = max(1, int(SAMPLE_S / max(time.perf_counter() - start, 1e-7)))
    samples, peaks, order = {name: [] for name in forms}, [], list(forms)
    shuffled = random.Random(0)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            run = forms[name]
            time.sleep(pause_s)
            for _ in range(often[name] // 2 + 1):
                run()
            start = time.perf_counter()
            for _ in range(often[name]):
                run()
            samples[name].append((time.perf_counter() - start) / often[name])
        flops, seconds = loop_times(dtype, 3, 8000)
        peaks.append(flops / min(seconds))
    return {name: statistics.median(values) for name, values in samples.items()}, statistics.median(peaks)


def record(layer, times, peak, threads, layout):
    """The numbers of one layer; conversion_share: the part of our time that arrays in NCHW take more than in NHWC."""
    mine = f"refconv {layout}"
    others = [name for name in times if not name.startswith("refconv ")]
    best = min(others, key=times.get) if others else None
    flops = layer.problem.flops
    return {
        "name": layer.name,
        "descriptor": str(layer.problem),
        "flops": flops,
        "threads": threads,
        "seconds": times[mine],
        "float32_s": times.get("refconv float32"),
        "conversion_share": 1 - times["refconv NHWC"] / times[mine],
        "flop_per_s": flops / times[mine],
        "efficiency": flops / times[mine] / peak,
        "peak_flop_per_s": peak,
        "times_s": times,
        "best_peer": best,
        "best_peer_s": times[best] if best else None,
        "ratio": times[best] / times[mine] if best else None,
    }


def geometric_mean(values):
    """exp of the mean logarithm."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def copy_bytes_per_s(repeats=7, megabytes=64):
    """Bytes read plus bytes written per second in a NumPy copy of arrays larger than most caches: the median of `repeats`."""
    x, y = np.ones(megabytes << 20, np.uint8), np.ones(megabytes << 20, np.uint8)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.copyto(y, x)
        times.append(time.perf_counter() - start)
    return 2 * len(x) / statistics.median(times)
