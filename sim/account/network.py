"""The traffic of a whole model: every layer that there is a kernel for, on caches that are empty when it starts."""

from refconv.elements import element
from refconv.graph.read import read_model
from refconv.static import Static
from sim.account.layer import planned, ready, simulate
from sim.account.trace_cost import MOST_ACCESSES, check_size, estimated_accesses
from sim.cli.parallel import run_all


def simulate_model(model, machine="host", *, input_shapes=(), batch=None, dtype="float32", bias=False, jobs=1, limit=MOST_ACCESSES, **options):
    """The traffic of a model as {"model": totals and what was not modelled, "layers": records as of sim.simulate, in the file's order}.

    model: the path of an ONNX graph or SCALE-Sim topology (sim.models.read_model, which takes input_shapes and batch), or a Model. machine,
    dtype: as in sim.simulate. bias: whether all layers have one (else those that have one in the file). jobs: processes; those besides this one
    are spawned, so that a script that asks for them needs `if __name__ == "__main__":`. limit: accesses that one layer may take. Layers
    of equal problems are simulated once. options: stores, warm, classify of sim.simulate. ValueError says what is illegal.
    """
    machine, dtype = ready(machine), element(dtype)
    if isinstance(model, str):
        model = read_model(model, input_shapes, batch)
    keys = [(layer.problem, bias or layer.bias) for layer in model.layers]
    distinct = dict(zip(reversed(keys), reversed(model.layers), strict=True))
    for (problem, _), layer in distinct.items():
        check_size(f"{layer.name} ({problem})", [problem], machine, dtype, limit)
    order = begun(list(distinct), machine, dtype)
    same = {"machine": machine, "dtype": str(dtype), **options}
    calls = [(simulate, {"kernel": None, "problem": problem, "bias": biased, **same}) for problem, biased in order]
    records = dict(zip(order, run_all(calls, jobs), strict=True))
    layers = [{**records[key], "name": layer.name, "op": layer.op} for key, layer in zip(keys, model.layers, strict=True)]
    return {"model": totals(model, layers), "layers": layers}


def begun(keys, machine, dtype):
    """The order to simulate in: longest first, but before all others one layer for each variant of a kernel, so that no two processes compile it."""
    longest = sorted(keys, key=lambda key: -estimated_accesses(key[0], machine, dtype))
    first = {}
    for key in longest:
        row, tiling = planned(None, key[0], machine, dtype)
        first.setdefault((row.name, *(value for value in tiling if isinstance(value, Static))), key)
    return list(dict.fromkeys((*first.values(), *longest)))


def totals(model, layers):
    """The sums of the layers' records, one after another, and what was not modelled with its share of all elements moved.

    workspace_bytes: the largest of a layer. bound_bytes: the sum of the layers' own. attainable_efficiency: operations over those possible
    while the layers run, each under its own roof.
    """
    add = lambda value: sum(map(value, layers))
    dram = {key: add(lambda layer, key=key: layer["dram"][key]) for key in ("read_bytes", "write_bytes", "flushed_bytes")}
    moved, least, flops = dram["read_bytes"] + dram["write_bytes"], add(lambda layer: layer["compulsory_bytes"]), add(lambda layer: layer["flops"])
    possible = add(lambda layer: layer["flops"] / layer["attainable_efficiency"])
    bound = add(lambda layer: layer["bound_bytes"])
    whole = model.elements
    share = lambda elements: None if elements is None else elements / whole
    return {
        "file": model.path,
        "macs": add(lambda layer: layer["macs"]),
        "flops": flops,
        "dram": dram,
        "compulsory_bytes": least,
        "traffic_ratio": moved / least,
        "bound_bytes": bound,
        "bound_ratio": moved / bound,
        "workspace_bytes": max(layer["workspace_bytes"] for layer in layers),
        "intensity": {"compulsory": flops / least, "simulated": flops / moved},
        "attainable_efficiency": flops / possible,
        "elements": whole,
        "modelled_share": share(sum(layer.elements for layer in model.layers)),
        "not_modelled": [{**node._asdict(), "share": share(node.elements)} for node in model.others],
        "notes": list(model.notes),
    }
