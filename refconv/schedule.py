"""The kernel calls of a fused block, in order: the one owner of that sequence. `refconv.fused_block` makes them on arrays, `sim` on traced buffers.

One call, but for squeeze-excitation, whose gates need the whole map before anything is projected (Hu et al.); both ways are derived here:

    squeeze = "recompute"   mbconv (only its sums)      -> squeeze_excite (gates) -> mbconv, gated: the hidden layer made twice
    squeeze = "spill"       mbconv (hidden_layer, sums) -> squeeze_excite (gates) -> gated: it is written and read once
"""

from typing import Any, NamedTuple

from refconv.elements import element
from refconv.kernels import kernel_for_block
from refconv.weights.blocks import gate_problem


class Pass(NamedTuple):
    """One call: kernel by name, problem, tiling (None: the rule's), most threads, and the names of its operands; weights and biases are tuples.

    "input" and "output" are the block's, "nothing" an empty one, "weight.0", "bias.0" ... those of `parameters`; other names are what a
    pass before has made: its `out`, of `size` elements of the block's type, or a workspace buffer of the first pass.
    """

    name: str
    problem: Any
    tiling: Any
    threads: int
    x: str
    weights: tuple
    biases: tuple
    out: str
    size: int


def parameters(packed):
    """{name: array} of the weights and biases of a PackedBlock, numbered through, those of its gates last."""
    gates = packed.gates or ((), ())
    numbered = (("weight", (*packed.weights, *gates[0])), ("bias", (*packed.biases, *gates[1])))
    return {f"{name}.{i}": array for name, arrays in numbered for i, array in enumerate(arrays)}


def passes(row, block, packed, problem, tiling, squeeze="recompute", threads=1, parts=1):
    """The Passes of a record `block`, which `packed` and `problem` are made of. row: of FUSED; tiling: its kernel's, None for the rule's.

    parts: threads that the kernel really uses, of whose sums the gates are made.
    """
    weights, biases = (tuple(f"{name}.{i}" for i in range(len(arrays))) for name, arrays in (("weight", packed.weights), ("bias", packed.biases)))
    pixels = problem.n * problem.p * problem.q
    without_gates = *biases, *["nothing"] * (row.operands[1] - len(biases))
    last = Pass(row.name, problem, tiling, threads, "input", weights, without_gates, "output", pixels * problem.k)
    if not problem.gated:
        return (last,)
    spill = squeeze == "spill"
    made = ("hidden_layer", pixels * problem.hidden) if spill else ("nothing", 0)
    first = Pass(row.name, problem._replace(pool=2 if spill else 1), tiling, threads, "input", weights, without_gates, *made)
    of_gates = tuple(f"weight.{len(weights) + i}" for i in range(2)), tuple(f"bias.{len(biases) + i}" for i in range(2))
    gating = gate_problem(block, problem.n, parts, problem.p * problem.q)
    gates = Pass("squeeze_excite", gating, None, 1, "pooled", *of_gates, "gates", problem.n * problem.hidden)
    if spill:
        last = last._replace(name="gated", tiling=None, x="hidden_layer", weights=weights[-1:], biases=(biases[-1], "gates", "input"))
    else:
        last = last._replace(biases=(*biases, "gates"))
    return first, gates, last


MODES = {"halo": ("auto", "recompute", "cache"), "squeeze": ("auto", "recompute", "spill")}
"""What can be chosen about a block, by argument: the modes, of which the first is the default and legal for every block."""


def has_choice(name, block):
    """Whether a record has more than the default of a mode of MODES: computed rows that neighbouring steps share, squeeze-excitation."""
    return kernel_for_block(block).recomputed_macs is not None if name == "halo" else getattr(block, "se", None) is not None


def check_modes(block=None, **modes):
    """ValueError unless the modes are of MODES, and what the record has where they are not the default; None: some block's."""
    for name, mode in modes.items():
        if mode not in MODES[name]:
            raise ValueError(f"{name} = {mode!r}: must be one of {', '.join(MODES[name])}")
        if block is not None and mode != MODES[name][0] and not has_choice(name, block):
            lacks = {"halo": "computed rows that steps share", "squeeze": "squeeze-excitation"}[name]
            raise ValueError(f"{name} = {mode!r} for a {type(block).__name__} without {lacks}: must be {MODES[name][0]!r}")


def squeeze_for(problem, dtype, squeeze, target):
    """The mode of squeeze-excitation: "auto" spills the hidden layer where all of it stays in the L2, and makes it twice where it would leave."""
    if squeeze != "auto":
        return squeeze
    hidden_bytes = problem.n * problem.p * problem.q * problem.hidden * element(dtype).itemsize
    return "spill" if problem.gated and hidden_bytes <= target.l2_bytes else "recompute"


def tiling_for(row, problem, dtype, wanted, halo, target):
    """The tiling asked for, that of a halo mode, or None for the rule's; ValueError for both a halo mode and a tiling."""
    if halo == MODES["halo"][0]:
        return wanted
    if wanted is not None:
        raise ValueError(f"halo = {halo!r} with a tiling: must be 'auto', since the tiling's lines and step say what happens to the halo")
    return row.tiling(problem, element(dtype).work.itemsize, target, halo)
