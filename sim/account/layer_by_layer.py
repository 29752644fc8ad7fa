"""A residual block layer by layer on a simulated machine: this project's layer kernels one after another, nothing flushed in between.

The output of a layer is the input of the next, so what stays in cache is not moved again. Every buffer has a place of its own. Bias and
activation happen as the convolution stores. What is no convolution is a stream: LayerNorm, blur pool and the pool of
squeeze-excitation read their tensors and write theirs once, a share of each in turn; what the last convolution takes besides its input (gates,
layer scale, residual) is read once more when it is done, and costs no store. That is Block.unfused_elements, on real caches.
"""

import time
from collections import Counter
from typing import Any, NamedTuple

from refconv import kernels
from refconv.jit import kernel
from refconv.parts.staging import ONE
from refconv.tile import lanes, length, load, store, zero
from sim.account.layer import Lines, Work, account, call_kernel, packed_elements, plain_numbers
from sim.account.records import OPERANDS, LayerAccount, LayerByLayerAccount
from sim.analysis.bounds import Bound, chain_bound
from sim.trace.nontemporal import TEMPORAL
from sim.trace.run import Run

STREAM = "stream"
"""The kernel of a step that is no convolution."""


class Link(NamedTuple):
    """A step and its tensors: `source` is its operand, `besides` are read too, `made` is written."""

    step: Any
    source: str
    besides: tuple
    made: str


def links(block, n, h, w):
    """The Links of a block, in order: tensors are "input", "output", and <step>_output in between."""
    block.sized(n, h, w)  # raises where the map is illegal
    steps = block.graph.merged(n, h, w, block.c)
    names = {"input": "input", **{step.name: f"{step.name}_output" for step in steps}, steps[-1].name: "output"}
    return [Link(step, names[step.source], tuple(names[tensor] for tensor in step.besides), names[step.name]) for step in steps]


def hidden_tensors(block, n, h, w):
    """Names of the block's hidden layers: what lies between expansion and projection, on the whole map."""
    names = [link.step.name for link in links(block, n, h, w)]
    first = "expand" if "expand" in names else "conv"
    between = names[names.index(first) : -1]
    return [f"{name}_output" for name in between if not name.startswith("se_")]


