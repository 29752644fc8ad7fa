"""The tables of sim/account/papers.py as a page of Markdown: docs/waterline.md."""

from refconv.networks import names, network
from refconv.published import lavin
from sim.account.amounts import network_amounts
from sim.account.papers import PREDICTORS, is_fused, lavin_waterlines, rankings, settings
from sim.analysis.matrix_efficiency import Weights, measure, space_measure

COMMAND = "python -m sim.papers > docs/waterline.md"


def page():
    """The lines of the page."""
    yield from ("# The papers' analysis, computed", "", f"Made by `{COMMAND}`; a test compares. 1 MAC = 2 FLOP.", "")
    yield from waterline_section()
    yield from ranking_section()
    yield from measure_section()


def waterline_section():
    """Lavin's 15 rows under their waterlines."""
    rows = lavin_waterlines()
    above = sum(row.share_of_waterline > 1 for row in rows)
    nearest, farthest = (choose(rows, key=lambda row: row.share_of_waterline) for choose in (max, min))
    least = min(rows, key=lambda row: row.fused.waterline_efficiency)
    yield from (
        "## Lavin's results under their waterlines",
        "",
        "The waterline (a reconstruction: `sim/analysis/waterline.py`) of the 15 rows of arXiv 2404.03617 on the paper's A5000: 76.68 TFLOP/s,",
        "160 FLOP/B, float16, batch 128. The baselines' bound is that of a kernel a layer, activations and sums merged into the layers;",
        "ConvFirst's, which the paper ran by block fusion, of a kernel a block. ConvFirstNet is this project's reconstruction.",
        "",
        f"{above or 'None'} of the {len(rows)} measured shares of the peak lies above its waterline. The nearest is {nearest.row.model}, at",
        f"{nearest.share_of_waterline:.2f} of it, the farthest {farthest.row.model}, at {farthest.share_of_waterline:.2f}. With a kernel a block the",
        f"waterline of every network would be at {100 * least.fused.waterline_efficiency:.1f} % of the peak ({least.row.model}) or above.",
        "",
    )
    yield from table(
        ("network", "input", "GMACs", "measured ms", "at least ms", "% peak", "waterline %", "measured / waterline", "roofline %", "fused %"),
        [
            (
                row.row.model + (" (fused)" if is_fused(row.row) else ""),
                str(row.size),
                f"{row.as_run.macs / row.as_run.batch / 1e9:.2f}",
                f"{row.row.latency_ms:.1f}",
                f"{1e3 * row.as_run.latency_s:.1f}",
                f"{row.row.peak_percent:.1f}",
                f"{100 * row.as_run.waterline_efficiency:.1f}",
                f"{row.share_of_waterline:.2f}",
                f"{100 * row.as_run.roofline_efficiency:.1f}",
                f"{100 * row.fused.waterline_efficiency:.1f}",
            )
            for row in rows
        ],
    )
    yield from (
        "",
        "GMACs: of convolutions and matrix products, as counted here; the paper's, which are timm's, are up to 4 % more. Measured, % peak: as",
        "printed in the paper. Roofline: of the whole network at once. Fused: a kernel a block, input, output and parameters once. Input: the paper",
        f"prints it beside {', '.join(lavin.SIZE_PRINTED)}; of the other baselines it is where timm's MACs are the paper's, and",
        "ConvFirstNet's is this project's choice. EfficientNet's accuracies seem to be of its own paper, its MACs and latencies of timm's models.",
        "",
    )


def ranking_section():
    """What ranks published latencies how well."""
    yield from (
        "## What ranks latencies",
        "",
        "Kendall's tau between a number and the published latencies: 1 where both order the networks alike, -1 where one is the other reversed.",
        "The greater the matrix efficiency measure (MEM), the faster a network should be: -MEM is its negative. MACs / MEM: the work that it weighs.",
        "Bytes and waterline: layer by layer, ConvFirst fused. Only networks of `refconv.networks`; differences of a tenth mean little among so few.",
        "",
    )
    every = settings()
    yield from table(
        ("latencies", "networks", *PREDICTORS),
        [(one.title, str(len(one.rows)), *(f"{tau:.2f}" for tau in rankings(one).values())) for one in every],
    )
    yield ""


def measure_section():
    """MEM of all networks."""
    weights = Weights()
    amounts = {name: network_amounts(network(name)) for name in names()}
    families = {}
    for name in names():
        families.setdefault(network(name).family, []).append(amounts[name])
    yield from (
        "## The matrix efficiency measure",
        "",
        "After ISyNet's MEM (arXiv 2109.01932), whose exact formula and weights were not available: formula and weights are ours",
        f"(`sim/analysis/matrix_efficiency.py`). MEM = M / (M + {weights.vector:g} V + {weights.data:g} D), for one image of the network's own size.",
        "",
    )
    rows = [(name, f"{a.matrix / 1e6:,.0f}", f"{a.vector / 1e6:.2f}", f"{a.data / 1e6:.2f}", f"{measure(a):.3f}") for name, a in amounts.items()]
    yield from table(("network", "M, millions", "V, millions", "D, millions", "MEM"), rows)
    yield from ("", "Families as spaces, the mean of their networks:", "")
    yield from table(("space", "networks", "MEM"), [(name, str(len(all_)), f"{space_measure(all_):.3f}") for name, all_ in families.items()])


def table(heads, rows):
    """The lines of a Markdown table: the first column to the left, all others to the right."""
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'---:|' * (len(heads) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
