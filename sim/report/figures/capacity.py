"""DRAM traffic against the capacity of a fully associative LRU cache, with the machine's caches, the compulsory traffic and the lower bound."""

from sim.machine.quantities import show_size
from sim.report.figures.style import GREY, LOOKS, WIDTH, figure_class, present, styled


@styled
def capacity_figure(records, machine):
    """The Figure of CapacityAccounts, a panel each. machine: the record of one. ValueError where there are none.

    The circle: what the machine's own levels, set-associative, move, at the size of the last.
    """
    records = present("records", records)
    figure = figure_class()(figsize=(WIDTH, 4.5 * len(records)))
    for axes, record in zip(figure.subplots(len(records), squeeze=False)[:, 0], records, strict=True):
        draw_capacity(axes, record, machine)
    return figure


def draw_capacity(axes, record, machine):
    """One panel."""
    labels = ("fused", "layer by layer") if record.layer_by_layer else (f"{record.run.kernel} kernel",)
    last = machine.levels[-1].size_bytes
    for label, one, look in zip(labels, record.runs, LOOKS, strict=False):
        curve = one.curve
        axes.plot(curve.capacity_bytes, curve.moved_bytes, color=look.colour, label=label)
        axes.plot([last], [one.run.moved_bytes], look.marker, color=look.colour, fillstyle="none", label=f"{label}, {machine.name}'s hierarchy")
    curve = record.curve
    if max(curve.bound_bytes) > record.run.compulsory_bytes:
        axes.plot(curve.capacity_bytes, curve.bound_bytes, "k--", linewidth=1, label="lower bound")
    axes.axhline(record.run.compulsory_bytes, color="k", linestyle=":", linewidth=1, label="compulsory")
    for level in machine.levels:
        axes.axvline(level.size_bytes, color="0.7", linewidth=1, zorder=0)
        axes.annotate(level.name, (level.size_bytes, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color=GREY)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda size, _: show_size(size))
    axes.yaxis.set_major_formatter(lambda moved, _: show_size(moved))
    axes.set_xlabel("capacity, fully associative LRU")
    axes.set_ylabel("DRAM traffic, read and written")
    axes.set_title(record.run.name, pad=18)
    axes.legend(frameon=True, framealpha=1, edgecolor="none")
