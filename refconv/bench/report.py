"""The benchmark's tables for a terminal."""

from refconv.bench.measure import geometric_mean
from refconv.tables import Table, show_parts


def report(host, versions, results, stacked, threads, arguments):
    """Print who was measured on what, a table for each set, and one for FasterNet's operators. versions: {peer: version}."""
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    head = f"{host['cpu']}, {host['isa']}: vectors of {host['vector_bytes']} B; {f'beside {peers}' if peers else 'no peers'}"
    rates = (
        f"peak {host['peak_flop_per_s'] / 1e9:.1f} GFLOP/s of one core at best ({arguments.dtype}), copy {host['copy_bytes_per_s'] / 1e9:.1f} GB/s; "
        f"{threads} thread{'s' if threads > 1 else ''}, {arguments.layout}, medians of {arguments.rounds} interleaved rounds"
    )
    tables = [set_table(name, records) for name, records in results.items()]
    found = [record["tuned"] for records in (*results.values(), stacked) for record in records]
    kept = sum(ratio is not None for ratio in found)
    tuned = [f"tuned: {kept} of {len(found)} tilings are those that refconv.tune has kept, the rest the rule's"] * bool(kept)
    show_parts([head, rates, *tuned, "", *tables, *([operator_table(stacked)] if stacked else [])])


def _shown(value, scale, digits):
    """A number times `scale`; - for None."""
    return "-" if value is None else f"{scale * value:.{digits}f}"


def set_table(name, records):
    """Milliseconds, GFLOP/s, % of the peak, share of layout conversion, ratio to the best peer, and to the fastest Winograd form; geometric means.

    tuned: of a tiling that refconv.tune has kept its time over that of the rule's, as measured then.
    """
    halves = any(record["float32_s"] for record in records)
    heading = "block" if name == "blocks" else "layer"
    converts = any(record["conversion_share"] for record in records)
    winograd = any(record["winograd"] for record in records)
    tuned = any(record["tuned"] for record in records)
    optional = [*["tuned"] * tuned, *["conversion"] * converts, *["float32 ms"] * halves]
    apart = ["Winograd"] * winograd
    result = Table(name, heading, "ms", "GFLOP/s", "% of peak", *optional, "best peer", "its ms", "ratio", *apart, left=("best peer",))
    for record in records:
        peer = (record["best_peer"] or "-", _shown(record["best_peer_s"], 1e3, 3), _shown(record["ratio"], 1, 2))
        numbers = (_shown(record["seconds"], 1e3, 3), _shown(record["flop_per_s"], 1e-9, 1), _shown(record["efficiency"], 100, 1))
        share = (f"{100 * record['conversion_share']:.0f} %" if record["conversion_share"] else "-",) if converts else ()
        wide = (_shown(record["float32_s"], 1e3, 3),) if halves else ()
        kept = (_shown(record["tuned"], 1, 2),) if tuned else ()
        result.add_row(record["descriptor"], *numbers, *kept, *share, *wide, *peer, *[_shown(record["winograd_ratio"], 1, 2)] * winograd)
    result.add_section()
    rate, efficiency, ratio = (_mean(record[key] for record in records) for key in ("flop_per_s", "efficiency", "ratio"))
    gain = (f"{_mean(record['float32_s'] and record['float32_s'] / record['seconds'] for record in records):.2f} x",) if halves else ()
    means = (_shown(rate, 1e-9, 1), _shown(efficiency, 100, 1), *[""] * (tuned + converts), *gain, "", "", _shown(ratio, 1, 2))
    others = [_shown(_mean(record["winograd_ratio"] for record in records), 1, 2)] * winograd
    result.add_row("geometric mean", "", *means, *others)
    return result


def _mean(values):
    """The geometric mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return geometric_mean(known) if known else None


def operator_table(records):
    """FasterNet's Table 1 here and in the paper, and PConv's FLOP/s as a multiple of DWConv's in each."""
    title = "FasterNet Table 1: ten stacked layers, float32, here and on the paper's CPU (one thread; 1 MAC = 2 FLOP in both)"
    tuned = any(record["tuned"] for record in records)
    result = Table(title, "operator", "map", "MFLOP", "ms", "GFLOP/s", "% of peak", *["tuned"] * tuned, "paper ms", "paper GFLOP/s")
    for record in records:
        numbers = (f"{1e3 * record['seconds']:.2f}", f"{record['flop_per_s'] / 1e9:.1f}", f"{100 * record['efficiency']:.1f}")
        paper = (f"{1e3 * record['paper_s']:.2f}", f"{record['paper_flop_per_s'] / 1e9:.1f}")
        kept = (_shown(record["tuned"], 1, 2),) if tuned else ()
        result.add_row(record["operator"], record["map"], f"{record['flops'] / 1e6:.1f}", *numbers, *kept, *paper)
    result.add_section()
    for side, key in (("here", "flop_per_s"), ("paper", "paper_flop_per_s")):
        rate = {name: [r[key] for r in records if r["operator"] == name] for name in ("PConv", "DWConv")}
        times = sum(rate["PConv"]) / sum(rate["DWConv"])
        here, paper = (f"{times:.1f} x" if side == name else "" for name in ("here", "paper"))
        result.add_row(f"PConv / DWConv, {side}", "", "", "", here, "", *[""] * tuned, "", paper)
    return result
