"""The table of kernels: the one list that tests, command line, simulator and benchmarks read.

To add a kernel: one file here, its definition in refconv/reference.py, one row below.
"""

from typing import Any, NamedTuple

from refconv.jit import plain
from refconv.kernels import (
    conv2d,
    conv_first,
    conv_first_down,
    conv_first_hidden,
    depthwise,
    depthwise_rows,
    few_outputs,
    ffn,
    fused_mbconv,
    gated,
    grouped,
    mbconv,
    partial,
    pointwise,
    response,
    separable,
    spread,
    squeeze_excite,
)
from refconv.parts.operands import LayerOperands
from refconv.problem.activations import NO_ACTIVATION
from refconv.problem.blocks import (
    ConvFirstBlock,
    ConvNeXtBlock,
    ConvNeXtV2Block,
    FasterNetBlock,
    FFNBlock,
    FusedMBConvBlock,
    MBConvBlock,
    SeparableBlock,
)
from refconv.problem.conv import Conv2d, PartialConv2d
from refconv.tiling import blocks, layers
from refconv.tiling.checked import checked
from refconv.weights import packed


class Kernel(NamedTuple):
    """One row: how a kernel is run, what it is given, how it is tiled, and for which problems it is legal.

    run(operands, out, work, problem, tiling, part) is the compiled kernel; `operands` the record of its inputs, of which those in
    `from_workspace` are buffers of another kernel's workspace; tiling(problem, itemsize, target) the rule, itemsize being that of the sums;
    units(problem, tiling); workspace(problem, tiling, lanes, half) the elements of each workspace buffer of a thread, where tensors are halves
    or not, in a record that then holds the buffers.

    statics: what its operands' last fields are where a call says nothing else: of layers NO_ACTIVATION.

    A kernel of layers has the packed `order` of its weight, needs(problem, lanes): "" or what the problem lacks, loops(problem, tiling, lanes):
    its KernelLoops, and explain(problem, tiling, itemsize, target): the words of refconv.choose. A kernel of blocks has
    the records that it runs and of which strides (None: any that they have), where it may compute something twice
    recomputed_macs(problem, tiling, squeeze), and `halo`: whether there is a choice of it; its tiling rule then takes it. One that has no
    records is a pass of another block's kernel.
    """

    name: str
    run: Any
    operands: Any
    tiling: Any
    units: Any
    workspace: Any
    order: str = ""
    needs: Any = None
    loops: Any = None
    explain: Any = None
    records: tuple = ()
    strides: tuple | None = None
    recomputed_macs: Any = None
    halo: bool = False
    from_workspace: tuple = ()
    statics: tuple = ()

    def check(self, problem, lanes):
        """Raise a ValueError that says what the kernel needs, unless the problem is legal for it; every BlockProblem is."""
        lacking = self.needs and self.needs(problem, lanes)
        if lacking:
            raise ValueError(f"kernel {self.name!r} on {problem}: needs {lacking}; legal kernels: {', '.join(legal(problem, lanes))}")

    def checked(self, wanted, chosen, problem, lanes, target=None):
        """A tiling asked for, checked against the rule's, and for the registers of a target."""
        return checked(wanted, chosen, problem, lanes, target)

    @property
    def source(self):
        """The kernel in plain Python."""
        return plain(self.run)


MOST_REPEATED = 16
"""Vectors of channels up to which the weights of a depthwise window are repeated along a row: 3x3 weights then fill 9 x 17 vectors, which fit L1."""


def _conv2d(problem, lanes):
    return "" if isinstance(problem, Conv2d) else "a Conv2d"


def _pointwise(problem, lanes):
    if not isinstance(problem, Conv2d):
        return "a Conv2d"
    plain_1x1 = problem[5:9] == (1, 1, 1, 1) and not any(problem[9:13]) and problem.groups == 1
    return "" if plain_1x1 else "a 1x1 kernel of stride 1 without padding or groups"


def _few_outputs(problem, lanes):
    if _pointwise(problem, lanes):
        return _pointwise(problem, lanes)
    return "" if problem.c > 1 and problem.k <= lanes // 2 else f"several input channels and at most {lanes // 2} output channels (half a vector)"


def _depthwise(problem, lanes):
    legal = isinstance(problem, Conv2d) and problem.groups == problem.c == problem.k
    return "" if legal else "as many groups as input and as output channels"


def _depthwise_rows(problem, lanes):
    if _depthwise(problem, lanes):
        return _depthwise(problem, lanes)
    fits = problem.stride_w == 1 and problem.c % lanes > 0 and problem.c <= MOST_REPEATED * lanes
    return "" if fits else f"horizontal stride 1, and channels that are no multiple of {lanes} (one vector), at most {MOST_REPEATED * lanes}"


