"""torch: a layer as a call of conv2d in both memory formats and with prepacked weights; a block as a module, eager and compiled."""

import numpy as np

from refconv.bench.entry import Entry
from refconv.problem.conv import PartialConv2d


def layer_entries(operands, threads):
    """{form: Entry}: contiguous and channels_last tensors; oneDNN's own layout and prepacked weights where torch has them."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    problem, conv, options = operands.problem, operands.conv, operands.options
    top, left, bottom, right = operands.sides
    symmetric = (top, left) == (bottom, right) or (0 <= bottom <= top and 0 <= right <= left)
    stride, dilation, groups = options["stride"], options["dilation"], options["groups"]
    weight = tensor(operands.weight)
    entries = {}

    def convolution(w):
        if symmetric:
            return lambda part: functional.conv2d(part, w, None, stride, (top, left), dilation, groups)
        return lambda part: functional.conv2d(functional.pad(part, (left, right, top, bottom)), w, None, stride, 0, dilation, groups)

    for name, form in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
        x, w = tensor(operands.x).contiguous(memory_format=form), weight.contiguous(memory_format=form)
        entries[name] = _entry(problem, conv.c, convolution(w), x)
    if symmetric and operands.dtype != np.float64 and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        # Weights reordered once for oneDNN, as torch.compile does when it freezes a model; channels_last activations.
        x = tensor(operands.x).contiguous(memory_format=torch.channels_last)
        size = [conv.n, conv.c, conv.h, conv.w]
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, (top, left), stride, dilation, groups, size)
        call = torch.ops.mkldnn._convolution_pointwise
        prepacked = lambda part: call(part, packed, None, (top, left), stride, dilation, groups, "none", [], "")
        entries["prepacked"] = _entry(problem, conv.c, prepacked, x)
    return entries


def _entry(problem, convolved, convolution, x):
    """The Entry of a convolution of a tensor, or of the partial one, which splits and concatenates."""
    import torch

    if isinstance(problem, PartialConv2d):
        run = lambda: torch.cat((convolution(x[:, :convolved]), x[:, convolved:]), 1)
    else:
        run = lambda: convolution(x)
    return Entry(run, lambda: run().double().numpy())


def tensor(array):
    """A torch tensor of the array's values and type; torch cannot read NumPy arrays of bfloat16."""
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def block_entries(record, x, threads):
    """{form: Entry} of a block: eager and compiled, contiguous and channels_last."""
    from refconv.bench.peers.torch_blocks import torch_entries

    return torch_entries(record, x, threads)


def vector_bytes():
    """Bytes of the widest vectors of torch's own kernels; oneDNN, which runs its convolutions, has a setting of its own."""
    import torch

    return {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 16)
