"""The report of a simulated layer for a terminal: one look tells what moves, and whether memory or compute limits it."""

from rich.text import Text

from refconv.tables import Table, size
from sim.machine.quantities import show_bytes, show_count
from sim.report.energy import energy_report
from sim.trace.nontemporal import NONTEMPORAL


def layer_report(layer, machine):
    """The renderables of one LayerAccount: heading, levels, tensors, verdict."""
    return [
        *heading(layer),
        level_table(layer),
        *([class_table(layer)] if layer.levels[0].classified else []),
        tensor_table(layer),
        Text(f"Lower bound {show_bytes(layer.bound_bytes)}: {layer.bound_source}; traffic is {layer.bound_ratio:.2f} times that"),
        verdict(layer, machine),
        *energy_report(layer, machine),
        Text(""),
    ]


def heading(layer):
    """What is run: its name, problem, kernel, tiling, operations and workspace."""
    tile = " ".join(f"{name}={value}" for name, value in layer.tiling.items())
    return [
        *name_line(layer),
        Text(f"{layer.kernel} kernel, {layer.dtype}, {tile}"),
        *([Text("output as if stored past the caches (non-temporal): no kernel does so")] if layer.stores == NONTEMPORAL else []),
        Text(f"{show_count(layer.macs, 'MAC')} = {show_count(layer.flops, 'FLOP')}, workspace {show_bytes(layer.workspace_bytes)}"),
        *([Text(cores_line(layer.cores))] if layer.cores else []),
        *([Text(fewer_cores(layer))] if layer.cores_wanted else []),
    ]


def name_line(account):
    """The name and, where it is another, what it stands for."""
    return [Text.assemble((account.name, "bold"), f"   {account.descriptor}" if account.name != account.descriptor else "")]


def cores_line(cores):
    """What each core moves from and to DRAM."""
    each = ", ".join(f"{show_bytes(core.read_bytes)} + {show_bytes(core.write_bytes)}" for core in cores)
    return f"{len(cores)} cores take turns; DRAM bytes read + written by each: {each}"


def fewer_cores(layer):
    """Why fewer cores run than were asked for."""
    ran = f"{layer.number_of_cores} core{'s' if layer.cores else ''}"
    return f"{ran}, not the {layer.cores_wanted} asked for: as many as the kernel has units of work for this layer"


def level_table(layer):
    """Accesses, hits, misses of each level; bytes read from below, written back below, and flushed to DRAM at the end."""
    table = Table("Caches (accesses in lines)", "level", "loads", "stores", "hits", "misses", "hit rate", "bytes in", "bytes out", "flushed")
    asked = [*(level.loads for level in layer.levels[1:]), layer.dram.read_bytes // layer.levels[-1].line_bytes]
    for level, fills in zip(layer.levels, asked, strict=True):
        hits = level.accesses - level.misses
        rate = f"{100 * hits / level.accesses:.2f} %" if level.accesses else "-"
        counts = [f"{count:,}" for count in (level.loads, level.stores, hits, level.misses)]
        moved = (size(lines * level.line_bytes) for lines in (fills, level.writebacks, level.flushed))
        table.add_row(level.name, *counts, rate, *moved)
    return table


def class_table(layer):
    """The three classes of each level's misses, then of each tensor's at that level."""
    kinds = "compulsory", "capacity", "conflict"
    table = Table("Misses (conflict: beyond fully associative LRU of the same size; may be negative)", "level, tensor", *kinds)
    for i, level in enumerate(layer.levels):
        rows = {level.name: level} | {f"  {name}": tensor.levels[i] for name, tensor in layer.tensors.items()}
        for name, counts in rows.items():
            table.add_row(name, *(f"{count:,}" for count in (counts.compulsory_misses, counts.capacity_misses, counts.conflict_misses)))
    return table


def tensor_table(layer):
    """DRAM bytes of each tensor beside the bytes any algorithm must move."""
    table = Table("DRAM", "tensor", "size", "read", "written", "compulsory", "ratio")
    for name, tensor in layer.tensors.items():
        ratio = f"{tensor.moved_bytes / tensor.compulsory_bytes:.2f}" if tensor.compulsory_bytes else "-"
        sizes = tensor.bytes, tensor.read_bytes, tensor.write_bytes, tensor.compulsory_bytes
        table.add_row(name, *map(size, sizes), ratio)
    table.add_section()
    totals = layer.dram.read_bytes, layer.dram.write_bytes, layer.compulsory_bytes
    table.add_row("all", "", *map(size, totals), f"{layer.traffic_ratio:.2f}")
    return table


def verdict(layer, machine):
    """Intensity against the machine's balance: which of the two limits the layer, and what fraction of the peak memory allows."""
    intensity, balance, cores = layer.intensity, layer.balance_flop_per_byte, layer.number_of_cores
    whose = machine.name if cores == 1 else f"{cores} cores of {machine.name}"
    text = Text.assemble(
        f"Arithmetic intensity {intensity.compulsory:.2f} FLOP/B at compulsory traffic, {intensity.simulated:.2f} simulated; "
        f"balance of {whose} {balance:.2f} FLOP/B: as simulated ",
        (f"{layer.limited_by}-bound", "bold"),
    )
    if layer.limited_by == "memory":
        at_best = min(1, intensity.compulsory / balance)
        peak = "peak" if cores == 1 else f"the peak of {cores} cores"
        text.append(f", at most {100 * layer.attainable_efficiency:.0f} % of {peak} ({100 * at_best:.0f} % at compulsory traffic)")
    if cores > 1:
        text.append(f". The memory is taken to give {cores} cores together what it gives one")
    return text


def machine_line(machine, warm=False, cores=1):
    """The machine, and the start of its runs; cores: how many were asked for."""
    sizes = [f"{level.line_bytes} B" for level in machine.levels]
    lines = sizes[0] if len(set(sizes)) == 1 else ", ".join(sizes)
    levels = ", ".join(f"{v.name} {show_bytes(v.size_bytes)} {v.ways}-way" for v in machine.levels)
    whose = "one core" if cores == 1 else f"of one core, the bandwidth as what {cores} cores share"
    return Text(
        f"{machine.name}: {levels}, {lines} lines; {machine.vector_bytes} B vectors; "
        f"peak {machine.peak_flop_per_s / 1e9:.1f} GFLOP/s (float32), {machine.bandwidth_bytes_per_s / 1e9:.1f} GB/s, {whose}\n"
        f"{machine.policy(warm)}"
    )
