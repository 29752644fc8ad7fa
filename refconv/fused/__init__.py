"""Kernels that run a whole residual block, its hidden layer never in DRAM: the table that plans, tests and simulator read.

To add one: a file here, its record in refconv/blocks.py, its definition in refconv/reference.py, a row below.
"""

from typing import Any, NamedTuple

from refconv.blocks import ConvFirstBlock, ConvNeXtBlock, FasterNetBlock, FFNBlock, FusedMBConvBlock, MBConvBlock
from refconv.elements import element
from refconv.fused import conv_first, conv_first_down, ffn, fused_mbconv, gated, mbconv, squeeze_excite, tiling
from refconv.jit import plain


class Fused(NamedTuple):
    """One row: the records it runs, and what refconv.kernels.Kernel has; `operands` are the numbers of weights and of biases;
    strides: of the records it runs; from_work: whether it reads a workspace of another in the place of a tensor; recomputed_macs(problem,
    tiling, squeeze): of those with a choice of halo, whose tiling rule takes `halo`."""

    name: str
    records: tuple
    run: Any
    operands: tuple
    tiling: Any
    units: Any
    workspace: Any
    strides: tuple = (1, 2)
    from_work: bool = False
    recomputed_macs: Any = None

    def check(self, problem, lanes):
        """Every BlockProblem is legal."""

    def checked(self, wanted, chosen, problem, lanes):
        """A tiling asked for, checked against the rule's."""
        return tiling.checked(wanted, chosen, problem, lanes)

    @property
    def source(self):
        """The kernel in plain Python."""
        return plain(self.run)


FUSED = {
    row.name: row
    for row in (
        Fused("ffn", (FFNBlock,), ffn.ffn, (2, 2), tiling.ffn_tiling, ffn.units, ffn.workspace),
        Fused(
            "conv_first",
            (ConvFirstBlock, ConvNeXtBlock, FasterNetBlock),
            conv_first.conv_first,
            (3, 3),
            tiling.conv_first_tiling,
            conv_first.units,
            conv_first.workspace,
            strides=(1,),
        ),
        Fused(
            "conv_first_down",
            (ConvFirstBlock,),
            conv_first_down.conv_first_down,
            (3, 3),
            tiling.conv_first_down_tiling,
            conv_first_down.units,
            conv_first_down.workspace,
            strides=(2,),
            recomputed_macs=conv_first_down.recomputed_macs,
        ),
        Fused(
            "fused_mbconv",
            (FusedMBConvBlock,),
            fused_mbconv.fused_mbconv,
            (2, 2),
            tiling.fused_mbconv_tiling,
            fused_mbconv.units,
            fused_mbconv.workspace,
        ),
        Fused(
            "mbconv",
            (MBConvBlock,),
            mbconv.mbconv,
            (3, 4),
            tiling.mbconv_tiling,
            mbconv.units,
            mbconv.workspace,
            recomputed_macs=mbconv.recomputed_macs,
        ),
        Fused("gated", (), gated.gated, (1, 3), tiling.gated_tiling, gated.units, gated.workspace),
        Fused(
            "squeeze_excite",
            (),
            squeeze_excite.squeeze_excite,
            (2, 2),
            tiling.gate_tiling,
            squeeze_excite.units,
            squeeze_excite.workspace,
            from_work=True,
        ),
    )
}


def choose_fused(block):
    """The row for a record; TypeError for what is none."""
    for row in FUSED.values():
        if isinstance(block, row.records) and block.stride in row.strides:
            return row
    names = ", ".join(dict.fromkeys(record.__name__ for row in FUSED.values() for record in row.records))
    raise TypeError(f"weights of type {type(block).__name__}: must be one of {names}")


MODES = {"halo": ("auto", "recompute", "cache"), "squeeze": ("auto", "recompute", "spill")}
"""What can be chosen about a block, by argument: the modes, of which the first is the default and legal for every block."""


def has_choice(name, block):
    """Whether a record has more than the default of a mode of MODES: computed rows that neighbouring steps share, squeeze-excitation."""
    return choose_fused(block).recomputed_macs is not None if name == "halo" else getattr(block, "se", None) is not None


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
