"""A sequence of kernels and a machine's balance: each a bar as wide as its operations, as high as its intensity, and water up to the balance.

Below, what that makes of the peak. There a bar is as wide as its kernel's time and as high as its attainable efficiency, so that its area is its
operations, and the area of all is the waterline: the part of the peak that kernels one after another can reach. Beside it the roofline of all at
once.

How Lavin (arXiv 2404.03617) draws a waterline was not at hand. The water is that of the paper's figure of operational intensity.
"""

import itertools
import math

from sim.report.figures.style import (
    BACKING,
    GREEN,
    INK,
    ORANGE,
    WATERLINE,
    WIDTH,
    balance_words,
    figure_class,
    fill_water,
    keep_fitting,
    plain_ticks,
    styled,
    three_digits,
)

COMPUTE, MEMORY, IDLE = "compute-bound kernel", "memory-bound, under water", "no operations (norm, pool)"
LOOK = {COMPUTE: {"facecolor": GREEN}, MEMORY: {"facecolor": ORANGE, "hatch": "////"}, IDLE: {"facecolor": "0.9"}}
"""Of a kernel, by its kind."""
NARROW = 0.01
"""Of the width of a panel: a bar no wider has no edge, which would hide it."""
HEADROOM = 1.25
"""Of the lower panel, for its legend."""


@styled
def waterline_figure(line, title, machine):
    """The Figure of a sim.analysis.waterline.Waterline; machine: its name. Kernels without operations are below only, as bands: they take time."""
    figure = figure_class()(figsize=(WIDTH, 6.2))
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 2))
    labels = [*draw_intensities(upper, line, machine), *draw_efficiencies(lower, line)]
    seen = {kind(kernel): patch for kernel, (_, patch) in zip(line.kernels, labels[-len(line.kernels) :], strict=True)}
    kinds = {word: seen[word] for word in LOOK if word in seen}
    upper.set_title(title)
    figure.legend(
        [*kinds.values(), *upper.get_lines()],
        [*kinds, *(surface.get_label() for surface in upper.get_lines())],
        loc="outside upper left",
        ncols=2,
    )
    keep_fitting(figure, labels)
    return figure


def draw_intensities(axes, line, machine):
    """The upper panel; returns [(text, patch)]: the kernels' names in their bars."""
    computing = [kernel for kernel in line.kernels if kernel.cost.macs]
    finite = [*(kernel.intensity for kernel in computing if math.isfinite(kernel.intensity)), line.balance_flop_per_byte]
    bottom, top = min(1.0, 0.7 * min(finite)), 2 * max(finite)
    axes.set_yscale("log")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom, top)
    plain_ticks(axes.yaxis)
    axes.set_xlabel(f"operations, kernel after kernel [% of {three_digits(line.flops / 1e9)} GFLOP]")
    axes.set_ylabel("operational intensity [FLOP/B]")
    fill_water(axes, line.balance_flop_per_byte, balance_words(line.balance_flop_per_byte, machine))
    return _bars(axes, computing, [kernel.cost.macs / line.macs for kernel in computing], [min(top, kernel.intensity) for kernel in computing])


def draw_efficiencies(axes, line):
    """The lower panel; returns [(text, patch)]: the kernels' names in their bars."""
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100 * HEADROOM)
    axes.set_yticks(range(0, 101, 25))
    axes.set_xlabel(f"time, kernel after kernel [% of {three_digits(1e3 * line.latency_s)} ms]")
    axes.set_ylabel("attainable [% of peak]")
    for what, part, style in (("waterline", line.efficiency, "-"), ("roofline of all at once", line.roofline_efficiency, "--")):
        axes.axhline(100 * part, color=WATERLINE, linestyle=style, label=f"{what}: {three_digits(100 * part)} % of peak")
    axes.legend(loc="upper left", ncols=2, borderaxespad=0)
    shares = [kernel.latency_s / line.latency_s for kernel in line.kernels]
    return _bars(axes, line.kernels, shares, [100 * kernel.efficiency if kernel.cost.macs else 100 for kernel in line.kernels])


def kind(kernel):
    """COMPUTE, MEMORY, or IDLE of a kernel without operations."""
    return IDLE if not kernel.cost.macs else MEMORY if kernel.under_water else COMPUTE


def _bars(axes, kernels, shares, heights):
    """Draw a bar a kernel, from the bottom of the axes, one beside the other; returns [(text, patch)] of their names."""
    bottom, starts, named = axes.get_ylim()[0], itertools.accumulate(shares, initial=0), []
    for kernel, start, share, height in zip(kernels, starts, shares, heights, strict=False):
        look = {**LOOK[kind(kernel)], "edgecolor": "white", "linewidth": 0.5 if share > NARROW else 0}
        (bar,) = axes.bar(100 * start, height - bottom, 100 * share, bottom, align="edge", zorder=1, **look)
        at = (100 * (start + share / 2), bottom)
        text = axes.annotate(
            kernel.cost.name,
            at,
            (0, 4),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=8,
            zorder=3,
            bbox=BACKING,
        )
        named.append((text, bar))
    return named
