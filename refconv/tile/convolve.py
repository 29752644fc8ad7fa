"""Rows of any spatial convolution, written where the caller wants them: how is told by the kind in the tiling.

DEPTHWISE and GROUPED clip at the border (tile/strips.py); DENSE stages lines with their border (tile/lines.py, tile/dense.py).
"""

from numba.extending import overload

from refconv.layout import ceil_div
from refconv.problem import out_width
from refconv.tile.dense import dense_block
from refconv.tile.instructions import lanes
from refconv.tile.lines import stage_lines, staged_count
from refconv.tile.strips import depthwise_row, grouped_row
from refconv.tile.types import Static

DEPTHWISE, GROUPED, DENSE = Static(0), Static(1), Static(2)
ZERO = Static(0)


def _depthwise(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    width = out_width(conv)
    for p in range(count):
        at = out_at + p * width * out_pitch
        depthwise_row(out, at, out_pitch, x, image, p_first + p, conv, 0, conv.c, weight, weight_at, bias, t.conv_rows, t.conv_taps, t.conv_stride)


def _grouped(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    width, vectors = out_width(conv), ceil_div(conv.groups, t.conv_groups)
    shape = t.conv_groups, t.conv_inputs, t.conv_rows, t.conv_taps, t.conv_stride
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
        for k in range(0, k_group, t.conv_vectors * n_lanes):
            k_at = group * k_group + k
            block_at = weight_at + (group * ceil_div(k_group, n_lanes) + k // n_lanes) * stride
            arguments = out, out_at + k_at, out_pitch, k_group - k, lines, lines_at, conv, c_group, count, weight, block_at, bias, k_at, t.conv_rows
            if k_group - k > t.conv_tail * n_lanes:
                dense_block(*arguments, t.conv_vectors, ZERO)
            else:
                dense_block(*arguments, t.conv_tail, ZERO)


def convolve_rows(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    """Output rows p_first to p_first + count - 1 of `conv` on image number `image` of x, whose pixels are x_channels apart.

    out_at is the first row's first pixel, out_pitch the elements between neighbouring pixels; weight_at the weight's place, packed in the
    order of t.conv_kind. lines: a workspace for staged lines, used by DENSE only. A depthwise or grouped conv takes all x_channels.
    t: conv_kind; conv_rows; for strips conv_taps, conv_stride, conv_inputs, conv_groups as in refconv.tiling; for dense conv_vectors, conv_tail.
    """
    _KINDS[t.conv_kind](out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t)


_KINDS = {DEPTHWISE: _depthwise, GROUPED: _grouped, DENSE: _dense}


@overload(convolve_rows, jit_options={"forceinline": True})
def _convolve_rows(out, out_at, out_pitch, x, x_channels, image, p_first, count, conv, weight, weight_at, bias, lines, lines_at, t):
    return _KINDS[t.types[t.fields.index("conv_kind")].value]
