"""`python -m refconv.warm --set blocks`: compile kernels for this CPU ahead of their first call, and keep them on disk.

Every layer and block named runs once on random data, as a user's call would; what is on disk already is read. What was done goes to stdout,
progress to stderr; bad input exits with status 2 and one line, and so does code that could not be kept.
"""

import time

import numpy as np

from refconv import code_cache
from refconv.bench import blocks
from refconv.bench.peers import Operands, call, ours
from refconv.cli import MODEL_OPTIONS, Parser, door, in_options, positive, progress
from refconv.elements import LEGAL, element
from refconv.graph.read import read_model
from refconv.jit import compiling
from refconv.networks.layers import OPERATORS, PRESETS, SETS, find_layer, with_batch
from refconv.ops.blocks import fused_block
from refconv.plan import thread_count

NAMES = (*SETS, "blocks", "operators", "all")


def parser():
    """The command line of refconv.warm."""
    result = Parser(prog="refconv.warm", description="Compile kernels for this CPU ahead of their first call, and keep them on disk.")
    add_problems(result)
    return result


def add_problems(command):
    """Add the options that name layers and blocks, and the calls to come of them."""
    add = command.add_argument
    add("--layer", action="append", default=[], metavar="NAME|DESCRIPTOR", help=f"{', '.join(PRESETS)}, or a benchdnn descriptor; repeatable")
    add("--set", action="append", default=[], metavar="NAME", help=f"{', '.join(NAMES)}; repeatable (default all, if nothing else is named)")
    add("--model", metavar="FILE", help="every layer of an ONNX graph (.onnx; needs the extra onnx) or of a SCALE-Sim topology (.csv)")
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help="sizes of an input instead of the graph's own; repeatable")
    add("--dtype", default="float32", help=f"{LEGAL} (default float32)")
    add("--batch", type=positive, metavar="N", help="images, instead of the layers' own number")
    add("--threads", type=int, metavar="N", help="threads of the calls to come (default: Numba's number, as that of a call)")


def chosen(arguments, others=()):
    """(problems, cases of blocks) that the command line asks for, each once; others: problems that it asks for by options of its own."""
    for name in arguments.set:
        if name not in NAMES:
            raise ValueError(f"--set {name}: must be {', '.join(NAMES)}")
    if arguments.input_shape and arguments.model is None:
        raise ValueError(f"--input-shape {arguments.input_shape[0]!r}: needs --model FILE.onnx")
    names = arguments.set or ([] if arguments.layer or arguments.model or others else ["all"])
    names = NAMES if "all" in names else names
    problems = [find_layer(text).problem for text in arguments.layer]
    problems += [problem for name in names for problem in SETS.get(name, ())]
    problems += [problem for layers in OPERATORS.values() if "operators" in names for problem in layers]
    problems += others
    if arguments.batch is not None:
        problems = [with_batch(problem, arguments.batch) for problem in problems]
    if arguments.model is not None:
        with in_options(MODEL_OPTIONS):
            problems += [layer.problem for layer in read_model(arguments.model, arguments.input_shape, arguments.batch).layers]
    cases = [case._replace(n=arguments.batch or case.n) for case in blocks.CASES] if "blocks" in names else []
    return list(dict.fromkeys(problems)), cases


def run_layer(problem, dtype, threads):
    """Call the operation of a layer, as it is and prepared, on arrays in both layouts."""
    operands = Operands(problem, dtype)
    for layout in ("NCHW", "NHWC"):
        call(operands, threads, layout)
        ours(operands, threads, layout).run()


def run_block(case, dtype, threads):
    """Call a fused block, as it is and prepared, on arrays in both layouts."""
    record, x = blocks.weights(case, dtype), np.zeros((case.n, case.c, case.size, case.size), dtype)
    for layout in ("NCHW", "NHWC"):
        fused_block(blocks.in_layout(x, layout), record, layout=layout, threads=threads)
        blocks.ours(record, x, threads, layout).run()


def main(argv=None):
    """Run the command line; returns the exit status."""
    command = parser()
    arguments = command.parse_args(argv)
    start = time.perf_counter()
    try:
        dtype, threads = element(arguments.dtype).dtype, thread_count(arguments.threads)
        problems, cases = chosen(arguments)
        calls = [(run_layer, problem) for problem in problems] + [(run_block, case) for case in cases]
        for i, (run, what) in enumerate(calls):
            progress(f"{i} of {len(calls)}: {what}")
            run(what, dtype, threads)
    except (TypeError, ValueError, ImportError, MemoryError) as error:
        progress()
        command.error(str(error) or type(error).__name__)
    progress()
    count = compiling.kernels
    made = f"{count} kernel{'s' * (count != 1)} compiled in {time.perf_counter() - start:.1f} s" if count else "nothing to compile"
    print(f"{len(problems)} layer{'s' * (len(problems) != 1)}, {len(cases)} blocks, {arguments.dtype}, threads {threads}: {made}")
    return 2 if code_cache.lost() else 0


if __name__ == "__main__":
    door(main)
