"""Blocks turned into calls: whether a record's kernel runs on a tensor of a network, and in which order in memory it reads and makes it."""

import math

import numpy as np

from refconv import host
from refconv.elements import element
from refconv.graph import orders
from refconv.graph.calls import Tensor
from refconv.plan import MOST_WORKSPACE_BYTES, schedule_of
from refconv.problem.blocks import FFNBlock, SeparableBlock
from refconv.schedule import block_schedule


def steps_within(step):
    """The Steps that a block was; none of any other step."""
    return step.attributes["steps"] if step.op == "block" else ()


def reads_channels_last(step):
    """Whether a step's kernel reads its first source, channels second, with these last."""
    return step.op == "conv" or (step.op == "block" and step.attributes["read"] == orders.channels_last(4))


def _as_read(step, shape):
    """The sizes of a tensor in the order in which a block reads it."""
    return tuple(shape[axis] for axis in step.attributes["read"] or range(len(shape)))


def _image(step, shape):
    """The (n, h, w, c) that a block sees in a tensor: of a map its own, else pixels in one row."""
    *lead, c = _as_read(step, shape)
    return (*lead, c) if len(lead) == 3 else (1, 1, math.prod(lead), c)


def block_shape(step, shape):
    """The shape of what a block makes of a tensor, in the network's order of axes."""
    made = step.attributes["record"].out_shape(*_image(step, shape)[:-1])
    if len(shape) != len(made):
        made = _as_read(step, shape)[:-1] + made[-1:]
    return tuple(size for _, size in sorted(zip(step.attributes["write"] or range(len(made)), made, strict=True)))


def _schedule(builder, record, images, stored):
    """The Schedule of a record on images (n, h, w): with the tiling measured on this computer or its rule's, or with the rule's for the target."""
    if builder.target is None:
        return schedule_of(record, images, stored, builder.threads)
    return block_schedule(record, *images, stored, builder.target._replace(threads=builder.threads))


MUCH_ELSE = {"norm", "partial_conv", "pad"}
"""Steps of a block's graph that are passes of their own where layers run one by one."""


def pays(record, images, stored, target):
    """Whether a block on images (n, h, w) takes less time in one kernel than its layers one by one: where what lies between these leaves the L2.

    A tensor that a layer makes and the next one reads stays there where each layer's input and output fit it, the block's own left out. Then
    there is little to gain, and the fused kernel's tiles, narrower since a unit has few rows, cost more. Layers that are passes over tensors
    and little else cost more at any size: MUCH_ELSE, and squeeze-excitation of a depthwise convolution, of which a mean, gates and the convolution
    itself are three. (RegNetY-008 at 14x14, whose convolution of groups of 16 channels is not: fused 1.05 times as long.)
    """
    ops = {step.op for step in record.graph.steps}
    if MUCH_ELSE & ops or ("multiply" in ops and record.conv_weight.shape[1:2] == (1,)):
        return True
    layers = record.graph.merged(*images, record.c)
    between = {layer.name: layer.written for layer in layers[:-1]}
    if isinstance(record, SeparableBlock):  # what lies between is as large as the input, and drives it out
        return max(layer.read + layer.written for layer in layers) * stored.itemsize > target.l2_bytes
    return max(between.get(layer.source, 0) + between.get(layer.name, 0) for layer in layers) * stored.itemsize > target.l2_bytes


def block_fits(builder, step):
    """Whether a block runs by its kernel: where that pays, or always, if the step says so; not on sources that are empty, of another type or
    other sizes than it takes, or too large."""
    record, (x, *residual) = step.attributes["record"], [builder.tensors.get(name) for name in step.sources]
    if x is None or None in residual or any(tensor.dtype != record.dtype for tensor in (x, *residual)):
        return False
    n, h, w, c = _image(step, x.shape)
    if c != record.c or 0 in x.shape or (len(x.shape) != 4 and not isinstance(record, FFNBlock)):
        return False
    try:
        made = block_shape(step, x.shape)
        schedule = _schedule(builder, record, (n, h, w), element(x.dtype))
    except ValueError:
        return False
    if not step.attributes["always"] and not pays(record, (n, h, w), schedule.element, builder.target or host.target()):
        return False
    staged = max(sum(call.sizes) for call in schedule.calls) * schedule.element.work.itemsize
    return staged <= MOST_WORKSPACE_BYTES and all(np.broadcast_shapes(tensor.shape, made) == made for tensor in residual)


def add_block(builder, step, sources, out):
    """Add the call of a block that fits; ValueError where the graph says another shape than its attributes make."""
    x, record = sources[0], step.attributes["record"]
    n, h, w, _ = _image(step, x.shape)
    made, schedule = block_shape(step, x.shape), _schedule(builder, record, (n, h, w), element(x.dtype))
    if made != out.shape:
        raise ValueError(f"makes {list(made)} by its attributes, {list(out.shape)} in the graph: must be the same")
    read, write = (step.attributes[name] or orders.plain(len(x.shape)) for name in ("read", "write"))
    between = {}
    for call in schedule.calls[:-1]:
        if schedule.tensors[call.out]:
            between[call.out] = f"{step.name} {call.out}"
            builder.tensors[between[call.out]] = Tensor((schedule.tensors[call.out],), x.dtype, orders.plain(1), between[call.out])
    given = builder.in_order(step.sources[0], read), *step.sources[1:]
    kernels, macs = " + ".join(call.kernel.name for call in schedule.calls), record.macs(n, h, w)
    builder.call(step, kernels, given, out._replace(order=write), block=schedule, between=between, macs=macs)
