"""The benchmark's tables of networks for a terminal."""

from refconv.bench.measure import geometric_mean
from refconv.graph.model import sizes_text
from refconv.tables import Table, count, show_parts

CONTENDERS = ("onnxruntime", "openvino", "torch eager", "torch compile")
"""Columns: the best form of each, forms told by what their names begin with."""


def network_table(name, records):
    """A row a network: our time and rate, the best time of each contender, the best of all over ours; of these the geometric mean and the least."""
    there = [one for one in CONTENDERS if any(_best(record, one) for record in records)]
    ratios = ["ratio"] * bool(there)
    result = Table(name, "network", "ms", "GFLOP/s", "% of peak", *(f"{one} ms" for one in there), *ratios)
    for record in records:
        times = [_milliseconds(_best(record, one)) for one in there]
        rate = f"{record['flop_per_s'] / 1e9:.1f}", f"{100 * record['efficiency']:.1f}"
        result.add_row(record["descriptor"], _milliseconds(record["seconds"]), *rate, *times, *[_ratio(record["ratio"])] * bool(there))
    if there and len(records) > 1:
        result.add_section()
        times = [[_best(record, one) and _best(record, one) / record["seconds"] for record in records] for one in there]
        of_each = [f"{geometric_mean(ratios):.2f} x" if all(ratios) else "" for ratios in times]
        overall = [record["ratio"] for record in records if record["ratio"]]
        result.add_row("geometric mean", "", "", "", *of_each, _ratio(geometric_mean(overall)))
        result.add_row("least", "", "", "", *(f"{min(ratios):.2f} x" if all(ratios) else "" for ratios in times), _ratio(min(overall)))
    return result


def pairs_table(records):
    """Lavin's comparison: ConvNeXt by peers over the ConvFirst network of about its accuracy by this project; records: pairs, ConvFirst first."""
    peers = {"torch compile": lambda record: _best(record, "torch compile"), "best peer": lambda record: record["best_peer_s"]}
    there = [one for one, of in peers.items() if all(map(of, records[1::2]))]
    columns = ["ConvFirst ms", "ConvNeXt ms", *(column for one in there for column in (f"{one} ms", f"{one} / ConvFirst"))]
    result = Table("ConvFirst by this project, ConvNeXt by it and by peers", "pair", *columns)
    pairs = list(zip(records[::2], records[1::2], strict=True))
    for first, other in pairs:
        mine = first["seconds"]
        theirs = [text for one in there for text in (_milliseconds(peers[one](other)), f"{peers[one](other) / mine:.2f}")]
        result.add_row(f"{first['name']} : {other['name']}", _milliseconds(mine), _milliseconds(other["seconds"]), *theirs)
    if there:
        result.add_section()
        means = [f"{geometric_mean([peers[one](other) / first['seconds'] for first, other in pairs]):.2f}" for one in there]
        result.add_row("geometric mean", "", "", *(text for mean in means for text in ("", mean)))
    return result


def _best(record, contender):
    """The least time of a contender's forms, None where it has none."""
    return min((seconds for form, seconds in record["times_s"].items() if form.startswith(contender)), default=None)


def _ratio(value):
    return "-" if value is None else f"{value:.2f}"


def _milliseconds(seconds):
    return "-" if seconds is None else f"{1e3 * seconds:.2f}"


def report_steps(machine, found, threads, rounds):
    """Print a table of calls for each network, {name: records of refconv/bench/network_steps.py}, and one of its kernels."""
    head = f"{machine['cpu']}, {machine['isa']}: vectors of {machine['vector_bytes']} B; medians of {rounds} runs"
    rates = f"peak {machine['peak_flop_per_s'] * threads / 1e9:.1f} GFLOP/s, copy {machine['copy_bytes_per_s'] / 1e9:.1f} GB/s"
    show_parts([head, rates, "", *(table for name, records in found.items() for table in (steps_table(name, records), kernels_table(records)))])


def steps_table(name, records):
    """A row a call: its time, its share of all, its rates, and the part of its time that its roof is."""
    columns = ("step", "op", "kernel", "output", "ms", "% of time", "GFLOP/s", "% of peak", "GB/s", "roof / time")
    result = Table(f"{name}: every call", *columns, left=("op", "kernel", "output"))
    whole = sum(record["seconds"] for record in records)
    for record in records:
        arithmetic = (f"{record['flop_per_s'] / 1e9:.1f}", f"{100 * record['efficiency']:.1f}") if record["flops"] else ("", "")
        share = f"{1e3 * record['seconds']:.3f}", f"{100 * record['seconds'] / whole:.1f}"
        memory = f"{record['bytes_per_s'] / 1e9:.1f}", f"{record['roof_s'] / record['seconds']:.2f}"
        result.add_row(record["step"], record["op"], record["kernel"], sizes_text(record["shape"]), *share, *arithmetic, *memory)
    return result


def kernels_table(records):
    """A row a kernel, and one for all: calls, time, multiply-adds, rates."""
    result = Table("By kernel", "kernel", "calls", "ms", "% of time", "MACs", "GFLOP/s", "% of peak", "GB/s", "roof / time")
    groups = {}
    for record in records:
        groups.setdefault(f"{record['kernel']} {record['op']}" if record["kernel"] == "numpy" else record["kernel"], []).append(record)
    whole = sum(record["seconds"] for record in records)
    for name, group in sorted(groups.items(), key=lambda entry: -sum(record["seconds"] for record in entry[1])):
        result.add_row(name, *_totals(group, whole))
    result.add_section()
    result.add_row("all", *_totals(records, whole))
    return result


def _totals(group, whole):
    seconds, flops, bytes_moved, roof = (sum(record[key] for record in group) for key in ("seconds", "flops", "bytes", "roof_s"))
    peak = next((record["flop_per_s"] / record["efficiency"] for record in group if record["flops"]), None)
    arithmetic = (count(flops // 2), f"{flops / seconds / 1e9:.1f}", f"{100 * flops / seconds / peak:.1f}") if flops else ("", "", "")
    times = f"{1e3 * seconds:.3f}", f"{100 * seconds / whole:.1f}"
    return str(len(group)), *times, *arithmetic, f"{bytes_moved / seconds / 1e9:.1f}", f"{roof / seconds:.2f}"
