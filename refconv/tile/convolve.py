"""Rows of any spatial convolution, written where the caller wants them: how is told by the type of the tiling.

DepthwiseTiling and GroupedTiling clip at the border (tile/strips.py); DenseTiling stages lines with their border (tile/lines.py, tile/dense.py).
"""

from numba.extending import overload

from refconv.layout import ceil_div
from refconv.problem import out_width
from refconv.tile.dense import dense_block
from refconv.tile.instructions import lanes
from refconv.tile.lines import stage_lines, staged_count
from refconv.tile.strips import depthwise_row, grouped_row
from refconv.tiling import DepthwiseTiling, GroupedTiling


def _depthwise(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    width = out_width(conv)
    for p in range(count):
        at = out_at + p * width * out_pitch
        depthwise_row(out, at, out_pitch, x, image, p_first + p, conv, 0, conv.c, weight, weight_at, bias, t.rows, t.taps, t.stride)


def _grouped(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    width, vectors, shape = out_width(conv), ceil_div(conv.groups, t.groups), (t.groups, t.inputs, t.rows, t.taps, t.stride)
    for p in range(count):
        at = out_at + p * width * out_pitch
        grouped_row(out, at, out_pitch, x, image, p_first + p, conv, 0, vectors, weight, weight_at, bias, *shape)


def _dense(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    n_lanes, c_group, k_group = lanes(weight), conv.c // conv.groups, conv.k // conv.groups
    columns = staged_count(out_width(conv), conv.stride_w, conv.s, conv.dilation_w)
    rows = staged_count(count, conv.stride_h, conv.r, conv.dilation_h)
    stride = conv.r * conv.s * c_group * n_lanes
    for group in range(conv.groups):
        x_at = image * conv.h * conv.w * x_channels + group * c_group
        stage_lines(lines, lines_at, x, x_at, conv, c_group, x_channels, p_first * conv.stride_h - conv.pad_top, rows, columns)
        for k in range(0, k_group, t.vectors * n_lanes):
            k_at = group * k_group + k
            block_at = weight_at + (group * ceil_div(k_group, n_lanes) + k // n_lanes) * stride
            arguments = out, out_at + k_at, out_pitch, k_group - k, lines, lines_at, conv, c_group, count, weight, block_at, bias, k_at, t.rows
            if k_group - k > t.tail * n_lanes:
                dense_block(*arguments, t.vectors, t.ahead)
            else:
                dense_block(*arguments, t.tail, t.ahead)


def convolve_rows(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    """Output rows p_first to p_first + count - 1 of `conv` on image number `image` of x, whose pixels are x_channels apart.

    out_at is the first row's first pixel, out_pitch the elements between neighbouring pixels; weight_at the weight's place, packed in the
    order of the tiling t. lines: a staged workspace, used by a DenseTiling only. A depthwise or grouped conv takes all x_channels.
    """
    _by_type(type(t))(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t)


def _by_type(tiling):
    return {DepthwiseTiling: _depthwise, GroupedTiling: _grouped}.get(tiling, _dense)


@overload(convolve_rows, jit_options={"forceinline": True})
def _convolve_rows(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    return _by_type(t.instance_class)
