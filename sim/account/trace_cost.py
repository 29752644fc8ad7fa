"""How many accesses a traced run takes, before it runs: what is too large is refused, not begun."""

from refconv.elements import element
from refconv.weights import packed
from sim.account.layer import scheduled
from sim.machine.quantities import show_count

MOST_ACCESSES = 10_000_000_000
"""By default: two to three minutes at the 60 to 90 M accesses/s of one core, as long as one waits without having been asked."""


def estimated_accesses(problem, machine, dtype="float32", kernel=None):
    """About how many lines a kernel's run touches in the first level: within a factor of 2 for layers of real networks.

    problem: a Conv2d or PartialConv2d. Derived here: a step of a tile of rows x vectors reads `rows` pixels and `vectors` vectors of weights for
    rows * vectors vectors of multiply-adds; a strip, `taps` weights and as many pixels as it slides over for rows * taps (the inputs of a
    narrow group share those pixels). Besides, what has to move is touched once.
    """
    dtype = element(dtype)
    row, _, tiling = scheduled(kernel, problem, machine, dtype).calls[0][:3]
    lanes = machine.target.lanes(dtype.work.itemsize)
    conv = getattr(problem, "conv", problem)
    if row.order == "dense":
        vectors = conv.groups * packed.ceil_div(conv.k_group, lanes)
        loads = 1 / tiling.rows + 1 / tiling.vectors
    else:
        vectors = packed.ceil_div(conv.groups, packed.groups_per_vector(conv.c_group, conv.k_group, lanes))
        pixels, inputs = (tiling.rows - 1) * tiling.stride + tiling.taps, tiling.inputs if row.order == "grouped" else 1
        loads = 1 / tiling.rows + pixels / (tiling.rows * tiling.taps * inputs)
    products = conv.n * conv.p * conv.q * conv.r * conv.s * conv.c_group * vectors
    lines = packed.ceil_div(machine.vector_bytes, machine.line_bytes)
    return int(products * loads * lines) + sum(problem.compulsory.values()) * dtype.itemsize // machine.line_bytes


class TooLarge(ValueError):
    """A layer whose trace takes more accesses than are allowed."""


def check_size(layer, problems, machine, dtype, most, kernel=None):
    """TooLarge if the kernels of these problems take more accesses than `most` together; `layer` names them."""
    needed = sum(estimated_accesses(problem, machine, dtype, kernel) for problem in problems)
    if needed > most:
        raise TooLarge(
            f"layer {layer}: tracing it takes about {show_count(needed)} accesses: must be at most {show_count(most)}; "
            "legal: a larger --limit, or the closed form, which traces nothing (sim.tiles; --explain for a layer)"
        )


def problems_of(layer, batch):
    """The problems that a BlockPreset's run traces: its layers fused and one by one."""
    return [problem for _, problem in layer.record().layers(batch or 1, layer.size, layer.size)] * 2
