"""Contenders measured beside each other: interleaved, and each dropped as soon as it is clear that it is not the fastest.

On a computer that others use, times jump by a third for milliseconds and by a tenth for seconds. So contenders are compared round by round, by
their ratio in the same round, and by quartiles and medians of those ratios, which a few bad rounds do not move.
"""

import math
import random
import statistics
import time

SAMPLE_S = 2e-3
"""Time of the calls in a row that make one sample: long against the clock's steps, short against what disturbs."""
FEWEST_ROUNDS, MOST_ROUNDS = 3, 15
"""Before a contender may be dropped; until the fastest by its median is taken."""
CLEARLY = 1.15
"""After FEWEST_ROUNDS a contender is dropped that was slower than the leader by this in all of them. From then on the lower quartile of its ratios
decides, and what it may be falls from round to round, to 1 in the last: slower in three rounds of four."""
WORTH = 0.99
"""Of the time of the one that has been the best so far: less than 1 % is not told apart from noise in so few rounds, and no reason to move."""
DUEL_ROUNDS = 25
"""Of the last comparison, of the best with the rule's: on samples of its own, since the least of many noisy medians is too low."""


class Runner:
    """Times a function without arguments in samples of about SAMPLE_S; compiled and warm before the first. clock(): seconds, as a float."""

    def __init__(self, run, clock):
        self.run, self.clock = run, clock
        run()
        times = []
        for _ in range(3):
            start = clock()
            run()
            times.append(clock() - start)
        self.often = max(1, int(SAMPLE_S / max(min(times), 1e-7)))

    def sample(self):
        """Seconds of a call, after half as many calls that are not timed: at first caches hold what the contender before has left."""
        for _ in range(self.often // 2 + 1):
            self.run()
        start = self.clock()
        for _ in range(self.often):
            self.run()
        return (self.clock() - start) / self.often


def race(runners, deadline=math.inf, clock=time.perf_counter):
    """The key of the fastest of {key: Runner}, of which the first is the best so far and stays it unless another takes at most WORTH of its time.

    Ends at the deadline (by `clock`), too, and then with the fastest as far as is known, once there are FEWEST_ROUNDS.
    """
    first, left, order = next(iter(runners)), list(runners), random.Random(0)
    samples = {key: [] for key in runners}
    for done in range(1, MOST_ROUNDS + 1):
        for key in order.sample(left, len(left)):
            samples[key].append(runners[key].sample())
        if done < FEWEST_ROUNDS:
            continue
        leader = min(left, key=lambda key: ratio(samples[key], samples[first]))
        left = [key for key in left if key in (leader, first) or not _slower(samples[key], samples[leader], done)]
        if len(left) == 1 or (len(left) == 2 and leader != first and _slower(samples[first], samples[leader], done)) or clock() > deadline:
            break
    fastest = min(left, key=lambda key: ratio(samples[key], samples[first]))
    return fastest if ratio(samples[fastest], samples[first]) <= WORTH else first


def duel(one, other, rounds=DUEL_ROUNDS):
    """The time of one Runner over that of another: the median over interleaved rounds, in turn one or the other first."""
    samples = {one: [], other: []}
    for i in range(rounds):
        for runner in (one, other) if i % 2 else (other, one):
            samples[runner].append(runner.sample())
    return ratio(samples[one], samples[other])


def ratio(times, others):
    """The median over rounds of times / others."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def _slower(times, leader, done):
    """Whether a contender is clearly slower than the leader after `done` rounds."""
    ratios = sorted(a / b for a, b in zip(times, leader, strict=True))
    if done == FEWEST_ROUNDS:
        return ratios[0] > CLEARLY
    legal = 1 + (CLEARLY - 1) * (MOST_ROUNDS - done) / (2 * (MOST_ROUNDS - FEWEST_ROUNDS))
    return ratios[len(ratios) // 4] > legal
