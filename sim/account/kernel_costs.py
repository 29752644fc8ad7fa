"""A network as kernels one after another: what each computes, and the bytes that it must move at least (its compulsory traffic).

Layer by layer, a kernel is a convolution with all that can happen as it reads or stores (Graph.merged of refconv/problem/steps.py): bias,
activation, scale, gates, residual, concatenation; norms and pools are kernels of their own. Fused, a kernel is a block: it reads what comes from
outside the block and all its parameters, and writes what others take, once; its hidden layers cost nothing. That is what any fusion moves at least:
one that cannot keep the hidden layer of squeeze-excitation on the chip moves or computes more. Vectors that may be folded beforehand
(Graph.foldable) are not read. Derived here.
"""

from refconv.networks.network_data import Network
from refconv.problem.steps import CONVOLUTIONS, tensor_elements
from sim.analysis.waterline import KernelCost


def layer_costs(network, n, size, itemsize):
    """The KernelCosts of a Network layer by layer, in order, for n images of size x size pixels and elements of itemsize bytes."""
    sized, shape = sized_network(network, n, size)
    graph, folded, result = network.graph, network.graph.foldable(), []
    for merged in graph.merged(*shape):
        problem = merged.problem
        elements = merged.read + merged.written + _parameter_elements(graph, sized, (merged.name,), merged.parameters, folded)
        result.append(KernelCost(merged.name, problem.macs if problem else 0, elements * itemsize))
    return result


def block_costs(network, n, size, itemsize):
    """As layer_costs, a kernel a Block of the network."""
    sized, shape = sized_network(network, n, size)
    graph, folded, result = network.graph, network.graph.foldable(), []
    elements = tensor_elements(shape, sized)
    takers = {name: {step.name for step in steps} for name, steps in graph.takers().items()}
    for block in network.blocks:
        own, read = set(block.steps), {}
        for name in block.steps:
            step, problem, _ = sized[name]
            for source in step.sources:
                if source not in own:
                    taken = problem.compulsory["input"] if step.op in CONVOLUTIONS else elements[source]
                    read[source] = max(read.get(source, 0), taken)
        written = sum(elements[name] for name in block.steps if name not in takers or not own.issuperset(takers[name]))
        names = tuple(array for name in block.steps for array in sized[name].step.parameters.values() if array in graph.parameters)
        moved = sum(read.values()) + written + _parameter_elements(graph, sized, block.steps, names, folded)
        macs = sum(sized[name].macs for name in block.steps)
        result.append(KernelCost(block.name, macs, moved * itemsize))
    return result


def file_costs(model, itemsize):
    """The KernelCosts of a Model read from a file: a kernel a layer; what was not modelled is left out."""
    return [KernelCost(layer.name, layer.macs, (sum(layer.problem.compulsory.values()) + layer.bias_elements) * itemsize) for layer in model.layers]


def sized_network(network, n, size):
    """({name: SizedStep}, shape of the input) of a Network."""
    if not isinstance(network, Network):
        raise ValueError(f"network = {network!r}: must be a Network of refconv.networks")
    return network.steps(n, size), network.shape(n, size)


def _parameter_elements(graph, sized, steps, names, folded):
    """Elements of the parameters of those names that a kernel of these steps reads: of weights of convolutions those that meet an input."""
    weights = {sized[name].step.parameters["weight"]: sized[name].problem for name in steps if sized[name].step.op in CONVOLUTIONS}
    of_weights = sum(problem.compulsory["weight"] for problem in weights.values())
    return of_weights + sum(graph.parameters[name].size for name in dict.fromkeys(names) if name not in weights and name not in folded)
