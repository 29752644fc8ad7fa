"""The table of kernels: the one list that tests, command line, simulator and benchmarks read.

To add a kernel: one file here, its definition in refconv/reference.py, one row below.
"""

from typing import Any, NamedTuple

from refconv.jit import plain
from refconv.kernels import (
    conv2d,
    conv_first,
    conv_first_down,
    depthwise,
    ffn,
    fused_mbconv,
    gated,
    grouped,
    mbconv,
    partial,
    pointwise,
    spread,
    squeeze_excite,
)
from refconv.problem.blocks import ConvFirstBlock, ConvNeXtBlock, FasterNetBlock, FFNBlock, FusedMBConvBlock, MBConvBlock
from refconv.problem.conv import Conv2d, PartialConv2d
from refconv.tiling import blocks, layers
from refconv.weights import packed


class Kernel(NamedTuple):
    """One row: how a kernel is run, packed, tiled, and for which problems it is legal.

    run(x, weight, bias, out, work, problem, tiling, slot, slots, first, last) is the compiled kernel; `order` the packed order of
    its weights; tiling(problem, itemsize, target) the rule, itemsize being that of the sums; units(problem, tiling); workspace(problem, tiling,
    lanes, half) the elements of each workspace buffer of a thread, where tensors are halves or not; `operands` (0, 0): one weight, one
    bias; from_work: see refconv.fused; needs(problem, lanes) returns "" or what the problem lacks; loops(problem, tiling, lanes) the kernel's
    KernelLoops; explain(problem, tiling, itemsize, target) the words of refconv.choose.
    """

    name: str
    run: Any
    order: str
    tiling: Any
    units: Any
    workspace: Any
    needs: Any
    loops: Any
    explain: Any
    operands: tuple = (0, 0)
    from_work: bool = False

    def check(self, problem, lanes):
        """Raise a ValueError that says what the kernel needs, unless the problem is legal for it."""
        lacking = self.needs(problem, lanes)
        if lacking:
            raise ValueError(f"kernel {self.name!r} on {problem}: needs {lacking}; legal kernels: {', '.join(legal(problem, lanes))}")

    def checked(self, wanted, chosen, problem, lanes):
        """A tiling asked for, checked against the rule's."""
        return layers.checked(layers.normalised(wanted), chosen, problem, lanes)

    @property
    def source(self):
        """The kernel in plain Python."""
        return plain(self.run)


def _conv2d(problem, lanes):
    return "" if isinstance(problem, Conv2d) else "a Conv2d"


def _pointwise(problem, lanes):
    if not isinstance(problem, Conv2d):
        return "a Conv2d"
    plain_1x1 = problem[5:9] == (1, 1, 1, 1) and not any(problem[9:13]) and problem.groups == 1
    return "" if plain_1x1 else "a 1x1 kernel of stride 1 without padding or groups"


def _depthwise(problem, lanes):
    legal = isinstance(problem, Conv2d) and problem.groups == problem.c == problem.k
    return "" if legal else "as many groups as input and as output channels"


def _grouped(problem, lanes):
    equal = isinstance(problem, Conv2d) and problem.c_group == problem.k_group <= lanes
    return "" if equal else f"groups of equal numbers of input and output channels, at most {lanes} (one vector)"


def _spread(problem, lanes):
    fits = isinstance(problem, Conv2d) and packed.groups_per_vector(problem.c_group, problem.k_group, lanes) > 0
    return "" if fits else f"groups of at most {lanes} input and output channels (one vector)"


def _partial(problem, lanes):
    return "" if isinstance(problem, PartialConv2d) else "a PartialConv2d"


KERNELS = {
    row.name: row
    for row in (
        Kernel(
            "depthwise",
            depthwise.depthwise,
            "depthwise",
            layers.depthwise_tiling,
            depthwise.units,
            depthwise.workspace,
            _depthwise,
            depthwise.loops,
            depthwise.explain,
        ),
        Kernel(
            "pointwise",
            pointwise.pointwise,
            "dense",
            layers.pointwise_tiling,
            pointwise.units,
            pointwise.workspace,
            _pointwise,
            pointwise.loops,
            pointwise.explain,
        ),
        Kernel("conv2d", conv2d.conv2d, "dense", layers.dense_tiling, conv2d.units, conv2d.workspace, _conv2d, conv2d.loops, conv2d.explain),
        Kernel(
            "grouped", grouped.grouped, "grouped", layers.grouped_tiling, grouped.units, grouped.workspace, _grouped, grouped.loops, grouped.explain
        ),
        Kernel("spread", spread.spread_groups, "spread", layers.spread_tiling, spread.units, spread.workspace, _spread, spread.loops, spread.explain),
        Kernel(
            "partial", partial.partial, "dense", layers.partial_tiling, partial.units, partial.workspace, _partial, partial.loops, partial.explain
        ),
    )
}


def legal(problem, lanes):
    """Names of the kernels that can run the problem."""
    return [name for name, row in KERNELS.items() if not row.needs(problem, lanes)]


def kernel_for(problem, lanes, name=None):
    """The row of the kernel for a problem: the one called `name`, checked to be legal for it; without a name the one whose packed order the weight
    is kept in, pointwise before dense where it applies."""
    if name is not None:
        if name not in KERNELS:
            raise ValueError(f"kernel {name!r}: must be {', '.join(KERNELS)}")
        KERNELS[name].check(problem, lanes)
        return KERNELS[name]
    order = packed.order_of(problem.weight_shape, problem.groups, lanes)
    return next(row for row in KERNELS.values() if row.order == order and not row.needs(problem, lanes))


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
        return blocks.checked(wanted, chosen, problem, lanes)

    @property
    def source(self):
        """The kernel in plain Python."""
        return plain(self.run)


FUSED = {
    row.name: row
    for row in (
        Fused("ffn", (FFNBlock,), ffn.ffn, (2, 2), blocks.ffn_tiling, ffn.units, ffn.workspace),
        Fused(
            "conv_first",
            (ConvFirstBlock, ConvNeXtBlock, FasterNetBlock),
            conv_first.conv_first,
            (3, 3),
            blocks.conv_first_tiling,
            conv_first.units,
            conv_first.workspace,
            strides=(1,),
        ),
        Fused(
            "conv_first_down",
            (ConvFirstBlock,),
            conv_first_down.conv_first_down,
            (3, 3),
            blocks.conv_first_down_tiling,
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
            blocks.fused_mbconv_tiling,
            fused_mbconv.units,
            fused_mbconv.workspace,
        ),
        Fused(
            "mbconv",
            (MBConvBlock,),
            mbconv.mbconv,
            (3, 4),
            blocks.mbconv_tiling,
            mbconv.units,
            mbconv.workspace,
            recomputed_macs=mbconv.recomputed_macs,
        ),
        Fused("gated", (), gated.gated, (1, 3), blocks.gated_tiling, gated.units, gated.workspace),
        Fused(
            "squeeze_excite",
            (),
            squeeze_excite.squeeze_excite,
            (2, 2),
            blocks.gate_tiling,
            squeeze_excite.units,
            squeeze_excite.workspace,
            from_work=True,
        ),
    )
}


def kernel_for_block(block):
    """The row of the fused kernel for a record; TypeError for what is none."""
    for row in FUSED.values():
        if isinstance(block, row.records) and block.stride in row.strides:
            return row
    names = ", ".join(dict.fromkeys(record.__name__ for row in FUSED.values() for record in row.records))
    raise TypeError(f"weights of type {type(block).__name__}: must be one of {names}")
