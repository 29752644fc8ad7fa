"""A residual block layer by layer on a simulated machine: the program that `refconv.unfused_block` runs, nothing flushed in between.

Its graph of steps (refconv/problem/steps.py) is walked in order; every step is one pass, and makes a tensor of its own. Convolutions and the
blur pool run this project's layer kernels. Every other step (activation, LayerNorm, pool, gates, scale, residual, padding, concatenation) is a
stream: it reads its parameters and then its tensors, and writes its own, once, a share of each in turn; temporaries that NumPy makes within such
a step are not counted. What one pass leaves in cache the next does not read again.
"""

import time
from collections import Counter
from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.operands import ONE
from refconv.problem.steps import CONVOLUTIONS, INPUT
from refconv.schedule import OPERANDS, layer_schedule
from refconv.tile import lanes, length, load, store, zero
from refconv.tiling.checked import as_numbers
from sim.account.energy import energy_of
from sim.account.layer import Lines, Work, account, call_kernel
from sim.account.records import LayerAccount, LayerByLayerAccount
from sim.analysis.bounds import Bound, chain_bound, fast_elements
from sim.trace.nontemporal import TEMPORAL
from sim.trace.run import Run

STREAM = "stream"
"""The kernel of a step that no kernel of refconv's tables runs."""


def tensors_of(block, n, h, w):
    """{step, or "input": the name of the tensor that it makes}: "output" of the last, <step>_output in between."""
    steps = list(block.sized(n, h, w))
    return {INPUT: "input", **{name: f"{name}_output" for name in steps[:-1]}, steps[-1]: "output"}


def hidden_tensors(block, n, h, w):
    """Names of the block's hidden layers: what lies between expansion and projection, on the whole map."""
    steps, tensors = block.sized(n, h, w), tensors_of(block, n, h, w)
    first, hidden = "expand" if "expand" in steps else "conv", []
    at = steps["project"].step.sources[0]
    while at != steps[first].step.sources[0]:
        hidden.append(tensors[at])
        at = steps[at].step.sources[0]
    return hidden[::-1]


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


class Pass(NamedTuple):
    """A step made ready: its Call (None: a stream), and the numbers of its buffers.

    sources: tensors read; parameters: (weight, bias) of a kernel, all of a stream; made: the tensor written; work: workspace. least: elements
    that the step alone must move, by tensor.
    """

    sized: Any
    call: Any
    sources: tuple
    parameters: tuple
    made: int
    work: tuple
    least: Counter

    numbers = property(lambda self: {*self.sources, *self.parameters, self.made, *self.work}, doc="Of all its buffers.")


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

    def least(self, numbers):
        """Counter {name: elements} of buffers that are met once."""
        total = Counter()
        for number in numbers:
            name, elements, _ = self.buffers[number]
            total[name] += elements
        return total


def laid_out(block, n, h, w, target, dtype):
    """(Passes in order, Layout) of a block's layer-by-layer run."""
    layout, passes, names = Layout(dtype), [], tensors_of(block, n, h, w)
    layout.tensor(names[INPUT], n * h * w * block.c)
    for name, sized in block.sized(n, h, w).items():
        sources = tuple(layout.tensors[names[source]] for source in sized.step.sources)
        own = {role: block.arrays[array].size for role, array in sized.step.parameters.items() if array in block.arrays}
        passes.append((_kernel if sized.problem else _stream)(sized, sources, own, names[name], layout, target))
    return passes, layout


def _kernel(sized, sources, own, made, layout, target):
    """The Pass of a step that a kernel runs; own: {role: elements} of its parameters. A blur pool's filter is made for it: workspace."""
    problem, dtype, name = sized.problem, layout.dtype, sized.step.name
    schedule, convolution = layer_schedule(problem, dtype, target), sized.step.op in CONVOLUTIONS
    (call,) = schedule.calls
    weight = layout.add("weight" if convolution else f"{name}_filter", schedule.tensors["weight"])
    parameters = weight, layout.add("bias", own.get("bias", 0))
    number = layout.tensor(made, sized.elements)
    work = tuple(layout.work(f"{name}_{buffer}", size) for buffer, size in call.workspace._asdict().items())
    (source,), needed = (layout.buffers[i][0] for i in sources), problem.compulsory
    least = Counter({source: needed["input"], **({"weight": needed["weight"]} if convolution else {}), "bias": own.get("bias", 0)})
    least[made] = needed["output"]
    return Pass(sized, call, sources, parameters, number, work if convolution else (*work, weight), least)


def _stream(sized, sources, own, made, layout, target):
    """The Pass of a step that is streamed; own: {role: elements} of its parameters."""
    parameters = tuple(layout.add(role, elements) for role, elements in own.items())
    number = layout.tensor(made, sized.elements)
    return Pass(sized, None, sources, parameters, number, (), layout.least((*dict.fromkeys(sources), *parameters, number)))