def _grouped(problem, lanes):
    equal = isinstance(problem, Conv2d) and problem.c_group == problem.k_group <= lanes
    return "" if equal else f"groups of equal numbers of input and output channels, at most {lanes} (one vector)"


def _spread(problem, lanes):
    fits = isinstance(problem, Conv2d) and packed.groups_per_vector(problem.c_group, problem.k_group, lanes) > 0
    return "" if fits else f"groups of at most {lanes} input and output channels (one vector)"


def _partial(problem, lanes):
    return "" if isinstance(problem, PartialConv2d) else "a PartialConv2d"


def _layer(name, kernel, order, tiling, needs, run=None):
    own = kernel.units, kernel.workspace, order, needs, kernel.loops, kernel.explain
    return Kernel(name, run or getattr(kernel, name), LayerOperands, tiling, *own, statics=(NO_ACTIVATION,))


def _block(name, kernel, tiling, records=(), **more):
    return Kernel(name, getattr(kernel, name), kernel.Operands, tiling, kernel.units, kernel.workspace, records=records, **more)


FIRST = ConvFirstBlock, ConvNeXtBlock, FasterNetBlock

KERNELS = {
    row.name: row
    for row in (
        _layer("depthwise_rows", depthwise_rows, "depthwise", layers.depthwise_rows_tiling, _depthwise_rows),
        _layer("depthwise", depthwise, "depthwise", layers.depthwise_tiling, _depthwise),
        _layer("few_outputs", few_outputs, "dense", layers.few_outputs_tiling, _few_outputs),
        _layer("pointwise", pointwise, "dense", layers.pointwise_tiling, _pointwise),
        _layer("conv2d", conv2d, "dense", layers.dense_tiling, _conv2d),
        _layer("grouped", grouped, "grouped", layers.grouped_tiling, _grouped),
        _layer("spread", spread, "spread", layers.spread_tiling, _spread, spread.spread_groups),
        _layer("partial", partial, "dense", layers.partial_tiling, _partial),
        _block("ffn", ffn, blocks.ffn_tiling, (FFNBlock,)),
        _block("conv_first", conv_first, blocks.conv_first_tiling, FIRST, strides=(1,)),
        _block(
            "conv_first_down",
            conv_first_down,
            blocks.conv_first_down_tiling,
            (ConvFirstBlock,),
            strides=(2,),
            recomputed_macs=conv_first_down.recomputed_macs,
            halo=True,
        ),
        _block("fused_mbconv", fused_mbconv, blocks.fused_mbconv_tiling, (FusedMBConvBlock,), recomputed_macs=fused_mbconv.recomputed_macs),
        _block("mbconv", mbconv, blocks.mbconv_tiling, (MBConvBlock,), recomputed_macs=mbconv.recomputed_macs, halo=True),
        _block("separable", separable, blocks.separable_tiling, (SeparableBlock,), recomputed_macs=separable.recomputed_macs),
        _block("conv_first_hidden", conv_first_hidden, blocks.conv_first_tiling, (ConvNeXtV2Block,)),
        _block("gated", gated, blocks.gated_tiling),
        _block("response", response, blocks.gate_tiling, from_workspace=("pooled",)),
        _block("squeeze_excite", squeeze_excite, blocks.gate_tiling, from_workspace=("pooled",)),
    )
}
LAYER_KERNELS = {name: row for name, row in KERNELS.items() if row.needs}
BLOCK_KERNELS = {name: row for name, row in KERNELS.items() if not row.needs}


def legal(problem, lanes):
    """Names of the kernels of layers that can run the problem."""
    return [name for name, row in LAYER_KERNELS.items() if not row.needs(problem, lanes)]


def kernel_for(problem, lanes, name=None):
    """The row of the kernel for a problem: the one called `name`, checked to be legal for it; without a name the one whose packed order the
    weight is kept in, pointwise before dense where it applies."""
    if name is not None:
        if name not in LAYER_KERNELS:
            raise ValueError(f"kernel {name!r}: must be {', '.join(LAYER_KERNELS)}")
        LAYER_KERNELS[name].check(problem, lanes)
        return LAYER_KERNELS[name]
    order = packed.order_of(problem.weight_shape, problem.groups, lanes)
    return next(row for row in LAYER_KERNELS.values() if row.order == order and not row.needs(problem, lanes))


def kernel_for_block(block):
    """The row of the fused kernel for a record; TypeError for what is none."""
    for row in BLOCK_KERNELS.values():
        if isinstance(block, row.records) and (row.strides is None or block.stride in row.strides):
            return row
    names = ", ".join(dict.fromkeys(record.__name__ for row in BLOCK_KERNELS.values() for record in row.records))
    raise TypeError(f"weights of type {type(block).__name__}: must be one of {names}")
