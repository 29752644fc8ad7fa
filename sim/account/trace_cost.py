"""How many accesses a traced run takes, before it runs: what is too large is refused, not begun."""

from refconv.elements import element
from refconv.weights.packed import ceil_div, weight_vectors
from sim.account.layer import scheduled
from sim.analysis.loop_nest import convolution
from sim.machine.quantities import show_count

MOST_ACCESSES = 10_000_000_000
"""The default limit: two to three minutes at the 60 to 90 M accesses/s of one core."""


def estimated_accesses(problem, machine, dtype="float32", kernel=None):
    """About how many lines a kernel's run touches in the first level: within a factor of 2 for layers of real networks.

    problem: a Conv2d or PartialConv2d. Derived here: what a step of the kernel's register tile loads, times the steps that all vectors of
    multiply-adds take, those that meet the border included and fractions of a step not rounded. Besides, what has to move is touched once.
    """
    dtype = element(dtype)
    row, _, tiling = scheduled(kernel, problem, machine, dtype).calls[0][:3]
    lanes = machine.target.lanes(dtype.work.itemsize)
    conv, loops = convolution(problem), row.loops(problem, tiling, lanes)
    vectors = weight_vectors(problem.weight_shape, problem.groups, row.order, lanes)
    products = conv.n * conv.p * conv.q * conv.r * conv.s * conv.c_group * vectors
    lines = ceil_div(machine.vector_bytes, machine.line_bytes)
    return products * loops.loads * lines // loops.products + sum(problem.compulsory.values()) * dtype.itemsize // machine.line_bytes


class TooLarge(ValueError):
    """A layer whose trace takes more accesses than are allowed."""


def check_size(layer, problems, machine, dtype, most, kernel=None):
    """TooLarge if the kernels of these problems take more accesses than `most` together; `layer` names them."""
    needed = sum(estimated_accesses(problem, machine, dtype, kernel) for problem in problems)
    if needed > most:
        raise TooLarge(f"layer {layer}: tracing it takes about {show_count(needed)} accesses: must be at most {show_count(most)}")


def problems_of(layer, batch):
    """The problems that a BlockPreset's run traces: its layers fused and one by one."""
    return [problem for _, problem in layer.record().layers(batch or 1, layer.size, layer.size)] * 2
