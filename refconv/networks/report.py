"""What `python -m refconv.networks` shows: tables for a terminal, documents for JSON."""

from refconv.networks.counting import fvcore_macs
from refconv.networks.network_data import Network
from refconv.tables import Table

SCHEMA = 1
SCALES = {"": 1, "M": 10**6, "G": 10**9}
"""What units of parameters and MACs stand for."""


def digits(value):
    """A published number as it was printed."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def finest(network, what):
    """The Published record of a quantity that has the most digits, of one size rather than of an unknown one; None where there is none."""
    records = [one for one in network.published if one.what == what]
    return max(records, key=lambda one: (one.size is not None, len(str(one.value))), default=None)


def computed(network, one):
    """What is computed here beside a Published record, as text in its unit: parameters, and MACs without and with norms where the size is known."""
    if one.what == "parameters":
        return (f"{network.parameters:,}" if one.unit == "" else f"{network.parameters / SCALES[one.unit]:.3f}"), ""
    if one.what == "macs" and one.size is not None:
        return tuple(f"{count(network, one.size) / SCALES[one.unit]:.4f}" for count in (Network.macs, fvcore_macs))
    return "", ""


def list_table(networks):
    """A row a network: what is computed, and what is published beside it."""
    columns = ("network", "input", "blocks", "parameters M", "published", "MACs G", "published", "top-1 %", "published speed on")
    result = Table("Networks; published: the figure with the most digits (of one network, all are shown with their sources)", *columns)
    family = None
    for network in networks:
        if family not in (None, network.family):
            result.add_section()
        family = network.family
        parameters, macs, top1 = (finest(network, what) for what in ("parameters", "macs", "top1"))
        at = "" if macs is None or macs.size == network.size else f" at {macs.size} px" if macs.size else ", size not said"
        result.add_row(
            network.name + "*" * bool(network.remark),
            str(network.size),
            str(len(network.blocks)),
            f"{network.parameters / 1e6:.3f}",
            "" if parameters is None else f"{digits(parameters.value)} {parameters.unit}".rstrip(),
            f"{network.macs() / 1e9:.3f}",
            "" if macs is None else f"{digits(macs.value)}{at}",
            "" if top1 is None else digits(top1.value),
            ", ".join(dict.fromkeys(one.machine for one in network.published if one.what in ("latency", "throughput"))),
        )
    return result


def shape_text(shape):
    """(n, h, w, c) as rows x columns x channels."""
    return "x".join(map(str, shape[1:]))


def kind_text(kind):
    """A record of the language in a few words: its name and its numbers but for the channels that it makes and those that are as by default."""
    plain = {"channels": None, **kind._field_defaults}
    given = {name: value for name, value in kind._asdict().items() if name not in plain or (name in NUMBERS and value != plain[name])}
    numbers = ", ".join(f"{name} {_value_text(value)}" for name, value in given.items())
    return f"{type(kind).__name__} {numbers}".rstrip()


NUMBERS = ("kernel", "size", "stride", "hidden", "group_width", "squeezed", "edges")
"""Fields of records of the language that are shown."""


def _value_text(value):
    if isinstance(value, tuple):
        return "-".join(f"{edge[0]}s" if isinstance(edge, tuple) else str(edge) for edge in value)
    return "none" if value is None else str(value)


def block_macs(block, steps):
    """Multiply-adds of a block for one image; steps: the network's for one image."""
    return sum(steps[name].macs for name in block.steps)


def show_tables(network, size):
    """Tables of a network on an input of that size: its blocks, and what has been published about it."""
    steps = network.steps(1, size)
    result = Table(f"{network.name} ({network.family}), input {size}x{size}x3", "block", "made of", "output", "parameters", "MACs", left=("made of",))
    stage = None
    for block in network.blocks:
        if stage not in (None, block.stage):
            result.add_section()
        stage = block.stage
        numbers = f"{block.parameters:,}", f"{block_macs(block, steps):,}"
        result.add_row(block.name, kind_text(block.kind), shape_text(steps[block.steps[-1]].shape), *numbers)
    result.add_section()
    result.add_row("all", "", "", f"{network.parameters:,}", f"{network.macs(size):,}")
    return [result, *([published_table(network)] if network.published else [])]


def published_table(network):
    """A row a Published record, parameters and MACs with those computed here."""
    columns = ("what", "source", "where", "value", "here", "with norms, as fvcore")
    result = Table("Published, and computed here", *columns, left=("source", "where"))
    for one in network.published:
        where = [one.machine, one.batch and f"batch {one.batch}", one.dtype, one.size and f"{one.size} px"]
        source = one.source if one.standing == "read" else f"{one.source} ({one.standing})"
        value = f"{digits(one.value)} {one.unit}".rstrip()
        result.add_row(one.what, source, ", ".join(filter(None, where)), value, *computed(network, one))
    return result


def list_document(networks):
    """The table of networks for JSON."""
    return {"schema": SCHEMA, "networks": [_summary(network, network.size) for network in networks]}


def show_document(network, size):
    """A network on an input of that size for JSON: its blocks, and in them its steps."""
    steps = network.steps(1, size)
    blocks = [
        {
            "name": block.name,
            "stage": block.stage,
            "kind": type(block.kind).__name__,
            **{name: value for name, value in block.kind._asdict().items() if name not in ("name", "stage")},
            "parameters": block.parameters,
            "macs": block_macs(block, steps),
            "steps": [_step(steps[name]) for name in block.steps],
        }
        for block in network.blocks
    ]
    return {"schema": SCHEMA, **_summary(network, size), "blocks": blocks}


def _step(sized):
    descriptor = None if sized.problem is None else str(sized.problem)
    return {"name": sized.step.name, "op": sized.step.op, "problem": descriptor, "shape": list(sized.shape), "macs": sized.macs}


def _summary(network, size):
    numbers = {"size": size, "parameters": network.parameters, "macs": network.macs(size)}
    published = [one._asdict() for one in network.published]
    return {"name": network.name, "family": network.family, **numbers, "remark": network.remark, "published": published}


def file_table(model):
    """A row a layer of a Model read from a file."""
    result = Table(model.path, "layer", "made of", "problem", "output", "weights", "MACs", left=("made of", "problem"))
    for layer in model.layers:
        problem = layer.problem
        shape = f"{problem.p}x{problem.q}x{problem.k}"
        result.add_row(layer.name, layer.op, str(problem), shape, f"{layer.parameters:,}", f"{layer.macs:,}")
    return result


def file_document(model):
    """A Model read from a file for JSON."""
    layers = [
        {
            "name": layer.name,
            "op": layer.op,
            "problem": str(layer.problem),
            "weights": layer.parameters,
            "macs": layer.macs,
        }
        for layer in model.layers
    ]
    others = [node._asdict() for node in model.others]
    return {"schema": SCHEMA, "path": model.path, "macs": model.macs, "layers": layers, "others": others, "notes": list(model.notes)}
