"""The efficiency gap: accuracy against operations on the left, against latency on the right, one y axis.

The left panel says which network gets more accuracy out of its operations; its upper x axis is the same one as ideal latency, that of the
peak. The right panel says which does out of time. How far a point moves from its ideal to its actual latency is the gap; their ratio is the
computational efficiency (sim/analysis/efficiency.py).

Drawn as the figures of Lavin (arXiv 2404.03617) are: two panels, solid lines on the left and dashed ones on the right, a line a family, sizes beside
the points, model and backend named on the right. Unlike there, each family has a marker of its own, so that the picture can be read in grey.
"""

from typing import NamedTuple

from refconv.published import lavin
from sim.analysis.efficiency import ideal_latency_s
from sim.report.figures.style import INK, LOOKS, WIDTH, figure_class, halo, present, styled

PLACES = tuple(
    {"position": (x, y), "horizontalalignment": across, "verticalalignment": up}
    for x, y, across, up in (
        *((-5, 5, "right", "bottom"), (6, -5, "left", "top"), (8, 0, "left", "center"), (0, 8, "center", "bottom")),
        *((0, -8, "center", "top"), (5, 5, "left", "bottom"), (-6, -5, "right", "top"), (-8, 0, "right", "center")),
        *((18, 0, "left", "center"), (0, -18, "center", "top"), (0, 18, "center", "bottom"), (-18, 0, "right", "center")),
    )
)
"""Where a size may stand at its point, those first that are tried first: offset in points, and the side of the text that is there."""
REACH = 5
"""Pixels that a marker reaches from its middle."""
MARGIN = 0.05
"""Of an x axis, on both sides, for sizes to stand in."""
GIGA, MILLI = 1e9, 1e-3


class GapPoint(NamedTuple):
    """A network: what its point is labelled, top-1 accuracy in percent, multiply-adds for an image, seconds for a batch."""

    label: str
    accuracy_percent: float
    macs: float
    latency_s: float


class GapFamily(NamedTuple):
    """Networks of one family, by size; backend: what ran them, may be empty."""

    name: str
    backend: str
    points: tuple


BACKENDS = {"ConvFirst": "Block-Fusion", "ConvNeXt": "Inductor", "EfficientNet": "Inductor", "EfficientNetV2": "Inductor"}
"""What ran Lavin's families, as the paper's figures name it."""


def lavin_families():
    """The GapFamilies of Lavin's results (refconv/published/lavin.py), labelled as there: B1 to B5, else by the first letter of the size."""
    points = {name: [] for name in BACKENDS}
    for row in lavin.ROWS:
        family, size = row.model.split(" ")
        label = size if any(character.isdigit() for character in size) else size[0]
        points[family].append(GapPoint(label, row.accuracy_percent, row.gmacs * GIGA, row.latency_s))
    return [GapFamily(name, backend, tuple(points[name])) for name, backend in BACKENDS.items()]


@styled
def gap_figure(families, peak_flop_per_s, batch, title=""):
    """The Figure of GapFamilies on a machine of that peak; batch: images in a latency. ValueError where there is nothing to draw.

    Sizes stand at their points where they cover no line and no other size, if there is such a place.
    """
    families = present("families", families)
    for family in families:
        present(f"points of {family.name}", family.points)
    figure = figure_class()(figsize=(WIDTH, 4.8))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 4))
    sizes = []
    for family, look in zip(families, LOOKS * len(families), strict=False):
        accuracy = [point.accuracy_percent for point in family.points]
        macs = [point.macs / GIGA for point in family.points]
        latency = [point.latency_s / MILLI for point in family.points]
        left.plot(macs, accuracy, "-", color=look.colour, marker=look.marker, label=family.name)
        right.plot(latency, accuracy, "--", color=look.colour, marker=look.marker, label=f"{family.name} {family.backend}".rstrip())
        for axes, across in ((left, macs), (right, latency)):
            for x, point in zip(across, family.points, strict=True):
                at = (x, point.accuracy_percent)
                words = {"textcoords": "offset points", "color": INK, "fontsize": 9, "zorder": 3, "path_effects": halo()}
                sizes.append(axes.annotate(point.label, at, (0, 0), **words))
    for axes, most in ((left, _most(families, "macs") / GIGA), (right, _most(families, "latency_s") / MILLI)):
        axes.set_xlim(-MARGIN * most, (1 + MARGIN) * most)
    ms_of_a_gmac = ideal_latency_s(2 * GIGA * batch, peak_flop_per_s) / MILLI
    above = left.secondary_xaxis("top", functions=(lambda gmacs: gmacs * ms_of_a_gmac, lambda ms: ms / ms_of_a_gmac))
    above.set_xlabel(f"ideal latency [ms], batch of {batch}")
    left.set_xlabel("multiply-adds of an image [billions]")
    left.margins(y=0.1)
    left.set_ylabel("ImageNet top-1 accuracy [%]")
    right.set_xlabel(f"actual latency [ms], batch of {batch}")
    right.legend(loc="lower right")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    set_apart(figure, sizes)
    return figure


def set_apart(figure, sizes):
    """Put each of the annotations `sizes` in the first of PLACES where it covers no line, no marker and no size placed before, or the least."""
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # places of points in pixels are known from then on
    lines, taken = {}, {}
    for axes in {size.axes for size in sizes}:
        paths = [axes.transData.transform(line.get_xydata()) for line in axes.get_lines()]
        lines[axes] = [Path(path) for path in paths]
        taken[axes] = [Bbox.from_bounds(x - REACH, y - REACH, 2 * REACH, 2 * REACH) for path in paths for x, y in path]
    for size in sizes:

        def covered(place, size=size):
            size.set(**place)
            box = size.get_window_extent()
            return sum(box.overlaps(other) for other in taken[size.axes]) + sum(line.intersects_bbox(box, filled=False) for line in lines[size.axes])

        size.set(**min(PLACES, key=covered))
        taken[size.axes].append(size.get_window_extent())


def _most(families, field):
    return max(getattr(point, field) for family in families for point in family.points)
