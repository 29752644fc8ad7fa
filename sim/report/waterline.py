"""The report of a waterline for a terminal: a row a kernel, and the verdict in one sentence."""

from rich.text import Text

from refconv.graph.model import printable
from refconv.tables import Table, count, size
from sim.account.waterline import COMPULSORY
from sim.machine.quantities import show_bytes, show_count, show_time
from sim.report.network import percent


def waterline_report(account, machine):
    """The renderables of a WaterlineAccount."""
    yield Text(rates_line(account, machine))
    yield Text("")
    yield Text.assemble(
        (printable(account.name), "bold"), f"   {described(account)}: {show_count(account.flops, 'FLOP')}, {show_bytes(account.bytes)}"
    )
    yield kernel_table(account)
    if account.left_out:
        yield Text(f"Left out, so that what can be attained is less: {account.left_out}.")
    yield Text(verdict(account, machine))


def rates_line(account, machine):
    """The machine as the waterline takes it."""
    return (
        f"{machine.name}: peak {account.peak_flop_per_s / 1e9:,.1f} GFLOP/s ({account.dtype}), {account.bandwidth_bytes_per_s / 1e9:,.1f} GB/s, "
        f"balance {account.balance_flop_per_byte:.1f} FLOP/B ({machine.source})"
    )


def described(account):
    """How the network is run."""
    images = [] if account.batch is None else [f"batch {account.batch} of {account.size}x{account.size}"]
    return ", ".join([account.kernels_are, account.dtype, *images])


def kernel_table(account):
    """A row a kernel, and the whole."""
    moving = "what it must" if account.traffic == COMPULSORY else "what its convolution or block is simulated to move on empty caches"
    title = f"Kernels one after another, each moving {moving}, and no faster than its roof"
    table = Table(title, "kernel", "MACs", "bytes", "FLOP/B", "limited by", "attainable", "time at least us", "share of time")

    def row(name, record, limited_by, efficiency):
        times = f"{1e6 * record.latency_s:,.1f}", percent(record.latency_s / account.latency_s)
        table.add_row(name, count(record.macs), size(record.bytes), f"{record.intensity:.2f}", limited_by, percent(efficiency), *times)

    for kernel in account.kernels:
        row(Text(printable(kernel.name)), kernel, kernel.limited_by, kernel.attainable_efficiency)
    table.add_section()
    row("all", account, "", account.waterline_efficiency)
    return table


def verdict(account, machine):
    """The waterline in one sentence."""
    under = len(account.memory_bound)
    lie = f"none of its {len(account.kernels)} kernels lies" if not under else f"{under} of its {len(account.kernels)} kernels lie"
    spent = f" and take {percent(account.memory_bound_share)} of the time" if under else ""
    return (
        f"On {machine.name}, {account.name} ({account.kernels_are}) reaches at most {percent(account.waterline_efficiency)} of the peak "
        f"and takes at least {show_time(account.latency_s)} (the roofline of the whole would allow {percent(account.roofline_efficiency)}): "
        f"{lie} under water, below {account.balance_flop_per_byte:.1f} FLOP/B,{spent or ' and arithmetic takes all of the time'}."
    )
