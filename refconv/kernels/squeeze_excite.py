"""The gates of squeeze-excitation, from the sums that mbconv has pooled: two small matrices an image.

    gate[n] = g(activation(mean[n] @ R + b1) @ E + b2),   mean[n, c] = sum over parts and pixels of pooled[part, n, c] / pixels

Source: Hu et al., "Squeeze-and-Excitation Networks". Units are images.
"""

from refconv.jit import kernel
from refconv.parts.feed_forward import odd_pitch
from refconv.parts.matrix import matrix_block
from refconv.parts.staging import ONE, share, widened
from refconv.tile import add_row, lanes, load, store, zero
from refconv.tile.registers import scaled


def units(problem, t):
    """Independent pieces of work."""
    return problem.n


def workspace(problem, t, lanes, half):
    """Elements of each buffer of one thread; `wide_weights` is for tensors stored as halves."""
    wide = t.vectors * max(problem.hidden, problem.squeezed) * lanes
    return {"means": problem.hidden, "squeezed": problem.squeezed, "wide_weights": wide if half else 0, "absent": 0}


@kernel
def squeeze_excite(x, weight, bias, out, work, problem, t, slot, slots, first, last):
    """Units first to last-1. x: the pooled sums; weight (reduce, expand) packed dense; bias, each may be absent; out (N, hidden); all flat."""
    (reduce, expand), (reduce_bias, expand_bias) = weight, bias
    means, squeezed, wide, absent = work
    means_at, squeezed_at, wide_at = share(means, slot, slots), share(squeezed, slot, slots), share(wide, slot, slots)
    n_lanes, hidden, narrow = lanes(expand), problem.hidden, problem.squeezed
    pitch = odd_pitch(hidden, n_lanes)
    for n in range(first, last):
        for c in range(0, hidden, n_lanes):
            total = zero(ONE, ONE, means)
            for part in range(problem.parts):
                total = add_row(total, load(ONE, ONE, x, (part * problem.n + n) * pitch + c, 0, hidden - c))
            store(means, means_at + c, 0, scaled(total, 1.0 / problem.pixels), hidden - c, 0)
        for k in range(0, narrow, t.vectors * n_lanes):
            near, near_at = widened(reduce, k * hidden, t.vectors * hidden * n_lanes, wide, wide_at)
            to, pixel = (squeezed, squeezed_at + k, narrow, narrow - k), (means, means_at, hidden, 0, 1, hidden)
            rest = near, near_at, hidden * n_lanes, reduce_bias, k, absent, 0, 0, means, means_at, False, means, means_at, 0, 1, 0
            matrix_block(*to, *pixel, *rest, problem.activation, ONE, t.vectors)
        for k in range(0, hidden, t.vectors * n_lanes):
            near, near_at = widened(expand, k * narrow, t.vectors * narrow * n_lanes, wide, wide_at)
            to, pixel = (out, n * hidden + k, hidden, hidden - k), (squeezed, squeezed_at, narrow, 0, 1, narrow)
            rest = near, near_at, narrow * n_lanes, expand_bias, k, absent, 0, 0, squeezed, squeezed_at, False, squeezed, squeezed_at, 0, 1, 0
            matrix_block(*to, *pixel, *rest, problem.gate, ONE, t.vectors)
