"""A count made derivable by hand: the loop nest of a kernel, where each cache stands in it, and the formula of what each tensor moves.

The closed form (sim/analysis/closed_form.py) treats each cache as an explicit memory, as far out in the nest as LRU keeps its tiles; the simulated
count is what LRU does with the kernel's own accesses. Where both agree, the formula is the derivation of the count; where not, it says by how much.
"""

import math
from typing import NamedTuple

from rich.text import Text

from refconv import kernels
from refconv.elements import element
from refconv.problem.loops import DIMENSIONS
from refconv.schedule import OPERANDS
from refconv.tiling.checked import as_numbers, with_numbers
from refconv.weights.packed import weight_vectors
from sim.account.layer import scheduled
from sim.account.records import TensorSize, UntracedLayer
from sim.analysis.closed_form import Factor, Moved, boundaries, formula, on_machine, total
from sim.analysis.loop_nest import kernel_nest, turning_loops
from sim.machine.quantities import show_bytes
from sim.trace.nontemporal import TEMPORAL


class TensorCount(NamedTuple):
    """What a tensor moves in one direction: terms of the closed form in elements of itemsize bytes; the bytes simulated, None where nothing was."""

    tensor: str
    direction: str
    terms: tuple
    itemsize: int
    simulated_bytes: int | None

    @property
    def closed_bytes(self):
        """Bytes by the formula."""
        return total(self.terms) * self.itemsize

    def __str__(self):
        text = formula(self.terms)
        text = f"({text})" if len(self.terms) > 1 else text
        text = f"{self.tensor} {self.direction}: {text} x {self.itemsize} B = {self.closed_bytes:,} B"
        if self.simulated_bytes is None:
            return text
        more = self.simulated_bytes - self.closed_bytes
        other = f", {abs(more):,} B {'more' if more > 0 else 'less'}" if more else ""
        return f"{text}; simulated {self.simulated_bytes:,} B{other}"


def layer_nest(record, problem, machine):
    """The Nest of a record of sim.simulate with the machine's caches in it; problem and machine: those of that run."""
    dtype, row = element(record.dtype), kernels.KERNELS[record.kernel]
    tiling = with_numbers(row.tiling(problem, dtype.work.itemsize, machine.target), record.tiling)
    nest = kernel_nest(row.loops(problem, tiling, machine.target.lanes(dtype.work.itemsize)))
    return on_machine(nest, machine, dtype.itemsize, record.workspace_bytes)


def whole_vectors(row, problem, lanes):
    """Elements of the packed weight of a layer that a kernel reads: all but the spare vectors after its end."""
    _, c_group, r, s = problem.weight_shape
    return weight_vectors(problem.weight_shape, problem.groups, row.order, lanes) * r * s * c_group * lanes


