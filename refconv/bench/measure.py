"""How a layer is measured: contenders interleaved in one process, medians of many rounds."""

import math
import random
import statistics
import time
from typing import NamedTuple

import numpy as np

from refconv.peak import peak_flop_per_s

SAMPLE_S = 3e-3
PAUSE_S = 0.05
"""Before each form with more than one thread: workers of the one before go on spinning on cores that this one needs.

After a depthwise layer with two threads, the process used CPU time in a pause for about 5 ms with torch (OpenMP) and for 40 to 50 ms with
onnxruntime. Its spinning could be switched off instead, but that is its own default, and a peer is measured as it comes.
"""
SETTLE_S = 0.03
"""For which a form is called, untimed, after a pause: threads that wake may share a core until the system parts them, and each call then takes a turn
of its clock (4 ms here, at every first call after a pause of some layers, in place of 0.2).
"""


class Contest(NamedTuple):
    """What is measured as one: entries {"contender form": Entry}, each of which does `flops` floating-point operations, or what equals them."""

    name: str
    descriptor: str
    flops: int
    entries: dict


def measure(contests, dtype, threads, layout, rounds):
    """Yield a record for each contest: the seconds of every form of every contender, the ratio to the best peer, the efficiency.

    A round calls every form, in a random order of its own, as often in a row as fills some 3 ms, after half as many calls that are
    not timed, with several threads after SETTLE_S of them (a single call would find its data where the other forms have driven them). A contender's
    time is the median over the rounds of its best form; efficiency is the share of refconv.peak.peak_flop_per_s, the peak that the report prints.
    """
    peak = peak_flop_per_s(dtype) * threads
    for contest in contests:
        forms = {name: entry.run for name, entry in contest.entries.items()}
        yield record(contest, rounds_of(forms, rounds, PAUSE_S if threads > 1 else 0.0), peak, threads, layout)


def rounds_of(forms, rounds, pause_s=0.0):
    """{form: median seconds of a call} over interleaved rounds, with a pause before each form."""
    often = {}
    for name, run in forms.items():
        for _ in range(3):  # compiles, packs, warms
            run()
        often[name] = max(1, int(SAMPLE_S / max(min(seconds_of(run, 1) for _ in range(5)), 1e-7)))
    samples, order = {name: [] for name in forms}, list(forms)
    shuffled = random.Random(0)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            run = forms[name]
            time.sleep(pause_s)
            settled = time.perf_counter() + (SETTLE_S if pause_s else 0.0)
            seconds_of(run, often[name] // 2 + 1)
            while time.perf_counter() < settled:
                run()
            samples[name].append(seconds_of(run, often[name]) / often[name])
    return {name: statistics.median(values) for name, values in samples.items()}


def seconds_of(run, calls):
    """The time of so many calls in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - start


def record(contest, times, peak, threads, layout):
    """The numbers of one contest; conversion_share: the part of our time that arrays in NCHW take more than in NHWC.

    tuned: the time of the tiling that refconv.tune has kept over that of the rule's, as measured then; None where nothing is kept and the rule's is
    taken. What follows from our time is None where this project has no form in the contest. Winograd forms are no candidates for the best peer: the
    fastest has three numbers of its own.
    """
    mine = times.get(f"refconv {layout}")
    others = [name for name in times if not name.startswith("refconv ")]
    winograd = [name for name in others if contest.entries[name].winograd]
    best, fastest = (min(names, key=times.get, default=None) for names in ([name for name in others if name not in winograd], winograd))
    rate, kept = contest.flops / mine if mine else None, contest.entries[f"refconv {layout}"].measured if mine else None
    return {
        "name": contest.name,
        "descriptor": contest.descriptor,
        "flops": contest.flops,
        "threads": threads,
        "seconds": mine,
        "tuned": kept and kept.ratio,
        "float32_s": times.get("refconv float32"),
        "conversion_share": 1 - times["refconv NHWC"] / mine if mine and "refconv NHWC" in times else None,
        "flop_per_s": rate,
        "efficiency": rate / peak if mine else None,
        "peak_flop_per_s": peak,
        "times_s": times,
        "best_peer": best,
        "best_peer_s": times[best] if best else None,
        "ratio": times[best] / mine if best and mine else None,
        "winograd": fastest,
        "winograd_s": times[fastest] if fastest else None,
        "winograd_ratio": times[fastest] / mine if fastest and mine else None,
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
