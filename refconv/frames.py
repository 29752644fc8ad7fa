"""Calls of kernels laid out beforehand, as the machine takes them: a frame of 64-bit words for several calls one after another.

Numba's entry points take Python objects, and read each array and integer out of its object again with every call: 50 ns an array, 0.5 us for
a layer, up to 3 us for the three calls of a block with squeeze-excitation. In a frame they have been read once. What a call adds are two
addresses, those of its input and of its output, which `enter` takes from the arrays, after it has checked how they lie.

A frame: the address of its runner (machine code that makes the calls), the strides that the input and the output must have, four words each,
then for each call the address of the kernel and its arguments, flattened as Numba flattens them. A kernel holds no reference to what it is
given (refconv/jit.py), so the owner of a frame keeps the arrays in it alive.

A chain is for the calls of a whole network: a frame for each, and one step into compiled code for all of them. Its runners are few, since calls whose
arguments flatten alike share one.
"""

import functools
import itertools
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from refconv.jit import compiled, kernel, routine
from refconv.static import StaticRecordType, StaticType

AXES = 4
"""The most axes of an input or output."""
FIRST_CALL = 1 + 2 * AXES
X_ORDER, OUT_ORDER, OVERLAP, FAILED = 1, 2, 3, 4
"""What `enter` returns where it has not computed; else 0."""

_WORD = ir.IntType(64)


class Given(NamedTuple):
    """In place of a flat array in a frame: the call's input (which = 0) or output (1), so many elements of `itemsize` bytes."""

    which: int
    size: int
    itemsize: int


class NativeCall(NamedTuple):
    """A call to lay out: the address of a kernel's code and the Numba types of its arguments (refconv.jit.native), and their values."""

    address: int
    kinds: tuple
    values: tuple


def _words(kind, value):
    """The arguments that Numba makes of a value; a Given stands where the address of its elements belongs."""
    if isinstance(kind, types.Array) and kind.ndim == 1 and kind.layout == "C":
        size, itemsize = value.size, value.itemsize
        return [0, 0, size, itemsize, value if isinstance(value, Given) else value.ctypes.data, size, itemsize]
    if isinstance(kind, types.BaseTuple):
        return [word for inner, part in zip(kind, value, strict=True) for word in _words(inner, part)]
    if isinstance(kind, StaticType | StaticRecordType):
        return [0]
    if isinstance(kind, types.Integer | types.Boolean):
        return [int(value)]
    if kind == types.float64:
        return [int(np.float64(value).view(np.int64))]
    if kind == types.none:
        return [0]
    raise TypeError(f"{value!r}: a frame holds flat arrays, numbers of 64 bits and tuples of them")


def frame(calls, x_strides, out_strides):
    """The frame of NativeCalls one after another, an int64 array; strides, in bytes, of the input and the output (those of axes of size 1: any)."""
    flat = [(call, [word for kind, value in zip(call.kinds, call.values, strict=True) for word in _words(kind, value)]) for call in calls]
    runner = _runner(tuple((_machine_type(call, words), tuple(getattr(word, "which", None) for word in words)) for call, words in flat))
    laid = [runner, *(stride for strides in (x_strides, out_strides) for stride in (*strides, *[0] * (AXES - len(strides))))]
    for call, words in flat:
        laid += [call.address, *(0 if isinstance(word, Given) else word for word in words)]
    return np.array(laid, np.int64)


def _machine_type(call, words):
    """The LLVM type of the function of a NativeCall, which is given those words."""
    kind = cpu_target.target_context.call_conv.get_function_type(types.none, call.kinds)
    if len(kind.args) - RETURNED != len(words):
        raise TypeError(f"{call.kinds}: Numba flattens them to {len(kind.args) - RETURNED} arguments, not to {len(words)}")
    return kind


RETURNED = 2
"""Arguments of compiled code before its own: where it puts what it returns, here None, and an error."""
_NUMBERS = itertools.count()
"""Of runners: names of code must differ."""


