"""A sequence of kernels against a machine's balance: each a bar as wide as its operations, as high as its intensity, with water up to the balance.

Below, what that makes of the peak: each kernel's attainable efficiency, the waterline of all, and the roofline of all at once. A bar's width there is its
share of the time, so that the bars' operations, width times height, are what the machine does of all that it could: the waterline.

How Lavin (arXiv 2404.03617) draws it is not known, but for the water below the balance in the figure of operational intensity.
"""

import math

from sim.report.figures.style import BLACK, BLUE, INK, ORANGE, WATER, WATERLINE, WIDTH, fill_water, figure_class, plain_ticks, styled, three_digits

NAMED = 12
"""The most kernels whose bars are named."""
SUBMERGED = {"color": ORANGE, "hatch": "//", "edgecolor": "white", "linewidth": 0.5}
DRY = {"color": BLUE, "edgecolor": "white", "linewidth": 0.5}


@styled
def waterline_figure(line, title=""):
    """The Figure of a sim.analysis.waterline.Waterline. Kernels without operations have a width only below, where they take time."""
    figure = figure_class()(figsize=(WIDTH, 6))
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 2))
    draw_intensities(upper, line)
    draw_efficiencies(lower, line)
    if title:
        upper.set_title(title)
    return figure
