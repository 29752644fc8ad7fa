"""Residual blocks as functions of arrays: fused into one kernel, or layer by layer on this project's kernels."""

from refconv import host
from refconv.blocks import MBConvBlock
from refconv.elements import element
from refconv.fused import choose_fused
from refconv.fused.problem import block_problem, check_fused, gate_problem, pack_block
from refconv.layout import empty
from refconv.ops import contiguous, deliver, image, result
from refconv.plan import make_plan, thread_count


def fused_block(x, weights, *, layout="NCHW", out=None, tiling=None, threads=None):
    """A whole residual block in one kernel, its hidden layer never in DRAM (Lavin, "On the Efficiency of Convolutional Neural Networks").

    x: (N, C, H, W) or (C, H, W); with layout="NHWC" (N, H, W, C) or (H, W, C); of the dtype of the record. weights: a record of
    refconv.blocks, which is packed at its first call and kept packed as long as it lives: later changes of its arrays are not seen. out: an
    array to write to, contiguous in `layout`, apart from x and the record's arrays. tiling: of refconv.fused.tiling, in the place of the
    rule's. threads: at most this many (None: Numba's current number); the result does not depend on it.

    Returns (N, K, P, Q), or as x is given. TypeError or ValueError names the argument, its value and what is legal.
    """
    row = choose_fused(weights)
    check_fused(weights)
    x, batched = image("x", x, layout)
    if x.dtype != weights.dtype:
        raise TypeError(f"x of dtype {x.dtype}: must be {weights.dtype} as the record")
    if x.shape[3] != weights.c:
        raise ValueError(f"x of {x.shape[3]} channels: must have {weights.c}, those of the record")
    lanes = host.target().lanes(element(x.dtype).work.itemsize)
    n, h, w, _ = x.shape
    plan = make_plan(row.name, block_problem(weights, n, h, w, lanes), x.dtype, tiling, thread_count(threads))
    packed = pack_block(weights, lanes)
    target = result(out, plan.out_shape, x, weights.arrays, layout, batched)
    direct = target if target.flags.c_contiguous else empty(target.shape, x.dtype)
    source, to = contiguous(x).reshape(-1), direct.reshape(-1)
    biases = packed.biases
    if isinstance(weights, MBConvBlock):
        biases = (*biases, _gates(weights, packed, plan, source, to) if weights.se else plan.no_bias)
    plan.run(source, packed.weights, biases, to)
    return deliver(direct, target, out, layout, batched)


def _gates(block, packed, plan, source, to):
    """The gates of squeeze-excitation, (N * hidden,): a first pass that makes the hidden layer only to add it up, and two small matrices."""
    problem, tiling = plan.problem, type(plan.tiling)(*map(int, plan.tiling))
    pool = make_plan("mbconv", problem._replace(pool=1), plan.element, tiling, plan.threads)
    work = dict(zip(pool.workspace, pool.run(source, packed.weights, (*packed.biases, plan.no_bias), to), strict=True))
    small = make_plan("squeeze_excite", gate_problem(block, problem.n, pool.threads, problem.p * problem.q), plan.element)
    gates = empty(problem.n * problem.hidden, block.dtype)
    small.run(work["pooled"], packed.gates.weights, packed.gates.biases, gates)
    return gates
