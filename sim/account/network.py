"""The traffic of a whole model: every layer that there is a kernel for, on caches that are empty when it starts."""

from refconv.elements import element
from refconv.graph.model import OtherNode
from refconv.graph.read import read_model
from refconv.static import Static
from sim.account.layer import checked_machine, scheduled, simulate
from sim.account.network_records import LeftOut, NetworkAccount, NetworkLayerAccount, NetworkTotals
from sim.account.parallel import run_all
from sim.account.records import Dram
from sim.account.trace_cost import MOST_ACCESSES, TooLarge, estimated_accesses
from sim.machine.quantities import show_count


def simulate_model(model, machine="host", *, input_shapes=(), batch=None, dtype="float32", bias=False, jobs=1, limit=MOST_ACCESSES, **options):
    """The NetworkAccount of a model (sim/account/network_records.py): totals, what was not modelled, its layers in the file's order.

    model: the path of an ONNX graph or SCALE-Sim topology (refconv.graph.read.read_model, which takes input_shapes and batch), or a Model.
    machine, dtype: as in sim.simulate. bias: whether all layers have one (else those that have one in the file). jobs: processes; those besides
    this one are spawned, so that a script that asks for them needs `if __name__ == "__main__":`. limit: accesses that one layer may take; a layer
    that takes more is not modelled, and TooLarge is raised where that is every layer. Layers of equal problems are simulated once. options:
    stores, warm, classify of sim.simulate. ValueError says what is illegal.
    """
    machine, dtype = checked_machine(machine), element(dtype)
    if isinstance(model, str):
        model = read_model(model, input_shapes, batch)
    if not model.layers:
        raise ValueError(f"model = {model.path}: must have a layer")
    model = small_enough(model, limit, machine, dtype)
    keys = [(layer.problem, bias or layer.bias) for layer in model.layers]
    order = simulation_order(list(dict.fromkeys(keys)), machine, dtype)
    same = {"machine": machine, "dtype": str(dtype), **options}
    calls = [(simulate, {"kernel": None, "problem": problem, "bias": biased, **same}) for problem, biased in order]
    records = dict(zip(order, run_all(calls, jobs), strict=True))
    layers = [NetworkLayerAccount(**{**vars(records[key]), "name": layer.name}, op=layer.op) for key, layer in zip(keys, model.layers, strict=True)]
    return NetworkAccount(totals=totals(model, layers), layers=tuple(layers))


def small_enough(model, limit, machine, dtype):
    """The Model with those layers among the others whose trace takes more than `limit` accesses; TooLarge where none is left."""
    needed = {problem: estimated_accesses(problem, machine, dtype) for problem in dict.fromkeys(layer.problem for layer in model.layers)}
    kept = [layer for layer in model.layers if needed[layer.problem] <= limit]
    if not kept:
        least = min(model.layers, key=lambda layer: needed[layer.problem])
        cost = f"takes about {show_count(needed[least.problem])} accesses: must be at most {show_count(limit)}"
        raise TooLarge(f"{model.path}: no layer is small enough to trace; the smallest, layer {least.name} ({least.problem}), {cost}")
    left = [
        OtherNode(layer.name, layer.op, layer.elements, f"not traced: takes about {show_count(needed[layer.problem])} accesses", layer.macs)
        for layer in model.layers
        if needed[layer.problem] > limit
    ]
    return model._replace(layers=tuple(kept), others=(*model.others, *left))


def simulation_order(keys, machine, dtype):
    """The order to simulate in: longest first, but before all others one layer for each variant of a kernel, so that no two processes compile it."""
    longest = sorted(keys, key=lambda key: -estimated_accesses(key[0], machine, dtype))
    first = {}
    for key in longest:
        row, _, tiling = scheduled(None, key[0], machine, dtype).calls[0][:3]
        first.setdefault((row.name, *(value for value in tiling if isinstance(value, Static))), key)
    return list(dict.fromkeys((*first.values(), *longest)))


def totals(model, layers):
    """The NetworkTotals of the layers' accounts."""

    def add(value):
        return sum(map(value, layers))

    whole = model.elements

    def of_all(elements):
        return None if elements is None else elements / whole

    return NetworkTotals(
        file=model.path,
        macs=add(lambda layer: layer.macs),
        dram=Dram(read_bytes=add(lambda layer: layer.dram.read_bytes), write_bytes=add(lambda layer: layer.dram.write_bytes)),
        flushed_bytes=add(lambda layer: layer.flushed_bytes),
        compulsory_bytes=add(lambda layer: layer.compulsory_bytes),
        bound_bytes=add(lambda layer: layer.bound_bytes),
        workspace_bytes=max(layer.workspace_bytes for layer in layers),
        attainable_efficiency=add(lambda layer: layer.flops) / add(lambda layer: layer.flops / layer.attainable_efficiency),
        elements=whole,
        modelled_share=model.modelled_share,
        not_modelled=tuple(LeftOut(**node._asdict(), share=of_all(node.elements)) for node in model.others),
        notes=tuple(model.notes),
    )
