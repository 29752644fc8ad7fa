"""Pictures of records: the only place of sim that draws. matplotlib is imported where it is used (extra `plot`)."""

from pathlib import Path

from sim.machine.quantities import show_size

FORMATS = (".svg", ".png", ".pdf")


def check_plot(path):
    """ValueError unless the name ends in one of FORMATS, ImportError that names the extra where matplotlib is missing: before a long run."""
    if Path(path).suffix.lower() not in FORMATS:
        raise ValueError(f"must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    figure_class()


def figure_class():
    """matplotlib's Figure: drawn to a file, no window and no global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("needs matplotlib: pip install 'refconv[plot]'") from None
    return Figure


def plot_capacity(records, machine, path):
    """Draw CapacityAccounts to `path`, a panel each: traffic against capacity, the bound, compulsory traffic, the machine's caches.

    machine: the record of one. The circle: what the machine's own levels, set-associative, move, at the size of the last. OSError as of the file.
    """
    figure = figure_class()(figsize=(7.5, 4.5 * len(records)), layout="constrained")
    for axes, record in zip(figure.subplots(len(records), squeeze=False)[:, 0], records, strict=True):
        draw_capacity(axes, record, machine)
    figure.savefig(path)


def draw_capacity(axes, record, machine):
    """One panel."""
    labels = ("fused", "layer by layer") if record.layer_by_layer else (f"{record.run.kernel} kernel",)
    last = machine.levels[-1].size_bytes
    for label, one, colour in zip(labels, record.runs, ("C0", "C1"), strict=False):
        curve = one.curve
        axes.plot(curve.capacity_bytes, curve.moved_bytes, colour, label=label)
        axes.plot([last], [one.run.moved_bytes], "o", color=colour, fillstyle="none", label=f"{label}, {machine.name}'s hierarchy")
    curve = record.curve
    if max(curve.bound_bytes) > record.run.compulsory_bytes:
        axes.plot(curve.capacity_bytes, curve.bound_bytes, "k--", linewidth=1, label="lower bound")
    axes.axhline(record.run.compulsory_bytes, color="k", linestyle=":", linewidth=1, label="compulsory")
    for level in machine.levels:
        axes.axvline(level.size_bytes, color="0.7", linewidth=1, zorder=0)
        axes.annotate(level.name, (level.size_bytes, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color="0.4")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda size, _: show_size(size))
    axes.yaxis.set_major_formatter(lambda moved, _: show_size(moved))
    axes.set_xlabel("capacity, fully associative LRU")
    axes.set_ylabel("DRAM bytes, read and written")
    axes.set_title(record.run.name, loc="left", pad=18)
    axes.legend(fontsize="small")
