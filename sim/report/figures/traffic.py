"""DRAM traffic as stacked bars, a part for each tensor: the layers of a block one after another beside its fused kernel."""

from typing import NamedTuple

from sim.report.figures.style import BACKING, BLUE, GREEN, GREY, INK, ORANGE, PURPLE, WIDTH, figure_class, keep_fitting, present, styled, three_digits

MIB = 1 << 20
LOOK = {
    "input": {"facecolor": BLUE},
    "weights, biases": {"facecolor": PURPLE, "hatch": "||||"},
    "between layers": {"facecolor": ORANGE, "hatch": "////"},
    "workspace of a kernel": {"facecolor": GREY, "hatch": "xxxx"},
    "output": {"facecolor": GREEN, "hatch": "\\\\\\\\"},
}
"""The kinds of tensors, in the order of the stack."""
ROOM = 1.18
"""Of the x axis beyond the longest bar, for the sum beside it."""


SEEN = 0.002
"""Of the longest bar: a kind of which no part is wider than this, a pixel, is not in the legend."""


class Part(NamedTuple):
    """A tensor's share of a bar; kind: one of LOOK."""

    tensor: str
    kind: str
    moved_bytes: int


class Bar(NamedTuple):
    """One program: what it is, and its Parts."""

    label: str
    parts: tuple

    @property
    def moved_bytes(self):
        """Of all parts."""
        return sum(part.moved_bytes for part in self.parts)


class Group(NamedTuple):
    """Bars that do the same, the one compared with first."""

    name: str
    bars: tuple


@styled
def traffic_figure(groups, title):
    """The Figure of Groups of Bars, in MiB read and written. Tensors are named where there is room. ValueError where there is nothing to draw."""
    groups = present("groups", groups)
    bars = [(group, bar) for group in groups for bar in present(f"bars of {group.name}", group.bars)]
    figure = figure_class()(figsize=(WIDTH, 1.3 + 0.34 * len(bars) + 0.2 * len(groups)))
    axes = figure.subplots()
    labels, ticks, seen, y = [], [], {}, 0.0
    for number, (group, bar) in enumerate(bars):
        if number and group is not bars[number - 1][0]:
            y += 0.6
        labels += draw_bar(axes, y, bar, seen)
        first = group.bars[0].moved_bytes
        less = "" if bar is group.bars[0] else f", {three_digits(first / bar.moved_bytes)} times less" if first > bar.moved_bytes else ""
        words = f"{three_digits(bar.moved_bytes / MIB)} MiB{less}"
        axes.annotate(words, (bar.moved_bytes / MIB, y), (5, 0), textcoords="offset points", va="center", color=INK, fontsize=9)
        ticks.append((y, f"{group.name}, {bar.label}"))
        y += 1
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.spines.left.set_visible(False)
    axes.set_xlim(0, ROOM * max(bar.moved_bytes for _, bar in bars) / MIB)
    axes.set_xlabel("DRAM traffic, read and written [MiB]")
    axes.set_title(title)
    longest = max(bar.moved_bytes for _, bar in bars) / MIB
    kinds = [kind for kind in LOOK if kind in seen and seen[kind].get_width() > SEEN * longest]
    figure.legend([seen[kind] for kind in kinds], kinds, loc="outside upper left", ncols=len(LOOK))
    keep_fitting(figure, labels)
    return figure


def draw_bar(axes, y, bar, seen):
    """One bar; returns [(text, patch)]: names of tensors in their parts. seen: {kind: its widest patch}, filled for the legend."""
    start, labels = 0.0, []
    for kind in LOOK:
        for part in bar.parts:
            if part.kind != kind or not part.moved_bytes:
                continue
            width = part.moved_bytes / MIB
            (patch,) = axes.barh(y, width, 0.86, start, edgecolor="white", linewidth=0.8, **LOOK[kind])
            if kind not in seen or seen[kind].get_width() < width:
                seen[kind] = patch
            text = axes.text(start + width / 2, y, part.tensor, ha="center", va="center", fontsize=8, color=INK, bbox=BACKING)
            labels.append((text, patch))
            start += width
    return labels


OPERAND = {"input": "input", "weight": "weights, biases", "bias": "weights, biases", "residual": "input", "output": "output"}
MADE = "_output"
"""How the name of what a step makes for another ends (sim/account/layer_by_layer.py)."""
LEFT = ("hidden_layer", "gates")
"""What one call of a fused kernel leaves for the next (refconv/schedule.py)."""


def kind_of(tensor):
    """The kind of an account's tensor, by its name."""
    return OPERAND.get(tensor) or ("between layers" if tensor.endswith(MADE) or tensor in LEFT else "workspace of a kernel")


def groups_of(accounts):
    """Groups of the accounts of layers and blocks, each as its JSON (`as_json()`, or an element of "layers" of what sim.traffic writes as JSON).

    Of a block two bars, layer by layer and fused; of a layer the one of its kernel. KeyError or TypeError of what is no such account.
    """
    return [Group(account["name"], tuple(_bar(run, label) for label, run in _runs(account))) for account in accounts]


def _runs(account):
    if "unfused" in account:
        return [("layer by layer", account["unfused"]), ("fused", account)]
    return [(account["kernel"], account)]


def _bar(run, label):
    tensors = run["tensors"].items()
    return Bar(
        label, tuple(Part(name.removesuffix(MADE).replace("_", " "), kind_of(name), of["read_bytes"] + of["write_bytes"]) for name, of in tensors)
    )
