"""Lower bounds on traffic: what any algorithm moves between a fast memory of a given size and the one below it. Pure functions, in elements.

G: multiply-adds; M: elements of the fast memory; rho = R S / (stride_h stride_w), the windows an input is in, away from the border. Two theorems:

- `compulsory`: every input and weight that meet are read, every output is written. Obvious.
- `proven`: 2 G / sqrt(rho M) - 2 M, proved below. Of the same form as Theorem 2.1 of Chen, Demmel, Dinh, Haberle and Holtz (PASC 2022, arXiv
  2204.08279) as recalled; the paper was not at hand. The two agree where the strides divide the kernel and no window meets the border; all MACs
  count there, and here only those that meet an input.

Proof of `proven` (derived here; the argument of segments is Hong and Kung's). Cut any run into segments of 2 M transfers each. The inputs, weights
and sums that a segment's MACs touch are in the fast memory at its start or are read in it: I + W + O <= 3 M in all, so I W O <= M^3. Taps whose
offsets tap * dilation agree modulo the stride may meet the same inputs, others do not: t_j taps of class j along an axis. At one tap, inputs,
weights and sums are the sides of a matrix product: at most sqrt(I W O) MACs (Loomis and Whitney). The t taps of a class share inputs and sums, but no
weights, so that by Cauchy and Schwarz they make at most sqrt(t I W O). Classes share neither inputs nor weights, groups nothing: again by
Cauchy and Schwarz, MACs / sqrt(t_j) summed over classes and groups are at most sqrt(I W O) <= M^1.5. All segments but the last are full, hence
traffic >= 2 M (sum_j G_j / sqrt(t_j) / M^1.5 - 1).

A sum that starts as zero in the fast memory is not read in this count; one that a cache fills from below at its first store
(write-allocate) is. So this proves the bound for write-allocate caches, and |O| less for memories that are free to start sums as zeros; for those
the bound itself is as recalled from the paper.

The fast memory is all that is on this side of DRAM: every cache, whatever the hierarchy holds twice, and the registers (`fast_elements`).
"""

import math
from typing import NamedTuple

from sim.analysis.loop_nest import convolution


class Bound(NamedTuple):
    """Elements that have to move, and why."""

    elements: int
    source: str


def compulsory(problem):
    """Inputs and weights that meet, read once, and outputs written once, of a Conv2d or PartialConv2d."""
    return sum(problem.compulsory.values())


def proven(conv, fast):
    """The bound proved in the module's docstring, for a Conv2d with any stride, dilation, padding and groups; below 0 where M is large."""
    channels = conv.n * conv.k * conv.c_group
    return 2 * channels * math.prod(map(_weighted, conv.axes)) / math.sqrt(fast) - 2 * fast


def _weighted(axis):
    """The sum over taps of the outputs whose window meets an input there, each divided by the square root of the taps of its class."""
    size, pad, outputs, taps, stride, dilation = axis
    classes = {}
    for tap in range(taps):
        at = tap * dilation - pad
        first, last = max(0, -(at // stride)), min(outputs - 1, (size - 1 - at) // stride)
        if first <= last:
            classes.setdefault(tap * dilation % stride, []).append(last - first + 1)
    return sum(sum(met) / math.sqrt(len(met)) for met in classes.values())


def fast_elements(machine, itemsize, cores=1, private=0, sizes=None):
    """Elements of itemsize bytes that the caches and registers of a sim.Machine hold; its first `private` levels count once for each of the cores.

    sizes: bytes of the caches instead of its own.
    """
    sizes = [level.size_bytes for level in machine.levels] if sizes is None else sizes
    return (cores * (sum(sizes[:private]) + machine.registers * machine.vector_bytes) + sum(sizes[private:])) // itemsize


def layer_bound(problem, fast, besides=0, *, filled=True, warm=False):
    """The Bound of a Conv2d or PartialConv2d: the largest of the theorems above. fast: elements; besides: others that move, such as a bias.

    Channels passed through are read and written besides. filled: whether a line of sums is read before its first store, which the proof
    counts (see the module's docstring); else |O| less is proved. warm: the fast memory may hold inputs and weights at the start, which then
    need not be read.
    """
    conv, needed = convolution(problem), problem.compulsory
    passed, least = compulsory(problem) - compulsory(conv), compulsory(problem) + besides
    windows = math.ceil(proven(conv, fast) * (1 - 1e-12))  # whole elements move; rounding must not make it more
    windows -= 0 if filled else conv.compulsory["output"]
    if warm:
        least = max(needed["output"], least - fast)
    else:
        windows += passed + besides
    if windows > least:
        formula = "2 G / sqrt(rho M) - 2 M" if filled else "2 G / sqrt(rho M) - 2 M - |O|"
        return Bound(windows, f"{formula} (after Chen et al. 2022), M = {fast:,} elements")
    return Bound(least, "compulsory traffic" + (" but for what a warm memory may hold" if warm else ""))


def chain_bound(block, n, h, w):
    """The Bound of a block of refconv.problem.blocks run as one: input, all parameters, output. Bounds of its layers do not add up."""
    return Bound(sum(block.compulsory(n, h, w).values()), "compulsory traffic of the fused chain")