@functools.cache
@global_compiler_lock
def _runner(calls):
    """The address of code f(frame, input, output): 0, or the status of the call that failed. calls: ((LLVM type, which are Given), ...)."""
    context = cpu_target.target_context
    library = context.codegen().create_library(f"refconv_runner_{next(_NUMBERS)}")
    module = library.create_ir_module(library.name)
    function = ir.Function(module, ir.FunctionType(ir.IntType(32), [_WORD] * 3), library.name)
    builder = ir.IRBuilder(function.append_basic_block())
    words, given, at = builder.inttoptr(function.args[0], _WORD.as_pointer()), function.args[1:], FIRST_CALL
    for kind, holes in calls:
        own, passed = kind.args[:RETURNED], kind.args[RETURNED:]
        load = lambda i: builder.load(builder.gep(words, [ir.Constant(_WORD, i)]))
        values = [_as(builder, load(at + 1 + i) if hole is None else given[hole], passed[i]) for i, hole in enumerate(holes)]
        status = builder.call(builder.inttoptr(load(at), kind.as_pointer()), [*(builder.alloca(to.pointee) for to in own), *values])
        with builder.if_then(builder.icmp_unsigned("!=", status, ir.Constant(status.type, 0)), likely=False):
            builder.ret(status)
        at += 1 + len(holes)
    builder.ret(ir.Constant(ir.IntType(32), 0))
    library.add_ir_module(module)
    library.finalize()
    return library.get_pointer_to_function(library.name)


def _as(builder, word, kind):
    """A word as an argument of an LLVM type."""
    if isinstance(kind, ir.PointerType):
        return builder.inttoptr(word, kind)
    if isinstance(kind, ir.DoubleType):
        return builder.bitcast(word, kind)
    return word if kind == _WORD else builder.trunc(word, kind)


@intrinsic
def _word(typing_context, frame, i):
    def codegen(context, builder, signature, args):
        return builder.load(builder.gep(builder.inttoptr(args[0], _WORD.as_pointer()), [args[1]]))

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def _run(typing_context, frame, x, out):
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [_WORD] * 3).as_pointer()
        runner = builder.load(builder.inttoptr(args[0], _WORD.as_pointer()))
        return builder.zext(builder.call(builder.inttoptr(runner, kind), args), _WORD)

    return types.intp(types.intp, types.uintp, types.uintp), codegen


@routine
def _lies(array, frame, at):
    """Whether the array has the strides in the frame's words from `at` on, along all axes on which it has more than one element."""
    wrong = 0
    for i in range(array.ndim):
        wrong += array.shape[i] > 1 and array.strides[i] != _word(frame, at + i)
    return wrong == 0


@kernel
def enter(x, out, frame):
    """Make the calls of the frame at that address on arrays of the sizes it was laid out for; 0, or why not (X_ORDER, ...)."""
    if not _lies(x, frame, 1):
        return X_ORDER
    if not _lies(out, frame, 1 + AXES):
        return OUT_ORDER
    x_at, out_at = x.ctypes.data, out.ctypes.data
    if x_at < out_at + out.size * out.itemsize and out_at < x_at + x.size * x.itemsize:
        return OVERLAP
    return FAILED if _run(frame, x_at, out_at) else 0


@functools.cache
def entry(itemsize, axes):
    """`enter` for arrays of so many axes and elements of `itemsize` bytes, which are not looked at: neither axes nor dtype are checked."""
    array = types.Array(numba.from_dtype(np.dtype(f"u{itemsize}")), axes, "A")
    return compiled(enter, (array, array, types.intp))


@kernel
def run_frames(frames):
    """Make the calls of frames without a Given, one frame after another; frames: their addresses. 0, or FAILED."""
    for i in range(len(frames)):
        if _run(frames[i], 0, 0):
            return FAILED
    return 0


def chain(calls):
    """A function of no arguments that makes NativeCalls, none of which has a Given, one after another; it keeps their arrays alive."""
    kept = calls, [frame([call], (), ()) for call in calls]
    addresses = np.array([one.ctypes.data for one in kept[1]], np.int64)
    run = compiled(run_frames, (types.Array(types.int64, 1, "C"),))

    def chained(kept=kept):
        if run(addresses):
            raise RuntimeError("a kernel ended with an error")

    return chained
