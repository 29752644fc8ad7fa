"""A machine's roofline with blocks on it: layer by layer and fused, joined by an arrow.

x: FLOP for each byte moved to and from DRAM. y: what that allows of the peak. A fused kernel lies on the roof; layers one after another lie below it
where some are memory-bound and some are not, since each has a roof of its own (sim/analysis/waterline.py).
"""

from typing import NamedTuple

from sim.report.figures.style import GREY, INK, LOOKS, WATER, WATERLINE, WIDTH, figure_class, plain_ticks, present, styled, three_digits

GIGA = 1e9


class Place(NamedTuple):
    """A program in a roofline."""

    flop_per_byte: float
    flop_per_s: float


class Move(NamedTuple):
    """A block's program layer by layer and fused; layer_by_layer: None of a layer, which has one program."""

    name: str
    layer_by_layer: Place | None
    fused: Place


def moves_of(accounts, bandwidth_bytes_per_s):
    """(Moves, peak FLOP/s) of the accounts of layers and blocks, each as its JSON, as traffic.groups_of takes them.

    The peak is that of the cores and the element type that ran: the balance times the bandwidth. ValueError where accounts differ in it, KeyError or
    TypeError of what is no such account.
    """
    balances = {account["balance_flop_per_byte"] for account in accounts}
    if len(balances) > 1:
        raise ValueError(f"accounts: have balances of {', '.join(map(three_digits, sorted(balances)))} FLOP/B: must be one, as of one element type")
    (balance,) = present("accounts", balances)
    peak = balance * bandwidth_bytes_per_s

    def place(run):
        return Place(run["intensity"]["simulated"], run["attainable_efficiency"] * peak)

    return [Move(account["name"], place(account["unfused"]) if "unfused" in account else None, place(account)) for account in accounts], peak


@styled
def roofline_figure(moves, peak_flop_per_s, bandwidth_bytes_per_s, title):
    """The Figure of Moves under the roof min(peak, bandwidth * intensity). ValueError where there are none."""
    moves = present("moves", moves)
    figure = figure_class()(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    places = [place for move in moves for place in (move.layer_by_layer, move.fused) if place]
    balance = peak_flop_per_s / bandwidth_bytes_per_s
    low = min(balance / 8, *(place.flop_per_byte / 2 for place in places))
    high = max(balance, *(place.flop_per_byte for place in places)) * 4
    roof = [low, balance, high]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(low, high)
    axes.set_ylim(min(low * bandwidth_bytes_per_s, *(place.flop_per_s for place in places)) / GIGA / 1.5, 1.6 * peak_flop_per_s / GIGA)
    axes.plot(roof, [min(peak_flop_per_s, x * bandwidth_bytes_per_s) / GIGA for x in roof], color=WATERLINE, zorder=2)
    axes.axvspan(low, balance, color=WATER, zorder=-2, linewidth=0)
    draw_moves(axes, moves)
    words = f"memory-bound\nbelow the balance,\n{three_digits(balance)} FLOP/B"
    axes.annotate(words, (0, 1), (6, -6), xycoords="axes fraction", textcoords="offset points", color=WATERLINE, va="top")
    peak = f"peak {three_digits(peak_flop_per_s / GIGA)} GFLOP/s"
    axes.annotate(peak, (high, peak_flop_per_s / GIGA), (-4, 4), textcoords="offset points", ha="right", color=WATERLINE)
    bandwidth = f"{three_digits(bandwidth_bytes_per_s / GIGA)} GB/s"
    start = low * 1.5
    axes.annotate(bandwidth, (start, start * bandwidth_bytes_per_s / GIGA), (8, -6), textcoords="offset points", va="center", color=WATERLINE)
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel("intensity, as simulated [FLOP/B of DRAM traffic]")
    axes.set_ylabel("attainable [GFLOP/s]")
    axes.set_title(title)
    return figure


def draw_moves(axes, moves):
    """The points, an arrow from each hollow one to the full one of its block, and their legend."""
    for move, look in zip(moves, LOOKS * len(moves), strict=False):
        end = (move.fused.flop_per_byte, move.fused.flop_per_s / GIGA)
        axes.plot(*([value] for value in end), look.marker, color=look.colour, markersize=10, markeredgecolor="white", label=move.name, zorder=4)
        if move.layer_by_layer:
            start = (move.layer_by_layer.flop_per_byte, move.layer_by_layer.flop_per_s / GIGA)
            axes.plot(*([value] for value in start), look.marker, color=look.colour, markersize=9, markerfacecolor="white", zorder=4)
            arrow = {"arrowstyle": "-|>", "color": look.colour, "shrinkA": 5, "shrinkB": 5, "linewidth": 1.5}
            axes.annotate("", end, start, arrowprops=arrow, zorder=3)
    handles, labels = axes.get_legend_handles_labels()
    if any(move.layer_by_layer for move in moves):
        for what, face in (("layer by layer,\neach under its own roof", "white"), ("fused", GREY)):
            handles += axes.plot([], [], "o", color=GREY, markersize=9, markerfacecolor=face)
            labels.append(what)
    axes.legend(handles, labels, loc="lower right", labelcolor=INK)
