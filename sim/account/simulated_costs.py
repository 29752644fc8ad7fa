"""A network as kernels one after another, as sim/account/kernel_costs.py has it, with the bytes that runs of them move on simulated caches.

A kernel that this project has (a convolution; fused, a block) moves what its run on empty caches moves between them and DRAM, dirty lines written at
its end; every other, and what happens beside a convolution (a bias, the other tensor of a sum), moves what it must.
"""

from refconv.elements import element
from refconv.graph.model import Model, ModelLayer
from refconv.problem.steps import CONVOLUTIONS, INPUT
from refconv.schedule import block_schedule
from refconv.weights.blocks import block_problem
from sim.account.block import fused_account
from sim.account.kernel_costs import layer_costs, sized_network
from sim.account.network import simulate_model
from sim.account.parallel import run_all
from sim.account.trace_cost import MOST_ACCESSES, TooLarge, check_size
from sim.analysis.waterline import KernelCost


def simulated_costs(network, n, size, machine, dtype, *, fused=False, limit=MOST_ACCESSES, jobs=1):
    """The KernelCosts of a Network in order, for n images of size x size pixels: layer by layer as layer_costs has them.

    fused: blocks that this project has a fused kernel for (Block.record) are a kernel each; multiply-adds that it makes twice are not counted.
    machine: a Machine with caches; dtype: an Element; limit: accesses that a layer or block may take; jobs: processes. TooLarge names one that
    takes more.
    """
    sized, shape = sized_network(network, n, size)
    blocks = [block for block in network.blocks if fused and block.record is not None]
    inside = {name for block in blocks for name in block.steps}
    problems = {name: step.problem for name, step in sized.items() if step.step.op in CONVOLUTIONS and name not in inside}
    layers = tuple(ModelLayer(name, "Conv", problem) for name, problem in problems.items())
    moved = dict(zip(problems, _moved(Model(network.name, layers, ()), machine, dtype, limit, jobs), strict=True)) if layers else {}
    least = {name: sum(problem.compulsory.values()) * dtype.itemsize for name, problem in problems.items()}
    apart = {
        cost.name: cost._replace(bytes=cost.bytes + moved.get(cost.name, 0) - least.get(cost.name, 0))
        for cost in layer_costs(network, n, size, dtype.itemsize)
    }
    images = {block.name: (n, *_taken(sized, shape, block.steps[0])[1:3]) for block in blocks}
    bytes_of = _fused(network.name, {block.name: (block.record, *images[block.name]) for block in blocks}, machine, dtype, limit, jobs)
    costs = []
    for block in network.blocks:
        if block.name in images:
            costs.append(KernelCost(block.name, block.record.macs(*images[block.name]), bytes_of[block.name]))
        else:
            costs += [apart[name] for name in block.steps if name in apart]
    return costs


def simulated_file_costs(model, machine, dtype, *, limit=MOST_ACCESSES, jobs=1):
    """As file_costs of a Model, each layer with what its run moves. limit, jobs, TooLarge: as of simulated_costs."""
    moved = _moved(model, machine, dtype, limit, jobs)
    return [KernelCost(layer.name, layer.macs, of_layer) for layer, of_layer in zip(model.layers, moved, strict=True)]


def _taken(sized, shape, name):
    """The shape (n, h, w, c) of the first tensor that a step takes; shape: of the network's input."""
    source = sized[name].step.sources[0]
    return shape if source == INPUT else sized[source].shape


def _moved(model, machine, dtype, limit, jobs):
    """The bytes that each layer of a Model moves, in order."""
    result = simulate_model(model, machine, dtype=str(dtype), limit=limit, jobs=jobs)
    for node in result.totals.not_modelled[len(model.others) :]:
        raise TooLarge(f"{model.path}: layer {node.name} is {node.remark}")
    return [layer.moved_bytes for layer in result.layers]


def _fused(network, blocks, machine, dtype, limit, jobs):
    """{name: bytes that its fused kernel moves} of blocks {name: (record, n, h, w)}; equal problems are run once."""
    lanes, names_of = machine.target.lanes(dtype.work.itemsize), {}
    for name, (record, *images) in blocks.items():
        names_of.setdefault(block_problem(record, *images, lanes), []).append(name)
    first = [blocks[names[0]] for names in names_of.values()]
    for (name, *_), (record, *images) in zip(names_of.values(), first, strict=True):
        check_size(f"{network}: {name}", [problem for _, problem in record.layers(*images)], machine, dtype, limit)
    moved = run_all([(fused_bytes, {"block": block, "machine": machine, "dtype": str(dtype)}) for block in first], jobs)
    return {name: of_block for names, of_block in zip(names_of.values(), moved, strict=True) for name in names}


def fused_bytes(block, machine, dtype):
    """Bytes that the fused kernel of a block (record, n, h, w) moves between the machine's caches and DRAM."""
    record, *images = block
    return fused_account(block_schedule(record, *images, element(dtype), machine.target), record, images, machine).moved_bytes