def run_pass(run, one, nothing, parts):
    """Call the kernel of a Pass, or stream its parameters and then its tensors. nothing: an empty buffer."""
    at = lambda numbers: tuple(run.buffers[i] for i in numbers)
    if one.call is not None:
        call_kernel(run, one.call, (*at((*one.sources, *one.parameters)), nothing, run.buffers[one.made], *at(one.work[: len(one.call.workspace)])))
        return
    if one.parameters:
        run.call(stream, at(one.parameters), nothing, 1)
    run.call(stream, at(one.sources), run.buffers[one.made], parts)


def simulate_layers(block, n, h, w, machine, dtype, stores=TEMPORAL, name=None):
    """The LayerByLayerAccount of a block: compulsory bytes are what each pass alone must move.

    layers: a LayerAccount a pass, of what moves while it runs; dirty lines left at the end are flushed in the last. The block's numbers are
    their sums. workspace_bytes: of the tensors between the layers and the kernels' own, all of them at once. bound_bytes: of the block, however
    it is run: its compulsory traffic. name: of the block; None: what `describe` says.
    """
    passes, layout = laid_out(block, n, h, w, machine.target, dtype)
    descriptor = describe(block, n, h, w)
    nothing, buffers = layout.add("nothing", 0), layout.buffers
    start = time.perf_counter()
    run, accounts, moved = Run(machine, buffers, stores), [], []
    for one in passes:
        run_pass(run, one, run.buffers[nothing], n * h)
        moved.append(Lines(*run.moved(last=one is passes[-1])))
        taken = time.perf_counter() - start - sum(account.simulation_s for account in accounts)
        bound = pass_bound(one, layout, machine, first=one is passes[0], last=one is passes[-1])
        accounts.append(pass_account(one, buffers, moved[-1], bound, machine, dtype, stores, "warm" if accounts else "cold", taken))
    inner = [tensor for tensor in layout.tensors if tensor not in OPERANDS]
    workspace = dict.fromkeys((*inner, *(buffers[i][0] for one in passes for i in one.work)))
    lines = Lines(sum(lines.counts for lines in moved), sum(lines.dram for lines in moved))
    work = Work(block.macs(n, h, w), sum((one.least for one in passes), Counter()), chain_bound(block, n, h, w))
    total = account(work, buffers, lines, machine, dtype, workspace)
    possible_flops = sum(account.possible_flops for account in accounts)
    bytes_of = {tensor: total.tensors[tensor].moved_bytes for tensor in layout.tensors}
    return LayerByLayerAccount(
        **vars(total),
        name=name or descriptor,
        descriptor=descriptor,
        kernel="unfused",
        tiling={},
        dtype=str(dtype),
        stores=stores,
        start="cold",
        energy=energy_of(total, machine, dtype, possible_flops=possible_flops),
        simulation_s=sum(account.simulation_s for account in accounts),
        hidden_share=sum(bytes_of[tensor] for tensor in hidden_tensors(block, n, h, w)) / sum(bytes_of.values()),
        layers=tuple(accounts),
    )


def pass_bound(one, layout, machine, *, first, last):
    """The Bound of a Pass between others: its parameters, which nothing has read before; of what it takes and makes, what the caches cannot hold.

    first: the caches are empty when it starts; last: what it makes is flushed when it ends. Derived here.
    """
    fast = fast_elements(machine, layout.dtype.itemsize)
    made = one.least[layout.buffers[one.made][0]]
    taken = sum(one.least[name] for name in {layout.buffers[i][0] for i in one.sources})
    parameters = sum(one.least.values()) - made - taken
    elements = parameters + (taken if first else max(0, taken - fast)) + (made if last else max(0, made - fast))
    sides = [side for side, at in (("before", first), ("after", last)) if not at]
    return Bound(elements, "compulsory traffic" + (f" but for what the caches may hold from {' and '.join(sides)}" if sides else ""))


def describe(block, n, h, w):
    """A block in a line: its record, its input and its layers, each from its channels to its channels."""
    layers = (f"{name} {problem.r}x{problem.s} {problem.c}>{problem.k}" + _group_width(problem) for name, problem in block.layers(n, h, w))
    return f"{type(block).__name__} mb{n}ic{block.c}ih{h}iw{w}: {', '.join(layers)}"


def _group_width(problem):
    if hasattr(problem, "convolved"):
        return f" ({problem.convolved} convolved)"
    return f" g{problem.c_group}" if problem.groups > 1 else ""


def pass_account(one, buffers, lines, bound, machine, dtype, stores, start, seconds):
    """The LayerAccount of one Pass; a stream has no operations and no tiling.

    stores: of the block's output; what lies between layers goes through the caches. start: "warm" after another pass.
    """
    step, problem = one.sized.step, one.sized.problem
    work = Work(problem.macs if step.op in CONVOLUTIONS else 0, one.least, bound)
    moved = account(work, buffers, lines, machine, dtype, [buffers[i][0] for i in one.work], shown=one.numbers)
    return LayerAccount(
        **vars(moved),
        name=step.name,
        descriptor=str(problem or step.op),
        kernel=one.call.kernel.name if one.call else STREAM,
        tiling=as_numbers(one.call.tiling) if one.call else {},
        dtype=str(dtype),
        stores=stores if buffers[one.made][0] == "output" else TEMPORAL,
        start=start,
        energy=energy_of(moved, machine, dtype),
        simulation_s=seconds,
    )
