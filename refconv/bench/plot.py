"""The benchmark as a picture: achieved GFLOP/s of every layer, beside the best peer's and under the peak."""


def plot(results, path):
    """Write a bar chart of {set: records} to `path`; ImportError names the extra where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("needs matplotlib: pip install matplotlib (the extra bench)") from None
    records = [record for records in results.values() for record in records]
    figure = Figure(figsize=(max(6, 0.5 * len(records) + 2), 5), layout="constrained")
    axes = figure.subplots()
    places = range(len(records))
    axes.bar([i - 0.2 for i in places], [(r["flop_per_s"] or 0) / 1e9 for r in records], 0.4, label="refconv")
    peers = [(i, r["flops"] / r["best_peer_s"] / 1e9) for i, r in enumerate(records) if r["best_peer"]]
    if peers:
        axes.bar([i + 0.2 for i, _ in peers], [rate for _, rate in peers], 0.4, label="best peer")
    axes.plot(list(places), [r["peak_flop_per_s"] / 1e9 for r in records], "k_", markersize=12, label="peak of the moment")
    axes.set_xticks(list(places), [r["descriptor"] for r in records], rotation=60, ha="right", fontsize=7)
    axes.set_ylabel("GFLOP/s")
    axes.legend()
    figure.savefig(path)
