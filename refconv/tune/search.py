"""Which tiling is fastest here: a search that begins with the rule's and goes on to neighbours of the best so far, as long as one is faster.

A step in one field at a time (refconv/tiling/neighbours.py): first block sizes, for which nothing is compiled, then shapes of registers, each
of which takes seconds to compile. All steps in a field are measured beside the best so far (race.py), the fastest takes its place, and the
search is over when no step in any field is faster. At the end the best is measured beside the rule's tiling once more: that ratio is kept.
"""

import functools
import math
import time
from typing import Any, NamedTuple

import numpy as np

from refconv import host
from refconv.cli import progress
from refconv.elements import element
from refconv.kernels import kernel_for
from refconv.plan import make_program, plan_of, thread_count
from refconv.problem.block_base import Block
from refconv.problem.conv import Conv2d, PartialConv2d
from refconv.schedule import block_schedule, parameters, prepared, subject_of, weight_elements
from refconv.static import Static
from refconv.tiling.measured import Measured, Subject, keep, read
from refconv.tiling.neighbours import Space, neighbours
from refconv.tune.race import WORTH, Runner, duel, race
from refconv.weights.blocks import pack_block
from refconv.weights.packed import empty


class Tuned(NamedTuple):
    """What a search has found: for `subject`, the rule's tiling, and the Measured best."""

    subject: Subject
    rule: Any
    measured: Measured

    tiling = property(lambda self: self.measured.tiling, doc="The fastest found; the rule's where none was faster by 1 %.")
    regret = property(lambda self: 1 / self.measured.ratio, doc="Time of the rule's tiling over that of the fastest found, 1 or more.")

    def __str__(self):
        return f"{self.subject.kernel.name} {self.tiling}: {self.measured}"


def tune(problem, shape=None, *, dtype=np.float32, threads=None, budget_s=None, again=False):
    """Measure tilings for a problem on this CPU, and keep the fastest for all calls to come: returns what was found, a Tuned.

    problem: a Conv2d, a PartialConv2d or a benchdnn descriptor, of tensors of `dtype`; or a record of refconv.problem.blocks, on images of
    shape (n, h, w), its dtype its own. threads: of the calls to come (None: Numba's current number, as that of a call). budget_s: the search
    ends at about so many seconds, compilation included, with the fastest until then (None: when it is settled, a minute or two where much is to
    be compiled). again: measure even where a settled search has been kept.

    Later calls of refconv.conv2d and the others on that problem, in this process and in others, take the tiling kept; results are the same, bit
    for bit. It holds for this CPU, these sources and that number of threads. REFCONV_TUNED=0 in the environment, and `tiling=` of a call,
    override it. Nothing else should run on the computer meanwhile. TypeError or ValueError names the argument, its value and what is legal.
    """
    if budget_s is not None and not (isinstance(budget_s, int | float) and budget_s > 0):
        raise ValueError(f"budget_s = {budget_s!r}: must be a number of seconds above 0, or None")
    return settle(task(problem, shape, dtype, threads), budget_s, again)


def task(problem, shape=None, dtype=np.float32, threads=None):
    """The Task of arguments as of `tune`."""
    threads = thread_count(threads)
    return _block_task(problem, shape, threads) if isinstance(problem, Block) else _layer_task(problem, shape, dtype, threads)


def settle(wanted, budget_s=None, again=False, label=""):
    """The Tuned of a Task, read if it is kept and settled; else measured and kept. label: what progress begins with."""
    subject, kept = wanted.subject, read(wanted.subject)
    if not is_settled(subject, again):
        deadline = math.inf if budget_s is None else time.perf_counter() + budget_s
        kept = _search(wanted, subject.rule if again or kept is None else kept.tiling, deadline, label)
        keep(subject, kept)
    return Tuned(subject, subject.rule, kept)


def is_settled(subject, again=False):
    """Whether a search for a Subject has been settled and kept, so that none is made, unless it is asked for `again`."""
    kept = None if again else read(subject)
    return kept is not None and kept.settled


class Task(NamedTuple):
    """What is measured: run(tiling) makes a function without arguments that computes it once; name: for a reader; clock: as of a Runner."""

    subject: Subject
    run: Any
    name: str
    clock: Any

    def __str__(self):
        return self.name