def tensor_counts(record, moved, packed=None):
    """A TensorCount for each DRAM count of a record. moved: {tensor: Moved} of the closed form; other tensors, and workspace, move once: a cache
    fills a workspace before its first store, and writes it back at the end. packed: elements of the weight in whole vectors."""
    itemsize, counts = element(record.dtype).itemsize, []
    for name, tensor in record.tensors.items():
        size = itemsize if name in OPERANDS else element(record.dtype).work.itemsize
        once = ((Factor(tensor.bytes // size, "elements once"),),)
        of_name = moved.get(name, Moved(once, () if name in OPERANDS else once))
        if name == "weight" and packed is not None:
            of_name = Moved(tuple(_packed(term, packed, tensor) for term in of_name.read))
        for direction, terms, key in (("read", of_name.read, "read_bytes"), ("written", of_name.written, "write_bytes")):
            simulated = None if isinstance(record, UntracedLayer) else getattr(tensor, key)
            if terms or simulated:
                counts.append(TensorCount(name, direction, terms, size, simulated))
    return counts


def _packed(term, packed, tensor):
    """The factors of a weight that is read whole at each turn, with its elements as they are stored: padded to whole vectors."""
    own = [factor for factor in term if not factor.of.startswith("turns")]
    if math.prod(factor.number for factor in own) == packed or any("tiles" in factor.of for factor in own):
        return term
    return (Factor(packed, "elements, whole vectors,"), *(factor for factor in term if factor not in own))


def nest_lines(nest, found):
    """The nest as lines of text, each loop within the one before, and each memory where it stands with the tiles it holds."""
    text, live = [], turning_loops(nest, len(nest.loops))
    for at in range(len(nest.loops) + 1):
        indent = "  " * (1 + len(turning_loops(nest, at)))
        for border in found:
            if border.memory.at == at:
                held = ", ".join(f"{name} {elements:,}" for name, elements in border.held.items())
                text.append(f"{indent}[{border.memory.name} {show_bytes(border.memory.capacity_bytes)}] holds {held} elements")
        if at < len(nest.loops) and any(nest.loops[at] is loop for loop in live):
            text.append(f"{indent}{nest.loops[at]}  {DIMENSIONS[nest.loops[at].dim]}, {nest.loops[at].tile} at a time")
    return text


def layer_explanation(record, problem, machine):
    """The lines that explain a record of sim.simulate."""
    nest, itemsize = layer_nest(record, problem, machine), element(record.dtype).itemsize
    found = boundaries(nest, itemsize, write_allocate=record.stores == TEMPORAL)
    row, lanes = kernels.KERNELS[record.kernel], machine.target.lanes(element(record.dtype).work.itemsize)
    counts = tensor_counts(record, found[0].moved, whole_vectors(row, problem, lanes))
    return [
        f"The {row.name} kernel's loops, outer to inner (refconv/kernels/{row.run.__module__.rpartition('.')[2]}.py), loops of one turn left out.",
        "[caches] as explicit memories, each as far out as the tiles of two successive turns fit, beside the workspace:",
        *nest_lines(nest, found),
        f"DRAM, by the closed form of [{found[0].memory.name}]{'' if isinstance(record, UntracedLayer) else ' and as simulated'}:",
        *(f"  {line}" for line in counts),
        "Not in the nest: lines staged in the workspace, channels passed through, whole cache lines, what else LRU happens to keep.",
    ]


def block_explanation(record):
    """The lines that explain a block's fused kernel: every operand once, and a write-allocate fill of the output."""
    itemsize = element(record.dtype).itemsize
    moved = {}
    for name in OPERANDS:
        if name in record.tensors:
            once = ((Factor(record.tensors[name].compulsory_bytes // itemsize, "elements once"),),)
            moved[name] = Moved(once if name != "output" or record.stores == TEMPORAL else (), once if name == "output" else ())
    return [
        "Fused, DRAM by the compulsory traffic of the chain (loops: the kernel's file in refconv/kernels) and as simulated:",
        *(f"  {line}" for line in tensor_counts(record, moved)),
        "What lies between the layers is workspace: a cache that holds it fills it at its first stores and writes it back at the end.",
    ]


def untraced(kernel, layer, machine, *, dtype, bias, stores, why):
    """The UntracedLayer of a Layer of refconv.networks.layers, for `explanation`; why: the reason why nothing runs."""
    kind, problem = element(dtype), layer.problem
    schedule = scheduled(kernel, problem, machine, kind, bias=bias)
    (call,), buffers = schedule.calls, list(schedule.buffers.values())
    return UntracedLayer(
        name=layer.name,
        descriptor=str(problem),
        kernel=call.kernel.name,
        tiling=as_numbers(call.tiling),
        dtype=str(kind),
        stores=stores,
        macs=problem.macs,
        tensors={tensor: TensorSize(bytes=size * itemsize) for tensor, size, itemsize in buffers if size},
        workspace_bytes=sum(size * itemsize for _, size, itemsize in buffers[len(OPERANDS) :]),
        untraced=why,
    )


def explanation(record, problem, machine):
    """The renderables that explain a record: of sim.simulate, or of sim.simulate_block (problem None)."""
    lines = block_explanation(record) if problem is None else layer_explanation(record, problem, machine)
    return [Text(line, no_wrap=True) for line in (*lines, "")]
