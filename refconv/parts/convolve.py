"""Rows of any spatial convolution inside a block, written where the caller wants them: how is told by the kind in the tiling.

DEPTHWISE and GROUPED clip at the border (parts/strips.py); DENSE stages lines with their border (parts/staging.py, parts/dense.py).
"""

from numba.extending import overload

from refconv.parts.dense import dense_block
from refconv.parts.staging import Rows, rows_below, stage_lines, staged_count
from refconv.parts.strips import depthwise_row, grouped_row
from refconv.problem.conv import out_width
from refconv.static import Static
from refconv.tile.instructions import lanes
from refconv.weights.packed import ceil_div

DEPTHWISE, GROUPED, DENSE = Static(0), Static(1), Static(2)
ZERO = Static(0)


def convolve_rows(to, x, rows, p_first, count, conv, weight, weight_at, bias, activation, lines, lines_at, t):
    """Output rows p_first to p_first + count - 1 of `conv`: activation(conv(x) + bias), written to = (buffer, place, pitch).

    rows: where the input's rows lie, from the one under kernel row 0 of output row p_first on. weight_at: the weight's place, packed in the
    order of t.conv_kind. lines: a workspace for staged lines, used by
    DENSE only. t: conv_kind; conv_rows; for strips conv_taps, conv_stride, conv_inputs, conv_groups as in refconv.tiling; for dense
    conv_vectors, conv_tail.
    """
    _KINDS[t.conv_kind](to, x, rows, p_first, count, conv, weight, weight_at, bias, activation, lines, lines_at, t)


def _depthwise(to, x, rows, p_first, count, conv, weight, weight_at, bias, activation, lines, lines_at, t):
    out, out_at, pitch = to
    for p in range(count):
        place, under = out_at + p * out_width(conv) * pitch, rows_below(rows, p * conv.stride_h)
        those = 0, conv.c, weight, weight_at, bias, activation
        depthwise_row(out, place, pitch, x, under, p_first + p, conv, *those, t.conv_rows, t.conv_taps, t.conv_stride)


def _grouped(to, x, rows, p_first, count, conv, weight, weight_at, bias, activation, lines, lines_at, t):
    out, out_at, pitch = to
    for p in range(count):
        place, under = out_at + p * out_width(conv) * pitch, rows_below(rows, p * conv.stride_h)
        those = 0, ceil_div(conv.groups, t.conv_groups), weight, weight_at, bias, activation, t.conv_groups, t.conv_inputs
        grouped_row(out, place, pitch, x, under, p_first + p, conv, *those, t.conv_rows, t.conv_taps, t.conv_stride)


def _dense(to, x, rows, p_first, count, conv, weight, weight_at, bias, activation, lines, lines_at, t):
    out, out_at, pitch = to
    n_lanes, c_group, k_group = lanes(weight), conv.c // conv.groups, conv.k // conv.groups
    columns = staged_count(out_width(conv), conv.stride_w, conv.s, conv.dilation_w)
    staged = staged_count(count, conv.stride_h, conv.r, conv.dilation_h)
    stride = conv.r * conv.s * c_group * n_lanes
    for group in range(conv.groups):
        of_group = Rows(rows.at + group * c_group, rows.pitch, rows.first, rows.held)
        stage_lines(lines, lines_at, x, of_group, conv, c_group, p_first * conv.stride_h - conv.pad_top, staged, columns)
        for k in range(0, k_group, t.conv_vectors * n_lanes):
            k_at = group * k_group + k
            block_at = weight_at + (group * ceil_div(k_group, n_lanes) + k // n_lanes) * stride
            of_block = out, out_at + k_at, pitch, k_group - k, lines, lines_at, conv, c_group, count, weight, block_at, bias, k_at, activation
            if k_group - k > t.conv_tail * n_lanes:
                dense_block(*of_block, t.conv_rows, t.conv_vectors, ZERO)
            else:
                dense_block(*of_block, t.conv_rows, t.conv_tail, ZERO)


_KINDS = {DEPTHWISE: _depthwise, GROUPED: _grouped, DENSE: _dense}


@overload(convolve_rows, jit_options={"forceinline": True})
def _convolve_rows(to, x, rows, p_first, count, conv, weight, weight_at, bias, activation, lines, lines_at, t):
    return _KINDS[t.types[t.fields.index("conv_kind")].value]
