"""Formulas that bounds and closed forms are compared with: those of papers as recalled, and those of depthwise layers and fused chains.

G: multiply-adds; M (`fast`): elements of the fast memory; rho = R S / (stride_h stride_w). In elements, as sim.analysis.bounds.

- `chen_demmel`: Theorem 2.1 of Chen, Demmel, Dinh, Haberle and Holtz (PASC 2022, arXiv 2204.08279), as recalled; the paper was not at hand.
- `demmel_dinh` (arXiv 1802.06905), as recalled: the order of growth only, with a constant that is not known here.
- `chen_han_wang` (HPCA 2020), as recalled: no theorem, but a model of the best dataflow of an accelerator, which falls below compulsory for large M.
"""

import math


def reuse(conv):
    """rho = R S / (stride_h stride_w): windows an input is in, away from the border."""
    return conv.r * conv.s / (conv.stride_h * conv.stride_w)


def chen_demmel(conv, fast):
    """2 G / sqrt(rho M) - 2 M of a Conv2d (Chen et al. 2022, Theorem 2.1 for equal precisions, as recalled); below 0 where M is large.

    All MACs count, those that meet the border too, which an algorithm may skip: `proven` leaves them out.
    """
    return 2 * conv.macs / math.sqrt(reuse(conv) * fast) - 2 * fast


def demmel_dinh(conv, fast):
    """max(|I|, |W|, |O|, G / M, G / sqrt(rho M)) of a Conv2d: traffic is at least a constant times this (Demmel and Dinh 2018, as recalled)."""
    return max(*conv.compulsory.values(), conv.macs / fast, conv.macs / math.sqrt(reuse(conv) * fast))


def chen_han_wang(conv, fast):
    """2 G / sqrt(rho M) + |O| of a Conv2d (Chen, Han and Wang 2020, as recalled): a model, no bound.

    Reached with output blocks of b images, x * y pixels and z channels that fill the memory, b x y = rho z.
    """
    return 2 * conv.macs / math.sqrt(reuse(conv) * fast) + conv.tensors["output"]


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
