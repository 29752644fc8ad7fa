"""Who is measured: this project and the peers that are installed, each in the forms it offers, given the same layer.

A contender takes a layer and returns a function without arguments that computes it once. What can be done beforehand is:
weights packed, layouts changed, outputs allocated. A peer with several forms is quoted by its best one.
"""

import importlib.util

import numpy as np

from refconv.ops.layers import conv2d, pack, partial_conv2d
from refconv.problem.conv import PartialConv2d
from refconv.weights.packed import empty

PEERS = {"torch": "torch", "onnxruntime": "onnxruntime"}


class Operands:
    """Input NCHW and NHWC, weight and output of a layer, of standard normal data."""

    def __init__(self, problem, dtype):
        rng = np.random.default_rng(0)
        problem = _without_unread(problem)
        self.problem, self.dtype = problem, np.dtype(dtype)
        self.conv = problem.conv if isinstance(problem, PartialConv2d) else problem
        self.x = rng.standard_normal((problem.n, problem.c, problem.h, problem.w)).astype(dtype)
        self.x_last = empty((problem.n, problem.h, problem.w, problem.c), dtype)  # on a cache line, as torch's tensors are
        self.x_last[...] = self.x.transpose(0, 2, 3, 1)
        self.weight = rng.standard_normal(problem.weight_shape).astype(dtype)

    @property
    def sides(self):
        """Padding of the convolution: (top, left, bottom, right)."""
        return self.conv.pad_top, self.conv.pad_left, self.conv.pad_bottom, self.conv.pad_right


def _without_unread(problem):
    """The problem without the bottom rows and right columns that a negative padding leaves unread: not every peer takes negative padding."""
    if isinstance(problem, PartialConv2d):
        return problem
    unread_h, unread_w = min(0, problem.pad_bottom), min(0, problem.pad_right)
    return problem._replace(
        h=problem.h + unread_h, w=problem.w + unread_w, pad_bottom=problem.pad_bottom - unread_h, pad_right=problem.pad_right - unread_w
    )


def ours(operands, threads, layout="NHWC"):
    """The function of this project: NHWC arrays in and out, packed weights; or NCHW arrays, which pay the conversion."""
    problem, conv = operands.problem, operands.conv
    packed = pack(operands.weight, conv.groups)
    shape = (problem.n, problem.p, problem.q, problem.k) if layout == "NHWC" else (problem.n, problem.k, problem.p, problem.q)
    x, out = operands.x_last if layout == "NHWC" else operands.x, empty(shape, operands.dtype)
    options = {"layout": layout, "out": out, "threads": threads}
    if isinstance(problem, PartialConv2d):
        return lambda: partial_conv2d(x, packed, **options)
    stride, dilation, sides = (conv.stride_h, conv.stride_w), (conv.dilation_h, conv.dilation_w), operands.sides
    return lambda: conv2d(x, packed, None, stride, sides, dilation, conv.groups, **options)


def torch_forms(operands, threads):
    """{form: function}: contiguous and channels_last tensors; oneDNN's own layout and prepacked weights where torch has them."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    problem, conv = operands.problem, operands.conv
    top, left, bottom, right = operands.sides
    symmetric = (top, left) == (bottom, right) or (0 <= bottom <= top and 0 <= right <= left)
    stride, dilation, groups = (conv.stride_h, conv.stride_w), (conv.dilation_h, conv.dilation_w), conv.groups
    weight = tensor(operands.weight)
    forms = {}

    def convolution(x, w):
        if symmetric:
            return lambda part: functional.conv2d(part, w, None, stride, (top, left), dilation, groups)
        return lambda part: functional.conv2d(functional.pad(part, (left, right, top, bottom)), w, None, stride, 0, dilation, groups)

    for name, form in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
        x, w = tensor(operands.x).contiguous(memory_format=form), weight.contiguous(memory_format=form)
        run = convolution(x, w)
        if isinstance(problem, PartialConv2d):

            def split_cat(x=x, run=run, c=conv.c):
                return torch.cat((run(x[:, :c]), x[:, c:]), 1)

            forms[name] = split_cat
        else:
            forms[name] = lambda x=x, run=run: run(x)
    if symmetric and operands.dtype != np.float64 and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        forms.update(_prepacked(torch, operands, weight, stride, (top, left), dilation, groups))
    return forms


def tensor(array):
    """A torch tensor of the array's values and type; torch cannot read NumPy arrays of bfloat16."""
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _prepacked(torch, operands, weight, stride, padding, dilation, groups):
    """Weights reordered once for oneDNN, as torch.compile does when it freezes a model; channels_last activations."""
    conv = operands.conv
    x = tensor(operands.x).contiguous(memory_format=torch.channels_last)
    size = [conv.n, conv.c, conv.h, conv.w]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, size)
    call = torch.ops.mkldnn._convolution_pointwise

    def run(part):
        return call(part, packed, None, padding, stride, dilation, groups, "none", [], "")

    if isinstance(operands.problem, PartialConv2d):
        c = conv.c
        return {"prepacked": lambda: torch.cat((run(x[:, :c]), x[:, c:]), 1)}
    return {"prepacked": lambda: run(x)}


def onnxruntime_forms(operands, threads):
    """{form: function}: a graph of the layer alone, weights constant (prepacked at load), input and output bound in place."""
    from onnx import helper, numpy_helper

    if operands.dtype != np.float32:
        return {}  # its CPU provider has no Conv of other element types
    problem, conv = operands.problem, operands.conv
    initializers = [numpy_helper.from_array(operands.weight, "w")]
    attributes = {
        "kernel_shape": [conv.r, conv.s],
        "strides": [conv.stride_h, conv.stride_w],
        "dilations": [conv.dilation_h, conv.dilation_w],
        "pads": list(operands.sides),
        "group": conv.groups,
    }
    if isinstance(problem, PartialConv2d) and problem.c > conv.c:
        initializers.append(numpy_helper.from_array(np.array([conv.c, problem.c - conv.c]), "sizes"))
        nodes = [
            helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
            helper.make_node("Conv", ["a", "w"], ["c"], **attributes),
            helper.make_node("Concat", ["c", "b"], ["y"], axis=1),
        ]
    else:
        nodes = [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)]
    return {"bound": bound(nodes, initializers, operands.x, (problem.n, problem.k, problem.p, problem.q), threads)}


def bound(nodes, initializers, x, shape, threads, opset=17):
    """A function that runs a graph of ONNX nodes from "x", a float32 array, to "y" of `shape`, both bound in place; its result() is then y."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
    graph = helper.make_graph(nodes, "layer", [value("x", x.shape)], [value("y", shape)], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    x = onnxruntime.OrtValue.ortvalue_from_numpy(x)
    y = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(shape, np.float32))
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output("y", y)
    run = lambda: session.run_with_iobinding(binding)
    run.result = lambda: y.numpy()
    return run


FORMS = {"torch": torch_forms, "onnxruntime": onnxruntime_forms}


def installed(wanted):
    """Names of the wanted peers that can be imported."""
    return [name for name in wanted if importlib.util.find_spec(PEERS[name]) and (name != "onnxruntime" or importlib.util.find_spec("onnx"))]
