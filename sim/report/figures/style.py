"""What all pictures share: their style, their colours, and how they become files. matplotlib is imported where it is used (extra `plot`).

A picture is a function of numbers that returns a matplotlib Figure, decorated with `styled`; `save` writes it. Sizes are for a width of about 800
pixels. Colours are those of Okabe and Ito, "Color Universal Design" (2008), which the colour-blind tell apart, in an order whose neighbours
differ in grey, too; what they say is also said by a marker, a hatch or a word beside it.
"""

import functools
import math
from pathlib import Path
from typing import NamedTuple

FORMATS = (".svg", ".png", ".pdf")
WIDTH = 8.0
"""Inches of a picture: 800 pixels as PNG."""

BLUE, ORANGE, GREEN, VERMILION, PURPLE, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000"
WATER, WATERLINE = "#D6EAF8", "#1B4F72"
"""What lies below a machine's balance, where memory is the limit, and its surface."""
INK, GREY = "0.15", "0.4"
"""Of text: beside what it names, and of less weight."""
BACKING = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
"""Of a text that may lie over something: its box."""


class Look(NamedTuple):
    """A series' colour and marker."""

    colour: str
    marker: str


LOOKS = (Look(BLUE, "o"), Look(ORANGE, "s"), Look(GREEN, "^"), Look(VERMILION, "D"), Look(PURPLE, "v"), Look(BLACK, "P"))

STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.dpi": 100,
    "svg.hashsalt": "refconv",  # the same numbers give the same file
    "hatch.linewidth": 0.6,
}


def check_plot(path):
    """ValueError unless the name ends in one of FORMATS, ImportError that names the extra where matplotlib is missing: before a long run."""
    if Path(path).suffix.lower() not in FORMATS:
        raise ValueError(f"must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    figure_class()


def figure_class():
    """matplotlib's Figure: drawn to a file, no window and no global state. ImportError names the extra where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("needs matplotlib: pip install matplotlib (the extra plot)") from None
    return Figure


def styled(draw):
    """The function, which makes a Figure, with STYLE in force while it does."""

    @functools.wraps(draw)
    def made(*arguments, **options):
        figure_class()
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*arguments, **options)

    return made


def save(figure, path):
    """Write a Figure to a file whose name ends in one of FORMATS; without the date: equal pictures are equal files. OSError as of the file."""
    import matplotlib

    date = {".svg": "Date", ".pdf": "CreationDate"}.get(Path(path).suffix.lower())
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, metadata={date: None} if date else None)


def fill_water(axes, balance_flop_per_byte, label):
    """Fill an axes, whose y is FLOP/B and whose limits are set, with water up to the balance. label: of its surface in a legend."""
    bottom, _ = axes.get_ylim()
    axes.axhspan(bottom, balance_flop_per_byte, color=WATER, zorder=-2, linewidth=0)
    axes.axhline(balance_flop_per_byte, color=WATERLINE, linewidth=1.5, zorder=2, label=label)


def balance_words(balance_flop_per_byte, machine):
    """The balance of a machine of that name, in words."""
    return f"balance of {machine}, {three_digits(balance_flop_per_byte)} FLOP/B"


def halo():
    """Path effects of a text that may lie over a line: white around its letters, which hides less than a BACKING."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="white")]


def plain_ticks(axis):
    """Write the ticks of a logarithmic axis as plain numbers: 0.5, 16, 1,000."""
    axis.set_major_formatter(lambda value, _: f"{value:,.15g}")
    axis.set_minor_formatter(lambda value, _: "")


def keep_fitting(figure, labels):
    """Leave out what does not fit. labels: [(text, patch)] of the figure, whose text is taken away where it is wider than its patch as drawn."""
    figure.draw_without_rendering()
    for text, patch in labels:
        if text.get_window_extent().width > patch.get_window_extent().width:
            text.remove()


def three_digits(value):
    """A number where room is short: 0.812, 4.50, 28.0, 160, 1,010."""
    if not value:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def present(name, values):
    """The values as a list; ValueError where there are none."""
    values = list(values)
    if not values:
        raise ValueError(f"{name}: must have at least one element")
    return values
