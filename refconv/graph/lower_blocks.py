"""Blocks turned into calls: whether a record's kernel runs on a tensor of a network, and in which order in memory it reads and makes it."""

import math

import numpy as np

from refconv import host
from refconv.elements import element
from refconv.graph import orders
from refconv.graph.calls import Tensor
from refconv.plan import MOST_WORKSPACE_BYTES, schedule_of
from refconv.problem.blocks import FFNBlock, FusedMBConvBlock, MBConvBlock, SeparableBlock
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


CONVOLVED_LAST = MBConvBlock, SeparableBlock, FusedMBConvBlock
"""Records whose projection takes what a convolution has made, a few rows of a map at a time: their tiles are narrower than those of their layers."""


def pays(record, images, stored, target):
    """Whether a block on images (n, h, w) takes less time in one kernel than its layers one by one: where these wait for memory.

    What lies between layers, written by one and read by the next, the fused kernel keeps to itself. Moving it takes longer than computing where
    there are fewer operations to a byte of it than a core makes while a byte comes from beyond its L2, and where it leaves the L2: where some
    layer's input and output are larger together. Asked of CONVOLVED_LAST alone, whose narrower tiles cost more than traffic of the L2 does; the
    other kernels' units are rows of pixels, as their layers', and they have no less to gain: a norm or a part of the channels is passes of NumPy.

    Measured with AVX-512 (16 FLOP/B) and an L2 of 2 MiB, MobileNetV2: fused 1.93 times as fast at 4.8 FLOP/B, 1.29 and 1.22 at 6.8, 1.06 at 8.8
    in the L2, then 0.89 to 1.01; RegNetY-008, with squeeze-excitation, 1.25 at 15.3, 1.04 at 24, 0.86 to 1.04 up to 65, 0.33 beyond. Of the
    others, ConvNeXt-Atto 1.25 to 1.94, FasterNet-T0 1.24 to 1.80.
    """
    if not isinstance(record, CONVOLVED_LAST):
        return True
    layers, itemsize = [sum(moved) for moved in record.unfused_elements(*images).values()], stored.itemsize
    outside = math.prod(images) * record.c + math.prod(record.out_shape(*images))
    between_bytes = (sum(layers) - outside) * itemsize
    flops_per_cycle = 2 * target.multiply_adds_per_cycle * target.lanes(stored.work.itemsize)
    waits = 2 * record.macs(*images) * target.beyond_l2_bytes_per_cycle <= flops_per_cycle * between_bytes
    return waits and max(layers) * itemsize > target.l2_bytes


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
