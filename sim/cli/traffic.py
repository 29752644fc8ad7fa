"""`python -m sim.traffic --layer dwconv` or `--model FILE.onnx`: DRAM traffic, workspace and arithmetic intensity on a machine.

The table and JSON go to stdout, progress to stderr; bad input exits with status 2 and one line.
"""

from refconv.cli import MODEL_OPTIONS, in_options, note, positive
from refconv.graph.read import read_model
from refconv.networks.blocks import BlockPreset
from refconv.problem.conv import Conv2d
from sim.account.explain import explanation, untraced
from sim.account.network import simulate_model
from sim.account.network_records import NetworkAccount
from sim.account.parallel import available_cores, run_all
from sim.account.records import BlockAccount, UntracedLayer
from sim.account.trace_cost import TooLarge
from sim.cli import options as command
from sim.report.block import block_report
from sim.report.layer import fewer_cores, heading, layer_report
from sim.report.network import left_out, model_report
from sim.report.output import show, write_json, write_rows
from sim.report.rows import account_rows
from sim.trace.cores import PRIVATE
from sim.trace.nontemporal import STORES, TEMPORAL


def parser():
    """The command line of sim.traffic."""
    result = command.parser(
        "sim.traffic",
        "Run a kernel on a simulated cache hierarchy and count what it moves.",
        json="JSON on stdout",
        csv="CSV on stdout, a row a layer, two a block: fused, unfused",
        explain="print the kernel's loops, where the caches stand, and the formula of each count as well",
    )
    add = result.add_argument
    add("--model", metavar="FILE", help="every layer of an ONNX graph (.onnx; needs the extra onnx) or of a SCALE-Sim topology (.csv)")
    shape = "sizes of an input instead of the graph's own; the name may be left out where there is one input; repeatable"
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help=shape)
    add("--stores", choices=STORES, default=TEMPORAL, help="of the output: through the caches, or past them as a what-if (default temporal)")
    add("--warm", action="store_true", help="of layers: count a second run, which meets what a first has left in the caches")
    add("--classify", action="store_true", help="of layers: tell compulsory, capacity and conflict misses apart, for each level and tensor")
    add("--cores", type=positive, default=1, metavar="N", help="of layers: the kernel's parallel split on N cores, which take turns (default 1)")
    about = f"with --cores: how many levels, the nearest, each core has of its own; those below are shared (default {PRIVATE})"
    add("--private", type=positive, default=PRIVATE, metavar="LEVELS", help=about)
    add("--jobs", type=positive, metavar="N", help="layers simulated side by side, in processes (default: the cores with --model, else 1)")
    return result


def simulated(arguments):
    """(machine, accounts of the command line's layers, or the NetworkAccount of its model)."""
    if arguments.model is not None:
        return simulated_model(arguments)
    if arguments.input_shape:
        raise ValueError(f"--input-shape {arguments.input_shape[0]!r}: needs --model FILE.onnx")
    layers = command.chosen_layers(arguments, "or --model FILE; ")
    modes, machine = command.chosen_modes(layers, arguments), command.chosen_machine(arguments)
    if arguments.explain:
        check_explained(machine, arguments.warm)
    calls = [call_of(layer, machine, modes, arguments) for layer in layers]
    return machine, run_all(calls, arguments.jobs or 1)


def check_explained(machine, warm):
    """ValueError where the closed form does not describe the run: a warm one, or a last level that does not keep what is stored."""
    if warm:
        raise ValueError("--explain: its formulas are those of a cold start; legal without --warm")
    last = machine.levels[-1]
    if last.write != "back" or not last.allocate:
        raise ValueError(f"--explain: {last.name} is {last.rules}: the last level must be write-back and write-allocate, as an explicit memory is")


def call_of(layer, machine, modes, arguments):
    """As call_of of sim.cli.options; with --explain a layer too large to trace has a call, too, which traces nothing."""
    try:
        return command.call_of(layer, machine, modes, arguments)
    except TooLarge as error:
        if not arguments.explain or isinstance(layer, BlockPreset):
            raise
        keywords = {key: getattr(arguments, key) for key in ("kernel", "dtype", "bias", "stores")}
        return untraced, {"layer": command.with_images(layer, arguments), "machine": machine, "why": str(error), **keywords}


def simulated_model(arguments):
    """As `simulated`, for --model."""
    if arguments.layer:
        raise ValueError("--layer and --model: must be one of them")
    if arguments.kernel is not None:
        raise ValueError(f"--kernel {arguments.kernel}: every layer of a model has the kernel that refconv would choose; legal with --layer")
    if arguments.explain:
        raise ValueError("--explain: a model is a table of its layers; legal with --layer, which takes each layer's problem")
    if arguments.cores > 1:
        raise ValueError(f"--cores {arguments.cores}: a model's layers are simulated on one core each; legal with --layer")
    if arguments.classify and not (arguments.json or arguments.csv):
        raise ValueError("--classify: the table of a model has no place for classes of misses; legal with --json or --csv, or with --layer")
    command.chosen_modes([], arguments)
    with in_options(MODEL_OPTIONS):
        model = read_model(arguments.model, arguments.input_shape, arguments.batch)
    machine = command.chosen_machine(arguments)
    for text in model.notes:
        note(f"{model.path}: {text}")
    same = {key: getattr(arguments, key) for key in ("dtype", "bias", "limit", *command.RUN)}
    try:
        return machine, simulate_model(model, machine, jobs=arguments.jobs or available_cores(), **same)
    except TooLarge as error:
        descriptor = next(
            (f", or a layer alone: --layer {layer.problem} --explain" for layer in model.layers if isinstance(layer.problem, Conv2d)), ""
        )
        raise ValueError(f"{error}; legal: a larger --limit{descriptor}") from None


def write(machine, result, arguments):
    """The result of `simulated` in the form asked for, to stdout; what a form has no place for, to stderr."""
    model = result if isinstance(result, NetworkAccount) else None
    layers = model.layers if model else result
    if arguments.json or arguments.csv:
        for layer in layers:
            if layer.cores_wanted:
                note(f"--cores {arguments.cores}: {layer.name} on {fewer_cores(layer)}")
    if arguments.json:
        write_json(machine, model.as_json() if model else {"layers": [layer.as_json() for layer in layers]}, arguments.warm)
    elif arguments.csv:
        write_rows([row for layer in layers for row in account_rows(layer)])
        if model and model.totals.not_modelled:
            note(left_out(model.totals))
    elif model:
        show(machine, model_report(model.totals, layers), arguments.warm)
    else:
        show(machine, layer_parts(machine, layers, arguments), arguments.warm, arguments.cores)


def layer_parts(machine, layers, arguments):
    """The renderables of layers and blocks."""
    for layer, known in zip(layers, command.chosen_layers(arguments), strict=True):
        if isinstance(layer, UntracedLayer):
            yield from (*heading(layer), f"Not traced: {layer.untraced}.")
        else:
            yield from (block_report if isinstance(layer, BlockAccount) else layer_report)(layer, machine)
        if arguments.explain:
            yield from explanation(layer, command.problem_of(known, arguments), machine)


def main(argv=None):
    """Run the command line; returns the exit status."""
    made = parser()
    return command.finish(made, made.parse_args(argv), simulated, write)