@kernel
def stream(sources, out, parts):
    """Load every element of each source and store every one of `out`, in `parts` equal shares, one share of each in turn."""
    n = lanes(out)
    for part in range(parts):
        for x in sources:
            last = length(x) * (part + 1) // parts
            for i in range(length(x) * part // parts, last, n):
                load(ONE, ONE, x, i, 0, last - i)
        last = length(out) * (part + 1) // parts
        for i in range(length(out) * part // parts, last, n):
            store(out, i, 0, zero(ONE, ONE, out), last - i, 0)


class Layer(NamedTuple):
    """A step made ready: its kernel and tiling (None: a stream), and the numbers of its buffers; least: compulsory elements by tensor.

    operands: (input, weight, bias, output) of a kernel, (sources ..., output) of a stream; streamed: what is read besides; work: workspace.
    """

    link: Link
    row: Any
    tiling: Any
    operands: tuple
    streamed: tuple
    work: tuple
    least: Counter


class Layout:
    """Buffers [(name, elements, itemsize)] in the order they lie in memory, and the numbers of the tensors between layers by name."""

    def __init__(self, dtype):
        self.dtype, self.buffers, self.tensors = dtype, [], {}

    def add(self, name, elements):
        """The number of a new buffer of the tensors' type."""
        self.buffers.append((name, elements, self.dtype.itemsize))
        return len(self.buffers) - 1

    def work(self, name, elements):
        """The number of a new buffer of the type of sums."""
        self.buffers.append((name, elements, self.dtype.work.itemsize))
        return len(self.buffers) - 1

    def tensor(self, name, elements):
        """The number of a new tensor between layers."""
        self.tensors[name] = self.add(name, elements)
        return self.tensors[name]

    def parameters(self, arrays):
        """Numbers of new buffers for arrays {field: elements}: those that are added are named "bias", the others "weight"."""
        return [self.add("bias" if field.endswith("bias") else "weight", elements) for field, elements in arrays.items()]

    def least(self, numbers):
        """Counter {name: elements} of buffers that are met once."""
        total = Counter()
        for number in numbers:
            name, elements, _ = self.buffers[number]
            total[name] += elements
        return total


def convolution(link, own, layout, target):
    """The Layer of a convolution; own: {field: elements} of its weight, its bias and what else it takes."""
    name, problem, dtype = link.step.name, link.step.problem, layout.dtype
    lanes = target.lanes(dtype.work.itemsize)
    row = kernels.choose(problem, lanes)
    tiling = row.tiling(problem, dtype.work.itemsize, target)
    weight, bias = layout.add("weight", packed_elements(row, problem, lanes)), layout.add("bias", own.get(f"{name}_bias", 0))
    besides = layout.parameters({field: size for field, size in own.items() if field not in (f"{name}_weight", f"{name}_bias")})
    streamed = *(layout.tensors[tensor] for tensor in link.besides), *besides
    operands = layout.tensors[link.source], weight, bias, layout.tensor(link.made, problem.tensors["output"])
    work = [layout.work(f"{name}_{buffer}", size) for buffer, size in row.workspace(problem, tiling, lanes, dtype.half).items()]
    least = layout.least((bias, *streamed))
    least.update({link.source: problem.compulsory["input"], "weight": problem.compulsory["weight"], link.made: problem.compulsory["output"]})
    return Layer(link, row, tiling, operands, streamed, tuple(work), least)


def between(link, own, layout):
    """The Layer of a step that is no convolution; own: {field: elements} of its parameters."""
    sources = [layout.tensors[tensor] for tensor in (link.source, *link.besides)]
    streamed = layout.parameters(own)
    operands = *sources, layout.tensor(link.made, link.step.written)
    return Layer(link, None, None, operands, tuple(streamed), (), layout.least((*operands, *streamed)))


def laid_out(block, n, h, w, target, dtype):
    """(Layers in order, Layout) of a block's layer-by-layer run."""
    layout, layers = Layout(dtype), []
    layout.tensor("input", n * h * w * block.c)
    for link in links(block, n, h, w):
        own = {field: block.arrays[field].size for field in link.step.parameters}
        layers.append(between(link, own, layout) if link.step.problem is None else convolution(link, own, layout, target))
    return layers, layout


def run_layer(run, layer, nothing, parts):
    """Call the kernel of a layer, or stream its tensors; then what it reads besides. nothing: an empty buffer."""
    operands, streamed, work = ([run.buffers[i] for i in numbers] for numbers in (layer.operands, layer.streamed, layer.work))
    if layer.row is None:
        run.call(stream, tuple(operands[:-1]), operands[-1], parts)
    else:
        call_kernel(run, layer.row, operands, work, layer.link.step.problem, layer.tiling)
    if streamed:
        run.call(stream, tuple(streamed), nothing, 1)


def simulate_layers(block, n, h, w, machine, dtype, stores=TEMPORAL, name=None):
    """The LayerByLayerAccount of a block: compulsory bytes are what each layer alone must move.

    layers: a LayerAccount a step, of what moves while it runs; dirty lines left at the end are flushed in the last. The block's numbers are
    their sums. workspace_bytes: of the tensors between the layers and the kernels' own, all of them at once. bound_bytes: of the block, however
    it is run: its compulsory traffic. name: of the block; None: what `describe` says.
    """
    layers, layout = laid_out(block, n, h, w, machine.target, dtype)
    descriptor = describe(block, n, h, w)
    nothing, buffers = layout.add("nothing", 0), layout.buffers
    start = time.perf_counter()
    run, accounts, moved = Run(machine, buffers, stores), [], []
    for layer in layers:
        run_layer(run, layer, run.buffers[nothing], n * h)
        moved.append(run.moved(last=layer is layers[-1]))
        taken = time.perf_counter() - start - sum(account.simulation_s for account in accounts)
        accounts.append(layer_account(layer, buffers, moved[-1], machine, dtype, stores, "warm" if accounts else "cold", taken))
    inner = [name for name in layout.tensors if name not in OPERANDS]
    workspace = inner + [buffers[i][0] for layer in layers for i in layer.work]
    lines = Lines(*(sum(parts) for parts in zip(*moved, strict=True)))
    work = Work(block.macs(n, h, w), sum((layer.least for layer in layers), Counter()), chain_bound(block, n, h, w))
    total = account(work, buffers, lines, machine, dtype, workspace)
    bytes_of = {name: tensor.moved_bytes for name, tensor in total.tensors.items()}
    return LayerByLayerAccount(
        **vars(total),
        name=name or descriptor,
        descriptor=descriptor,
        kernel="unfused",
        tiling={},
        dtype=str(dtype),
        stores=stores,
        start="cold",
        simulation_s=sum(account.simulation_s for account in accounts),
        hidden_share=sum(bytes_of[name] for name in hidden_tensors(block, n, h, w)) / sum(bytes_of[name] for name in layout.tensors),
        layers=tuple(accounts),
    )


def describe(block, n, h, w):
    """A block in a line: its record, its input and its layers, each from its channels to its channels."""
    layers = (f"{name} {problem.r}x{problem.s} {problem.c}>{problem.k}" + _group_width(problem) for name, problem in block.layers(n, h, w))
    return f"{type(block).__name__} mb{n}ic{block.c}ih{h}iw{w}: {', '.join(layers)}"


def _group_width(problem):
    if hasattr(problem, "convolved"):
        return f" ({problem.convolved} convolved)"
    return f" g{problem.c_group}" if problem.groups > 1 else ""


def layer_account(layer, buffers, moved, machine, dtype, stores, start, seconds):
    """The LayerAccount of one layer of a block; a stream has no operations and no tiling.

    stores: of the block's output; what lies between layers goes through the caches. start: "warm" after another layer. bound_bytes: of the
    layer alone from a cold cache; after the layer before, what is still in cache may bring it below.
    """
    problem, shown = layer.link.step.problem, {*layer.operands, *layer.streamed, *layer.work}
    workspace = [buffers[i][0] for i in layer.work]
    alone = Bound(sum(layer.least.values()), "compulsory traffic of the layer alone, from a cold cache")
    work = Work(problem.macs if problem else 0, layer.least, alone)
    return LayerAccount(
        **vars(account(work, buffers, Lines(*moved), machine, dtype, workspace, shown=shown)),
        name=layer.link.step.name,
        descriptor=str(problem or layer.link.step.name),
        kernel=layer.row.name if layer.row else STREAM,
        tiling=plain_numbers(layer.tiling) if layer.row else {},
        dtype=str(dtype),
        stores=stores if any(buffers[i][0] == "output" for i in shown) else TEMPORAL,
        start=start,
        simulation_s=seconds,
    )
