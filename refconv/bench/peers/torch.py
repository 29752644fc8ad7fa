"""torch: a layer as a call of conv2d in both memory formats and with prepacked weights; a block or a network as a module, eager and compiled."""

import copy
import functools

import numpy as np
import torch
from torch.nn import Module, Parameter, functional

from refconv.bench.entry import Entry
from refconv.bench.peers.steps import PeerBlock
from refconv.bench.peers.torch_graph import NotInTorch, TorchGraph
from refconv.cli import note
from refconv.problem.blocks import ConvNeXtBlock, FFNBlock
from refconv.problem.conv import PartialConv2d


def layer_entries(operands, threads):
    """{form: Entry}: contiguous and channels_last tensors; oneDNN's own layout and prepacked weights where torch has them."""
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
    if isinstance(problem, PartialConv2d):
        run = lambda: torch.cat((convolution(x[:, :convolved]), x[:, convolved:]), 1)
    else:
        run = lambda: convolution(x)
    return Entry(run, lambda: run().double().numpy())


def tensor(array):
    """A torch tensor of the array's values and type; torch cannot read NumPy arrays of bfloat16."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


ACTIVATIONS = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
}

LINEAR = (FFNBlock, ConvNeXtBlock)
"""The blocks whose authors have linear layers on channels that come last instead of 1x1 convolutions; so torch is as fast or faster (measured)."""


class TorchBlock(PeerBlock, Module):
    """A module with the weights of a record; tensors NCHW."""

    def __init__(self, record):
        super().__init__()
        self.linear = isinstance(record, LINEAR)
        self.settle(record, self.linear)
        for name, array in record.arrays.items():
            square = array.ndim == 2 and not self.linear
            self.register_parameter(name, Parameter(tensor(array[:, :, None, None] if square else array)))

    def conv(self, x, weight, bias, groups=1):
        """A convolution; weight and bias are names of arrays of the record."""
        weight = getattr(self, weight)
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        return functional.conv2d(x, weight, bias and getattr(self, bias), padding=padding, groups=groups)

    def matrix(self, x, weight, bias):
        """A matrix product for each pixel."""
        if self.linear:
            return functional.linear(x, getattr(self, weight), bias and getattr(self, bias))
        return self.conv(x, weight, bias)

    def partial_conv(self, x, weight, bias):
        """The first channels convolved, the others as they are."""
        convolved = getattr(self, weight).shape[0]
        first, rest = x.split([convolved, x.shape[1] - convolved], 1)
        return torch.cat((self.conv(first, weight, bias), rest), 1)

    def norm(self, x, weight, bias, eps):
        """LayerNorm over the channels of each pixel."""
        weight = getattr(self, weight)
        return functional.layer_norm(x, weight.shape, weight, bias and getattr(self, bias), eps)

    def scaled(self, x, weight):
        """Each channel times its factor."""
        return x * (getattr(self, weight) if self.linear else getattr(self, weight)[:, None, None])

    def shifted(self, x, bias):
        """Each channel plus its number."""
        return x + (getattr(self, bias) if self.linear else getattr(self, bias)[:, None, None])

    def response(self, x, weight, eps):
        """The gates of global response normalisation."""
        norms = x.norm(p=2, dim=(2, 3), keepdim=True)
        return 1 + getattr(self, weight)[:, None, None] * norms / (norms.mean(1, keepdim=True) + eps)

    def activation(self, x, kind):
        """The activation of every element."""
        return ACTIVATIONS[kind](x)

    def mean(self, x):
        """The mean over the map."""
        return x.mean((2, 3), keepdim=True)

    def to_last(self, x):
        """The tensor with channels last."""
        return x.permute(0, 2, 3, 1)

    def to_first(self, x):
        """The tensor with channels first."""
        return x.permute(0, 3, 1, 2)

    def multiply(self, x, gates):
        """Times the gates."""
        return x * gates

    def add(self, x, y):
        """The sum."""
        return x + y


def block_entries(record, x, threads):
    """{form: Entry}: eager and compiled, contiguous and channels_last; a form that torch cannot compile is left out, with a line on stderr.

    Compiled with its weights frozen, so that oneDNN's layouts are made beforehand. Compiling needs a C++ compiler.
    """
    forms = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    return _module_entries({name: (TorchBlock(record), form) for name, form in forms.items()}, x, threads)


def network_entries(model, x, threads):
    """{form: Entry} of an onnx.ModelProto, as of a block, and with 1x1 convolutions as linear layers on channels that come last ("linear").

    {} and a line on stderr for a graph with a node that is not put to torch.
    """
    try:
        plain, linear = TorchGraph(model), TorchGraph(model, linear=True)
    except NotInTorch as error:
        note(f"torch: not measured: {error}")
        return {}
    last = torch.channels_last
    return _module_entries({"contiguous": (plain, torch.contiguous_format), "channels_last": (plain, last), "linear": (linear, last)}, x, threads)


def network_result(model, x, threads):
    """The output of an onnx.ModelProto in float64; NotInTorch names a node that is not put to torch."""
    torch.set_num_threads(threads)  # more than it has CPUs for would spin on the one that others are timed on
    with torch.no_grad():
        return TorchGraph(model, torch.float64)(tensor(x).double()).numpy()


def _module_entries(forms, x, threads):
    """{"eager form", "compile form": Entry} of {form: (module, memory format)}."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch._dynamo.reset()  # it compiles the same piece of code a few times only, and all modules of a class share one
    torch._inductor.config.compile_threads = 1  # no other process beside the timed one
    entries = {}
    for name, (module, form) in forms.items():
        module = copy.deepcopy(module).eval().to(memory_format=form)
        image = tensor(x).contiguous(memory_format=form)
        entries[f"eager {name}"] = _module_entry(module, image)
        compiled = torch.compile(module, fullgraph=True, dynamic=False, options={"freezing": True})
        try:
            compiled(image)
        except Exception as error:  # of any type: torch passes on whatever the compiler that it runs raises
            _skipped(name, str(error).strip().split("\n")[0])
        else:
            entries[f"compile {name}"] = _module_entry(compiled, image)
    return entries


def _module_entry(module, image):
    return Entry(lambda: module(image), lambda: module(image).double().numpy())


@functools.cache
def _skipped(name, reason):
    """Say once that a form is not measured."""
    note(f"torch compile {name}: not measured: {reason}")


def vector_bytes():
    """Bytes of the widest vectors of torch's own kernels; oneDNN, which runs its convolutions, has a setting of its own."""
    return {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 16)
