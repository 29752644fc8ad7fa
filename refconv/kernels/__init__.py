"""The table of kernels: the one list that tests, command line, simulator and benchmarks read.

To add a kernel: one file here, its definition in refconv/reference.py, one row below.
"""

from typing import Any, NamedTuple

from refconv import layout, tiling
from refconv.jit import plain
from refconv.kernels import conv2d, depthwise, grouped, partial, pointwise, spread
from refconv.problem import Conv2d, PartialConv2d


class Kernel(NamedTuple):
    """One row: how a kernel is run, packed, tiled, and for which problems it is legal.

    run(x, weight, bias, out, work, problem, tiling, slot, slots, first, last) is the compiled kernel; `order` the packed order of
    its weights; tiling(problem, itemsize, target) the rule, itemsize being that of the sums; units(problem, tiling); workspace(problem, tiling,
    lanes, half) the elements of each workspace buffer of a thread, where tensors are halves or not; `operands` (0, 0): one weight, one
    bias; from_work: see refconv.fused; needs(problem, lanes) returns "" or what the problem lacks.
    """

    name: str
    run: Any
    order: str
    tiling: Any
    units: Any
    workspace: Any
    needs: Any
    operands: tuple = (0, 0)
    from_work: bool = False

    def check(self, problem, lanes):
        """Raise a ValueError that says what the kernel needs, unless the problem is legal for it."""
        lacking = self.needs(problem, lanes)
        if lacking:
            raise ValueError(f"kernel {self.name!r} on {problem}: needs {lacking}; legal kernels: {', '.join(legal(problem, lanes))}")

    def checked(self, wanted, chosen, problem, lanes):
        """A tiling asked for, checked against the rule's."""
        return tiling.checked(tiling.normalised(wanted), chosen, problem, lanes)

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
    fits = isinstance(problem, Conv2d) and layout.groups_per_vector(problem.c_group, problem.k_group, lanes) > 0
    return "" if fits else f"groups of at most {lanes} input and output channels (one vector)"


def _partial(problem, lanes):
    return "" if isinstance(problem, PartialConv2d) else "a PartialConv2d"


KERNELS = {
    row.name: row
    for row in (
        Kernel("depthwise", depthwise.depthwise, "depthwise", tiling.depthwise_tiling, depthwise.units, depthwise.workspace, _depthwise),
        Kernel("pointwise", pointwise.pointwise, "dense", tiling.pointwise_tiling, pointwise.units, pointwise.workspace, _pointwise),
        Kernel("conv2d", conv2d.conv2d, "dense", tiling.dense_tiling, conv2d.units, conv2d.workspace, _conv2d),
        Kernel("grouped", grouped.grouped, "grouped", tiling.grouped_tiling, grouped.units, grouped.workspace, _grouped),
        Kernel("spread", spread.spread_groups, "spread", tiling.spread_tiling, spread.units, spread.workspace, _spread),
        Kernel("partial", partial.partial, "dense", tiling.partial_tiling, partial.units, partial.workspace, _partial),
    )
}


def legal(problem, lanes):
    """Names of the kernels that can run the problem."""
    return [name for name, row in KERNELS.items() if not row.needs(problem, lanes)]


def choose(problem, lanes):
    """The kernel for a problem: the one whose packed order the weight is kept in, pointwise before dense where it applies."""
    order = layout.order_of(problem.weight_shape, problem.groups, lanes)
    return next(row for row in KERNELS.values() if row.order == order and not row.needs(problem, lanes))
