"""Lower bounds on traffic: what any algorithm moves between a fast memory of a given size and the one below it. Pure functions, in elements.

G: multiply-adds; M: elements of the fast memory; rho = R S / (stride_h stride_w), the windows an input is in. Theorems, each said with how well it is
known here:

- `compulsory`: every input and weight that meet are read, every output is written. Obvious.
- `proven`: 2 G / sqrt(rho M) - 2 M, proved below. Of the same form as Theorem 2.1 of Chen, Demmel, Dinh, Haberle and Holtz (PASC 2022, arXiv
  2204.08279) as recalled, which is `chen_demmel`; the paper was not at hand. The two agree where the strides divide the kernel and no
  window meets the border.
- `demmel_dinh` (arXiv 1802.06905), as recalled: the order of growth only, with a constant that is not known here. No number to compare with.

No theorem: `chen_han_wang` (HPCA 2020), as recalled, models the best dataflow of an accelerator and falls below compulsory for large M.

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


def reuse(conv):
    """rho = R S / (stride_h stride_w): windows an input is in, away from the border."""
    return conv.r * conv.s / (conv.stride_h * conv.stride_w)


def chen_demmel(conv, fast):
    """2 G / sqrt(rho M) - 2 M of a Conv2d (Chen et al. 2022, Theorem 2.1 for equal precisions, as recalled); below 0 where M is large.

    All MACs count, those that meet the border too, which an algorithm may skip: `proven` leaves them out.
    """
    return 2 * conv.macs / math.sqrt(reuse(conv) * fast) - 2 * fast


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


def demmel_dinh(conv, fast):
    """max(|I|, |W|, |O|, G / M, G / sqrt(rho M)) of a Conv2d: traffic is at least a constant times this (Demmel and Dinh 2018, as recalled)."""
    return max(*conv.compulsory.values(), conv.macs / fast, conv.macs / math.sqrt(reuse(conv) * fast))


def chen_han_wang(conv, fast):
    """2 G / sqrt(rho M) + |O| of a Conv2d (Chen, Han and Wang 2020, as recalled): a model, no bound.

    Reached with output blocks of b images, x * y pixels and z channels that fill the memory, b x y = rho z.
    """
    return 2 * conv.macs / math.sqrt(reuse(conv) * fast) + conv.tensors["output"]


def fast_elements(machine, itemsize, cores=1, private=0, sizes=None):
    """Elements of itemsize bytes that the caches and registers of a sim.machine.Machine hold, its first `private` levels for each of the cores.

    sizes: bytes of caches in the place of its own.
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
    """The Bound of a block of refconv.blocks run as one: input, all parameters, output. Bounds of its layers do not add up."""
    return Bound(sum(block.compulsory(n, h, w).values()), "compulsory traffic of the fused chain")


def fused_chain(layers):
    """|I of the first| + sum |W| + |O of the last| of Conv2ds, each on the output of the one before, in one kernel."""
    return layers[0].compulsory["input"] + sum(layer.compulsory["weight"] for layer in layers) + layers[-1].compulsory["output"]


def fused_lines(layers):
    """sum C_l (R_l - 1) W_l: about the elements that a fused chain of Conv2ds holds to read and compute nothing twice, going down its rows."""
    return sum(layer.c * (layer.r - 1) * layer.w for layer in layers)


def line_buffer(conv):
    """(R - 1) W + S + R S + 1: about the elements of fast memory with which a depthwise Conv2d of dilation 1 moves what is compulsory.

    R - 1 rows of a channel's input and S more, its window of weights, a sum; a channel after the other, W columns, borders not held.
    """
    return (conv.r - 1) * conv.w + conv.s + conv.r * conv.s + 1


def reload_factor(conv, rows, columns):
    """How many times each input is read where a Conv2d of dilation 1 is cut into tiles of rows x columns outputs that each read all of theirs.

    ((rows - 1) stride_h + R) ((columns - 1) stride_w + S) / (rows columns stride_h stride_w), away from the border.
    """
    read = ((rows - 1) * conv.stride_h + conv.r) * ((columns - 1) * conv.stride_w + conv.s)
    return read / (rows * columns * conv.stride_h * conv.stride_w)
