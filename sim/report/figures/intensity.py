"""Operational intensity against channels, and the machine's balance as water: which convolutions are memory-bound whatever the kernel.

After the figure "Conv2d Operational Intensity vs. Channels" of Lavin (arXiv 2404.03617), which has a linear y axis; this one is logarithmic, so that
depthwise convolutions are seen apart from the bottom.
"""

import math
from typing import NamedTuple

from sim.report.figures.style import INK, LOOKS, WATERLINE, WIDTH, balance_words, figure_class, fill_water, plain_ticks, present, styled

CHANNELS = (16, 768)
"""Between which curves are drawn unless it is said: as in the paper's figure."""
STEPS = 4
"""Points of a curve for each doubling of channels."""
LINES = ("-", "--", "-.", ":")


class Curve(NamedTuple):
    """label; channels and flop_per_byte: x and y; crossing: (channels, FLOP/B) at which it rises out of the water, None where it does not."""

    label: str
    channels: tuple
    flop_per_byte: tuple
    crossing: tuple | None = None


def curves_of(operators, itemsize, balance_flop_per_byte, positions=math.inf, channels=CHANNELS):
    """Curves of sim.analysis.intensity.Operators over channels from the first to the last, a grouped one from its first whole group on.

    itemsize, positions: as there; the crossing with the balance is marked where it lies within. Labels say the limit of many positions.
    """
    first, last = channels
    return [_curve(operator, itemsize, balance_flop_per_byte, positions, max(first, operator.least_channels), last) for operator in operators]


def _curve(operator, itemsize, balance, positions, first, last):
    steps = math.ceil(STEPS * math.log2(last / first))
    across = (*(first * (last / first) ** (i / steps) for i in range(steps)), last)
    up = tuple(operator.intensity(c, itemsize, positions) for c in across)
    crossing = operator.channels_at(balance, itemsize, positions) if operator.width is None else math.inf
    limit = f"{operator.intensity(operator.least_channels, itemsize):.3g}{' C' if operator.width is None else ''}"
    return Curve(f"{operator}\n{limit}", across, up, (crossing, balance) if first < crossing < last else None)


@styled
def intensity_figure(curves, balance_flop_per_byte, machine, note=""):
    """The Figure of Curves over a balance. machine: its name; note: what the curves assume, in the title. ValueError where there is none."""
    curves = present("curves", curves)
    figure = figure_class()(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    for curve, look, line in zip(curves, LOOKS * len(curves), LINES * len(curves), strict=False):
        axes.plot(curve.channels, curve.flop_per_byte, line, color=look.colour, label=curve.label)
        at = (curve.channels[-1], curve.flop_per_byte[-1])
        axes.annotate(curve.label, at, (6, 0), textcoords="offset points", color=INK, va="center", annotation_clip=False)
        if curve.crossing:
            axes.plot(*([value] for value in curve.crossing), "o", color=look.colour, label=f"{curve.label} crosses")
            axes.annotate(f"C = {math.ceil(curve.crossing[0])}", curve.crossing, (-6, 8), textcoords="offset points", color=INK, ha="right")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    every = [value for curve in curves for value in curve.flop_per_byte]
    axes.set_ylim(min(1.0, *every, balance_flop_per_byte), 1.6 * max(*every, balance_flop_per_byte))
    axes.set_xlim(min(curve.channels[0] for curve in curves), max(curve.channels[-1] for curve in curves))
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel("channels C")
    axes.set_ylabel("operational intensity [FLOP/B]")
    axes.set_title(f"Operational intensity against channels{', ' if note else ''}{note}")
    words = balance_words(balance_flop_per_byte, machine)
    fill_water(axes, balance_flop_per_byte, words)
    axes.annotate(f"memory-bound: below the {words}", (0, 0), (6, 5), xycoords="axes fraction", textcoords="offset points", color=WATERLINE)
    return figure
