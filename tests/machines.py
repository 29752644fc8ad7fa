"""One kernel source on three machines, for tests: compiled on arrays, plain Python on recorded arrays, traced; each touches the same elements."""

import numpy as np

import refconv
from refconv import host
from refconv.kernels import choose_fused
from refconv.plan import make_plan
from refconv.schedule import parameters, passes
from refconv.tile.recorded import Recorded
from refconv.weights.blocks import block_problem, pack_block
from sim.hierarchy.hierarchy import Hierarchy, run
from sim.hierarchy.words import HEADER, TENSOR_BITS
from sim.trace.run import compiled_for
from sim.trace.traced import Trace

NAN = np.float32(np.nan)


def flattened(operands):
    """Arrays or tuples of them as one list."""
    return [array for operand in operands for array in (operand if isinstance(operand, tuple) else (operand,))]


def shaped(operands, flat):
    """`flat` in the form of `operands`: tuples where they have tuples."""
    left = iter(flat)
    return [tuple(next(left) for _ in operand) if isinstance(operand, tuple) else next(left) for operand in operands]


def touched_by_trace(plan, operands):
    """({(buffer number, element)} touched, those of them stored) by the traced kernel on buffers of the sizes of `operands`.

    Lines of one operand's element, in a cache that holds them all, each in a set of its own: what is resident has been touched, what is
    dirty stored.
    """
    arrays = flattened(operands)
    line = arrays[0].dtype.itemsize
    hierarchy = Hierarchy([(1 << 16, 1)], line, len(arrays))
    trace = Trace(hierarchy, host.target().vector_bytes)
    buffers = [trace.buffer(str(i), len(array), array.dtype.itemsize) for i, array in enumerate(arrays)]
    assert sum(trace.sizes) < line << 16
    arguments = (*shaped(operands, buffers), plan.problem, plan.tiling, 0, 1, 0, plan.units)
    compiled_for(plan.kernel.run, arguments)(*arguments)
    run(hierarchy.words)
    tags = hierarchy.words[hierarchy.words[HEADER.tags_at] :]
    tags = tags[tags != 0]
    lines, dirty = (tags >> 1) - 1, (tags & 1).astype(bool)
    tensors = lines * line >> TENSOR_BITS
    starts, itemsizes = np.array([(buffer.address & ((1 << TENSOR_BITS) - 1), buffer.itemsize) for buffer in buffers]).T
    elements = ((lines * line & ((1 << TENSOR_BITS) - 1)) - starts[tensors]) // itemsizes[tensors]
    pairs = np.stack([tensors, elements], 1)
    return set(map(tuple, pairs.tolist())), set(map(tuple, pairs[dirty].tolist()))


def check_three_machines(plan, x, weight, bias, compare=np.testing.assert_array_equal, outputs=None):
    """Compiled, plain and traced runs of a plan agree; weight and bias packed and flat, of a fused kernel tuples.

    compare: of the outputs, compiled and plain; every output element is stored exactly once, no operand is, and the traced run touches and
    stores the very elements of the plain one. outputs: elements of out, where they are not those of the plan's out_shape.

    Returns (out, {name: workspace buffer}) of the plain run.
    """
    outputs, dtype = int(np.prod(plan.out_shape)) if outputs is None else outputs, plan.element.dtype
    compiled_out = np.full(outputs, NAN.astype(dtype))
    plan.run(x, weight, bias, compiled_out)
    work = tuple(np.full(elements, NAN) for elements in plan.workspace.values())
    operands = x, weight, bias, np.full(outputs, NAN.astype(dtype)), work
    recorded = [Recorded(array) for array in flattened(operands)]
    inputs, out = len(recorded) - len(work) - 1, recorded[len(recorded) - len(work) - 1]
    plan.kernel.source(*shaped(operands, recorded), plan.problem, plan.tiling, 0, 1, 0, plan.units)
    compare(compiled_out, out.values)
    assert (out.stores == 1).all(), "every output element is stored exactly once"
    assert (out.loads == 0).all()
    assert all((operand.stores == 0).all() for operand in recorded[:inputs])
    stored = {(i, int(e)) for i, r in enumerate(recorded) for e in np.flatnonzero(r.stores)}
    touched = stored | {(i, int(e)) for i, r in enumerate(recorded) for e in np.flatnonzero(r.loads)}
    assert (touched, stored) == touched_by_trace(plan, shaped(operands, recorded))
    return out.values, {name: buffer.values for name, buffer in zip(plan.workspace, recorded[inputs + 1 :], strict=True)}


def check_three_machines_on_block(record, x, compare, **squeeze):
    """check_three_machines on every kernel call of a fused block, each on what those before have made. x: NHWC.

    What the plain run returns in the end is what `refconv.fused_block` does.
    """
    lanes = host.target().lanes(4)
    row, packed, problem = choose_fused(record), pack_block(record, lanes), block_problem(record, *x.shape[:3], lanes)
    tensors = {"input": x.reshape(-1), "nothing": np.empty(0, x.dtype), **parameters(packed)}
    steps = passes(row, record, packed, problem, None, **squeeze)
    for step in steps:
        plan = make_plan(step.name, step.problem, x.dtype, step.tiling, step.threads)
        operands = tensors[step.x], *(tuple(tensors[name] for name in names) for names in (step.weights, step.biases))
        made, work = check_three_machines(plan, *operands, compare, step.size)
        tensors |= {**work, step.out: made, "nothing": np.empty(0, x.dtype)}
    whole = refconv.fused_block(x, record, layout="NHWC", threads=1, **squeeze)
    compare(whole.reshape(-1), tensors["output"])
    return [step.name for step in steps]
