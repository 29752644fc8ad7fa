"""`python -m refconv.warm --set blocks`: compile kernels for this CPU ahead of their first call, and keep them on disk.

Every layer and block named runs once on random data, as a user's call would; of a network all that its schedule calls is compiled, and nothing
run. What is on disk already is read. What was done goes to stdout, progress to stderr; bad input exits with status 2 and one line, and so does
code that could not be kept.
"""

import argparse
import functools
import time

import numpy as np

from refconv import code_cache
from refconv.bench import blocks
from refconv.bench.peers import Operands, call, ours
from refconv.cli import MODEL_OPTIONS, NETWORK_OPTIONS, Parser, door, in_options, positive, progress
from refconv.elements import LEGAL, element
from refconv.graph.read import ONNX, is_file, read_model
from refconv.jit import compiling
from refconv.networks import BUILT_SIZE, network
from refconv.networks.layers import OPERATORS, PRESETS, SETS, find_layer, with_batch
from refconv.networks.opened import given_shapes, opened
from refconv.ops.blocks import fused_block
from refconv.plan import thread_count

NAMES = (*SETS, "blocks", "operators", "all")
DTYPE = "float32"
"""Of layers and blocks, unless --dtype says another."""


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
    about = (
        "what refconv.load runs of a network of refconv.networks or of an ONNX graph (.onnx; both need the extra onnx): layers with their "
        "activations, fused blocks; a graph with an operator that there is not is refused. Or every layer of a SCALE-Sim topology (.csv). Repeatable"
    )
    add("--model", action="append", default=[], metavar="NAME|FILE", help=about)
    shape = "sizes of an input that the graph leaves open; the name may be left out where there is one input; repeatable"
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help=shape)
    add("--size", type=positive, metavar="PIXELS", help=f"rows and columns of the images of networks by name (default {BUILT_SIZE})")
    fuse = "networks with blocks fused where that pays; without, every convolution is a call of its own (default --fuse)"
    add("--fuse", action=argparse.BooleanOptionalAction, help=fuse)
    add("--dtype", help=f"{LEGAL} (default {DTYPE}); a network that refconv.load runs has that of its file")
    add("--batch", type=positive, metavar="N", help="images, instead of the layers' own number; of a graph whose first size is open (default 1)")
    add("--threads", type=int, metavar="N", help="threads of the calls to come (default: Numba's number, as that of a call)")


def chosen(arguments, others=()):
    """(problems, cases of blocks, networks by name or file) that the command line asks for, each once.

    others: problems that it asks for by options of its own.
    """
    for name in arguments.set:
        if name not in NAMES:
            raise ValueError(f"--set {name}: must be {', '.join(NAMES)}")
    if arguments.input_shape and len(set(arguments.model)) != 1:
        raise ValueError(f"--input-shape {arguments.input_shape[0]!r}: needs --model FILE.onnx, one alone")
    networks = [source for source in dict.fromkeys(arguments.model) if not is_file(source) or source.lower().endswith(ONNX)]
    by_name = [network(source) for source in networks if not is_file(source)]  # raises where there is none of that name
    if arguments.size and not by_name:
        raise ValueError(f"--size {arguments.size}: needs --model NAME; of a graph's input --input-shape")
    if arguments.fuse is not None and not networks:
        raise ValueError(f"--{'' if arguments.fuse else 'no-'}fuse: needs --model, a network by name or an ONNX graph (.onnx)")
    names = arguments.set or ([] if arguments.layer or arguments.model or others else ["all"])
    names = NAMES if "all" in names else names
    problems = [find_layer(text).problem for text in arguments.layer]
    problems += [problem for name in names for problem in SETS.get(name, ())]
    problems += [problem for layers in OPERATORS.values() if "operators" in names for problem in layers]
    problems += others
    if arguments.batch is not None:
        problems = [with_batch(problem, arguments.batch) for problem in problems]
    for source in dict.fromkeys(arguments.model):
        if source not in networks:
            with in_options(MODEL_OPTIONS):
                problems += [layer.problem for layer in read_model(source, arguments.input_shape, arguments.batch).layers]
    cases = [case._replace(n=arguments.batch or case.n) for case in blocks.CASES] if "blocks" in names else []
    if arguments.dtype and not problems and not cases:
        raise ValueError(f"--dtype {arguments.dtype}: legal with layers, sets and topologies (.csv); a network has the dtype of its file")
    return list(dict.fromkeys(problems)), cases, networks


def open_network(source, arguments):
    """(Net, shapes of its inputs in order) of a network by name or file, as the options say."""
    size = None if is_file(source) else arguments.size or BUILT_SIZE
    with in_options(NETWORK_OPTIONS):
        net, _, batch = opened(source, batch=arguments.batch, size=size, fuse=arguments.fuse is not False, strict=True)
        return net, tuple(net.shapes(given_shapes(net, arguments.input_shape), batch).values())


def compile_network(source, arguments, threads):
    """Compile what a network calls, by its schedule."""
    net, shapes = open_network(source, arguments)
    net.compile(*shapes, threads=threads)


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
        stored, threads = element(arguments.dtype or DTYPE), thread_count(arguments.threads)
        problems, cases, networks = chosen(arguments)
        calls = [(source, functools.partial(compile_network, source, arguments, threads)) for source in networks]
        calls += [(problem, functools.partial(run_layer, problem, stored.dtype, threads)) for problem in problems]
        calls += [(case, functools.partial(run_block, case, stored.dtype, threads)) for case in cases]
        for i, (what, run) in enumerate(calls):
            progress(f"{i} of {len(calls)}: {what}")
            run()
    except (TypeError, ValueError, ImportError, MemoryError) as error:
        progress()
        command.error(str(error) or type(error).__name__)
    progress()
    count = compiling.kernels
    made = f"{count} kernel{'s' * (count != 1)} compiled in {time.perf_counter() - start:.1f} s" if count else "nothing to compile"
    of_networks = [f"{len(networks)} network{'s' * (len(networks) != 1)}"] * bool(networks)
    alone = [f"{len(problems)} layer{'s' * (len(problems) != 1)}", f"{len(cases)} blocks", stored.name] if problems or cases else []
    print(f"{', '.join([*of_networks, *alone, f'threads {threads}'])}: {made}")
    return 2 if code_cache.lost() else 0


if __name__ == "__main__":
    door(main)