def _layer_task(problem, shape, dtype, threads):
    """A layer on arrays of random numbers, its weight in packed order."""
    if shape is not None:
        raise ValueError(f"shape = {shape!r}: must be None for a layer, which has its own; a block takes (n, h, w)")
    if isinstance(problem, str):
        problem = Conv2d.parse(problem)
    if not isinstance(problem, Conv2d | PartialConv2d):
        raise TypeError(f"problem = {problem!r}: must be a Conv2d, a PartialConv2d, a benchdnn descriptor or a record of refconv.problem.blocks")
    problem, stored = problem.checked(), element(dtype)
    subject = Subject(kernel_for(problem, _lanes(stored)), problem, stored, threads)
    weight = _random(weight_elements(subject.kernel, problem, subject.lanes), stored)
    x, out = _random(problem.tensors["input"], stored), empty(problem.tensors["output"], stored.dtype)
    nothing = empty(0, stored.dtype)

    def run(tiling):
        plan = plan_of(prepared(subject.kernel, problem, stored, subject.target, tiling), stored)
        operands = plan.call.operands((x, weight, nothing, nothing))
        return lambda: plan.run(operands, out)

    return Task(subject, run, str(problem), _clock(threads))


def _block_task(block, shape, threads):
    """A block with its own weights, on random numbers."""
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ValueError(f"shape = {shape!r}: must be (n, h, w), the images of the block")
    stored = element(block.dtype)
    packed = parameters(pack_block(block, _lanes(stored)))
    schedule = functools.partial(block_schedule, block, *shape, stored, host.target()._replace(threads=threads))
    rule = schedule()
    x, out = _random(rule.tensors["input"], stored), empty(rule.tensors["output"], stored.dtype)

    def run(tiling):
        program = make_program(schedule(tiling=tiling), packed)
        return lambda: program.run(x, out)

    return Task(subject_of(rule, threads), run, f"{type(block).__name__} {block.c}@{shape[1]}x{shape[2]}", _clock(threads))


def _clock(threads):
    """CPU time, of which what else runs on the computer has no part; with several threads, of which one may wait for another, time."""
    return time.thread_time if threads == 1 else time.perf_counter


def _lanes(stored):
    return host.target().lanes(stored.work.itemsize)


def _random(elements, stored):
    array = empty(elements, stored.dtype)
    array[...] = np.random.default_rng(0).standard_normal(elements)
    return array


def _search(wanted, start, deadline, label):
    """The Measured of a Task, beginning with the tiling `start`.

    A shape that has lost is not tried again with other shapes beside it, each combination of which a fused block would be compiled for.
    """
    subject = wanted.subject
    rule, tried, codes, lost = subject.rule, {}, set(), set()
    space = Space(subject.problem, rule, subject.lanes, subject.target)

    def runner(tiling):
        progress(f"{label}{wanted}: tiling {len(tried) + 1}")
        codes.add(_code(tiling))
        return tried.setdefault(tiling, Runner(wanted.run(tiling), wanted.clock))

    for tiling in dict.fromkeys((rule, start)):
        runner(tiling)
    best = start
    names = list(neighbours(rule, space))
    turn = unmoved = 0
    while unmoved < len(names) and time.perf_counter() < deadline:
        name, contenders, complete = names[turn], {best: tried[best]}, True
        for tiling in neighbours(best, space).get(name, []):
            if tiling in tried or ((name, getattr(tiling, name)) in lost and _code(tiling) not in codes):
                continue
            if time.perf_counter() > deadline:
                complete = False
                break
            contenders[tiling] = runner(tiling)
        fastest = race(contenders, deadline) if len(contenders) > 1 else best
        lost |= {(name, getattr(tiling, name)) for tiling in contenders if tiling != fastest}
        moved, best = fastest != best, fastest
        if moved:
            unmoved = 0
        elif complete:
            turn, unmoved = (turn + 1) % len(names), unmoved + 1
    ratio = duel(tried[best], tried[rule]) if best != rule else 1.0
    progress()
    best, ratio = (rule, 1.0) if ratio > WORTH else (best, ratio)
    return Measured(best, ratio, len(tried), settled=unmoved == len(names))


def _code(tiling):
    """What of a tiling the compiled code is made for."""
    return tuple(value for value in tiling if isinstance(value, Static | tuple))
