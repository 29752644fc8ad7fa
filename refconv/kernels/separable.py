"""A depthwise separable convolution in one kernel: a depthwise or grouped convolution, its activation, a pointwise one, and an activation after it.

    m[n, p, q] = activation(conv(x)[n, p, q] + b)
    out[n, p, q] = x[n, p, q] (where there is a residual) + projected(b2 + m[n, p, q] @ V)

With squeeze-excitation m is multiplied by gate[n], as in the kernel mbconv: this is that block without its expansion, so that no hidden row is
computed twice. m, which layer by layer is written and read once, is there for the rows of a unit alone. Sources of the block: Howard et al.,
"MobileNets" (arXiv 1704.04861); the loops are derived here. Loops, outer to inner:

    unit: image n, block of t.lines output rows              (units run in parallel)
        the rows convolved into `hidden`, straight from the input
        projected to the output, or, where only gates are wanted, added up in `pooled` for squeeze-excitation (parts/ending.py)
"""

from typing import Any, NamedTuple

from refconv.jit import kernel
from refconv.parts.convolve import convolve_rows, own_convolution, staged_elements
from refconv.parts.ending import begin_ending, end_rows, hidden_rows, image_projection
from refconv.parts.feed_forward import odd_pitch
from refconv.parts.gates import projection_size
from refconv.parts.staging import image_rows
from refconv.parts.workspace import own_part
from refconv.problem.conv import out_height, out_width
from refconv.problem.fused import middle_conv
from refconv.tile import lanes
from refconv.tile.operands import Place, View
from refconv.weights.packed import ceil_div


def units(block, t):
    """The number of independent pieces of work."""
    return block.n * ceil_div(block.p, t.lines)


class Operands(NamedTuple):
    """The input, the packed weights, the biases (of length 0: none), the gates of a pass that projects (of length 0: none)."""

    x: Any
    conv: Any
    project: Any
    conv_bias: Any
    project_bias: Any
    gates: Any


class Work(NamedTuple):
    """Convolved rows; sums begun with the residual, widened from halves; this thread's sums for the gates; the projection's weights, widened
    or with the gates of an image in them; staged lines; the convolution's weights, widened."""

    hidden: Any
    sums: Any
    pooled: Any
    projection: Any
    lines: Any
    wide_conv: Any


def workspace(block, t, lanes, half):
    """Elements of each buffer of one thread."""
    conv, pitch, rows = middle_conv(block), odd_pitch(block.hidden, lanes), min(t.lines, block.p)
    return Work(
        rows * conv.q * pitch,
        rows * conv.q * block.k if half else 0,
        block.n * pitch if block.gated else 0,
        projection_size(block, lanes, half),
        staged_elements(conv, rows, t.conv),
        block.conv_size if half else 0,
    )


def recomputed_macs(block, t, squeeze="recompute"):
    """Multiply-adds beyond those of the layers: with squeeze-excitation the first pass, unless it spills the hidden layer."""
    return middle_conv(block).macs if block.gated and squeeze == "recompute" else 0


@kernel
def separable(operands, out, work, block, t, part):
    """Compute the units of the Part. x and out NHWC; all flat. Of block.result as mbconv."""
    conv, hidden, lines = middle_conv(block), own_part(work.hidden, part), own_part(work.lines, part)
    convolution = own_convolution(conv, block.activation, block, operands, own_part(work.wide_conv, part))
    height, width, near = out_height(conv), out_width(conv), View(hidden.buffer, hidden.at, odd_pitch(block.hidden, lanes(operands.project)))
    blocks, ending = ceil_div(height, t.lines), begin_ending(operands, work, block, part)
    matrix, image_before = ending.plain, -1
    for unit in range(part.first, part.last):
        n, row = divmod(unit, blocks)
        if n != image_before:
            matrix, image_before = image_projection(ending, block, n), n
        p_first = row * t.lines
        count = min(t.lines, height - p_first)
        rows = image_rows(Place(operands.x, 0), block.c, block.h, n, p_first * conv.stride_h - conv.pad_top)
        at = (n * height + p_first) * width
        convolved = hidden_rows(out, at, 0, near, block)
        convolve_rows(convolved, rows, p_first, count, convolution, lines, t.conv)
        end_rows(out, at, convolved, (0, block.hidden), count * width, n, matrix, ending, block, t.project)
