"""The report of a whole model for a terminal: a row a layer, the totals, and what was not modelled."""

from collections import Counter

from rich.text import Text

from refconv.tables import Table, count, size
from sim.machine.quantities import show_bytes, show_count


def model_report(model, layers):
    """The renderables of a NetworkTotals and its layers' accounts."""
    yield Text.assemble((model.file, "bold"), f"   {kinds(layers)}: {show_count(model.macs, 'MAC')} = {show_count(model.flops, 'FLOP')}")
    yield layers_table(model, layers)
    caches = "empty caches" if layers[0].start == "cold" else "caches as it left them"
    yield Text(f"Each layer on {caches}, dirty lines written at its end. Attainable, one layer after another: {efficiency(model)} of the peak.")
    yield Text(f"Lower bound {show_bytes(model.bound_bytes)}, the layers' own added up; traffic is {model.bound_ratio:.2f} times that.")
    if model.not_modelled:
        yield from not_modelled(model)
        yield from missing_macs(model)


def kinds(layers):
    """What the layers were, counted."""
    return ", ".join(f"{count} {op}" for op, count in Counter(layer.op for layer in layers).items())


def efficiency(record):
    """attainable_efficiency as text."""
    return f"{100 * record.attainable_efficiency:.0f} %"


def layers_table(model, layers):
    """A row a layer, and the totals."""
    table = Table("Layers", "layer", "problem", "kernel", "MACs", "DRAM read", "written", "ratio", "FLOP/B", "limited by", "attainable")

    def row(record, limited_by, *names):
        moved = map(size, (record.dram.read_bytes, record.dram.write_bytes))
        rates = f"{record.traffic_ratio:.2f}", f"{record.intensity.simulated:.2f}", limited_by, efficiency(record)
        table.add_row(*names, count(record.macs), *moved, *rates)

    for layer in layers:
        row(layer, layer.limited_by, Text(layer.name), layer.descriptor, layer.kernel)
    table.add_section()
    row(model, "", "all", "", "")
    return table


def not_modelled(model):
    """The nodes that were not modelled, by kind, with the elements that they move."""
    nodes, elements, unknown = Counter(), Counter(), Counter()
    for node in model.not_modelled:
        key = node.op, node.remark
        nodes[key] += 1
        elements[key] += node.elements or 0
        unknown[key] += node.elements is None
    table = Table(
        f"Not modelled: {share_left_out(model, 'that all nodes move')}",
        "op",
        "nodes",
        "elements",
        "share",
        "why",
        left=("why",),
    )
    moving = [key for key in nodes if elements[key] or unknown[key]]
    for key in sorted(moving, key=lambda key: -elements[key]):
        known = count(elements[key]), percent(elements[key] / model.elements)
        table.add_row(Text(key[0]), str(nodes[key]), *(known if not unknown[key] else ("unknown", "-")), key[1])
    yield table if moving else Text("Every node that moves elements is modelled.")
    still = ", ".join(f"{op} {nodes[op, remark]} ({remark})" for op, remark in nodes if not elements[op, remark] and not unknown[op, remark])
    if still:
        yield Text(f"Nothing is moved by {still}.")


def missing_macs(model):
    """What is missing of the network's multiply-adds, as far as it is known, in a line; nothing where none is missing."""
    known, unknown = Counter(), Counter()
    for node in model.not_modelled:
        known[node.op, node.remark] += node.macs or 0
        unknown[node.op, node.remark] += node.macs is None
    if model.macs_not_modelled:
        whole = model.macs + model.macs_not_modelled
        each = ", ".join(f"{show_count(macs, 'MAC')} of {op} ({remark})" for (op, remark), macs in known.items() if macs)
        yield Text(f"Not in the totals: {percent(model.macs_not_modelled / whole)} of the MACs that are known: {each}.")
    if model.nodes_of_unknown_macs:
        each = ", ".join(f"{op} {count} ({remark})" for (op, remark), count in unknown.items() if count)
        yield Text(f"Not in the totals, and not known: the MACs of {each}.")


def share_left_out(model, which):
    """What nodes that were not modelled move, as a part of the elements `which`; those of nodes whose sizes are not known are no part of it."""
    share, unknown = percent(1 - model.modelled_share), model.nodes_of_unknown_size
    if not unknown:
        return f"{share} of the elements {which}"
    return f"{share} of the elements {which}, as far as they are known; those of {unknown} node{'s' if unknown > 1 else ''} are not"


def percent(part):
    """A part of the whole as text."""
    return f"{100 * part:.1f} %"


def left_out(model):
    """What was not modelled in one line, for the forms that have no place for it."""
    nodes = [node for node in model.not_modelled if node.elements != 0]
    ops = ", ".join(f"{op} {count}" for op, count in Counter(node.op for node in nodes).items())
    known = f", {show_count(model.macs_not_modelled, 'MAC')}" if model.macs_not_modelled else ""
    unknown = f"; MACs not known of {model.nodes_of_unknown_macs} nodes" if model.nodes_of_unknown_macs else ""
    return f"{model.file}: not modelled, {share_left_out(model, 'moved')}{known}: {ops or 'nothing'}{unknown}"
