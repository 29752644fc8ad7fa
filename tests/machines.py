"""One kernel source on three machines, for tests: compiled on arrays, plain Python on recorded arrays, traced; each touches the same elements."""

import numpy as np

import refconv
from refconv import host
from refconv.elements import element
from refconv.jit import Part
from refconv.plan import plan_of
from refconv.problem.fused import SPILLED
from refconv.schedule import block_schedule, parameters
from refconv.tile.recorded import Recorded
from refconv.weights.blocks import pack_block
from sim.hierarchy.hierarchy import Hierarchy, run
from sim.hierarchy.words import HEADER, TENSOR_BITS
from sim.trace.run import compiled_for
from sim.trace.traced import Trace

NAN = np.float32(np.nan)


def touched_by_trace(plan, arrays):
    """({(buffer number, element)} touched, those of them stored) by the traced kernel on buffers of the arrays' sizes.

    Lines of one operand's element, in a cache that holds them all, each in a set of its own: what is resident has been touched, what is
    dirty stored.
    """
    call, line = plan.call, arrays[0].dtype.itemsize
    hierarchy = Hierarchy([(1 << 16, 1)], line, len(arrays))
    trace = Trace(hierarchy, host.target().vector_bytes)
    buffers = [trace.buffer(str(i), len(array), array.dtype.itemsize) for i, array in enumerate(arrays)]
    assert sum(trace.sizes) < line << 16
    arguments = (*call.arguments(buffers), Part(0, 1, 0, call.units))
    compiled_for(call.kernel.run, arguments)(*arguments)
    run(hierarchy.words)
    tags = hierarchy.words[hierarchy.words[HEADER.tags_at] :]
    tags = tags[tags != 0]
    lines, dirty = (tags >> 1) - 1, (tags & 1).astype(bool)
    tensors = lines * line >> TENSOR_BITS
    starts, itemsizes = np.array([(buffer.address & ((1 << TENSOR_BITS) - 1), buffer.itemsize) for buffer in buffers]).T
    elements = ((lines * line & ((1 << TENSOR_BITS) - 1)) - starts[tensors]) // itemsizes[tensors]
    pairs = np.stack([tensors, elements], 1)
    return set(map(tuple, pairs.tolist())), set(map(tuple, pairs[dirty].tolist()))


def check_three_machines(plan, inputs, compare=np.testing.assert_array_equal, outputs=None):
    """Compiled, plain and traced runs of a plan agree; inputs: the kernel's operands, in order, packed and flat.

    compare: of the outputs, compiled and plain; every output element is stored exactly once, no operand is, and the traced run touches and
    stores the very elements of the plain one. outputs: elements of out, where they are not those of the plan's out_shape.

    Returns (out, [workspace buffers]) of the plain run.
    """
    outputs, call, dtype = int(np.prod(plan.out_shape)) if outputs is None else outputs, plan.call, plan.element.dtype
    compiled_out = np.full(outputs, NAN.astype(dtype))
    plan.run(call.operands(inputs), compiled_out)
    work = [np.full(elements, NAN) for elements in call.sizes]
    recorded = [Recorded(array) for array in (*inputs, np.full(outputs, NAN.astype(dtype)), *work)]
    out = recorded[len(inputs)]
    call.kernel.source(*call.arguments(recorded), Part(0, 1, 0, call.units))
    compare(compiled_out, out.values)
    assert (out.stores == 1).all(), "every output element is stored exactly once"
    assert (out.loads == 0).all() or getattr(call.problem, "result", None) == SPILLED, "a spilled hidden layer alone is read again, for its sums"
    assert all((operand.stores == 0).all() for operand in recorded[: len(inputs)])
    stored = {(i, int(e)) for i, r in enumerate(recorded) for e in np.flatnonzero(r.stores)}
    touched = stored | {(i, int(e)) for i, r in enumerate(recorded) for e in np.flatnonzero(r.loads)}
    assert (touched, stored) == touched_by_trace(plan, recorded)
    return out.values, [buffer.values for buffer in recorded[len(inputs) + 1 :]]


def check_three_machines_on_block(record, x, compare, **squeeze):
    """check_three_machines on every kernel call of a fused block, each on what those before have made. x: NHWC.

    What the plain run returns in the end is what `refconv.fused_block` does.
    """
    target = host.target()
    schedule = block_schedule(record, *x.shape[:3], element(x.dtype), target, **squeeze)
    tensors = {"input": x.reshape(-1), "nothing": np.empty(0, x.dtype), **parameters(pack_block(record, target.lanes(4)))}
    for call in schedule.calls:
        inputs = [tensors[key] for key in call.inputs]
        out, work = check_three_machines(plan_of(call, schedule.element), inputs, compare, schedule.tensors[call.out])
        tensors |= {**dict(zip(call.places, work, strict=True)), call.out: out, "nothing": np.empty(0, x.dtype)}
    whole = refconv.fused_block(x, record, layout="NHWC", threads=1, **squeeze)
    compare(whole.reshape(-1), tensors["output"])
    return [call.kernel.name for call in schedule.calls]
