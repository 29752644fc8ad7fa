"""`python -m sim.traffic --layer dwconv` or `--model FILE.onnx`: DRAM traffic, workspace and arithmetic intensity on a machine.

The table and JSON go to stdout, progress to stderr; bad input exits with status 2 and one line.
"""

from refconv.cli import note, positive
from refconv.graph.model import read_model
from refconv.schedule import MODES
from sim.account.explain import check_explained, explanation, untraced
from sim.account.layer import OPERANDS
from sim.account.layer_by_layer import NO_CHOICE
from sim.account.network import simulate_model
from sim.account.trace_cost import TooLarge
from sim.cli import options as command
from sim.cli.parallel import cores, run_all
from sim.report.output import show, write_json, write_rows
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
    shape = "sizes of an input in the place of the graph's own; the name may be left out where there is one input; repeatable"
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help=shape)
    add("--stores", choices=STORES, default=TEMPORAL, help="of the output: through the caches, or past them as a what-if (default temporal)")
    add("--warm", action="store_true", help="of layers: count a second run, which meets what a first has left in the caches")
    add("--classify", action="store_true", help="of layers: tell compulsory, capacity and conflict misses apart, for each level and tensor")
    add("--cores", type=positive, default=1, metavar="N", help="of layers: the kernel's parallel split on N cores, which take turns (default 1)")
    about = f"with --cores: levels that each core has of its own, the nearest; those below are shared (default {PRIVATE})"
    add("--private", type=positive, default=PRIVATE, metavar="LEVELS", help=about)
    add("--jobs", type=positive, metavar="N", help="layers simulated side by side, in processes (default: the cores with --model, else 1)")
    return result


def simulated(arguments):
    """(machine, {"model": totals or absent, "layers": records}) of the command line's layers or model."""
    if arguments.model is not None:
        return simulated_model(arguments)
    if arguments.input_shape:
        raise ValueError(f"--input-shape {arguments.input_shape[0]!r}: needs --model FILE.onnx")
    layers = command.chosen_layers(arguments, "or --model FILE; ")
    modes, machine = command.chosen_modes(layers, arguments), command.chosen_machine(arguments)
    if arguments.explain:
        check_explained(machine, arguments.warm)
    calls = [call_of(layer, machine, modes, arguments) for layer in layers]
    return machine, {"layers": run_all(calls, arguments.jobs or 1)}


def call_of(layer, machine, modes, arguments):
    """sim.command's; with --explain a layer too large to trace has a call, too, which traces nothing."""
    try:
        return command.call_of(layer, machine, modes, arguments)
    except TooLarge as error:
        problem = command.problem_of(layer, arguments)
        if not arguments.explain or problem is None:
            raise
        keywords = {key: getattr(arguments, key) for key in ("kernel", "dtype", "bias", "stores")}
        return untraced, {"problem": problem, "machine": machine, "name": layer.name, "why": str(error), **keywords}


def simulated_model(arguments):
    """`simulated` of --model."""
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
    model = read_model(arguments.model, arguments.input_shape, arguments.batch)
    machine = command.chosen_machine(arguments)
    for text in model.notes:
        note(f"{model.path}: {text}")
    same = {key: getattr(arguments, key) for key in ("dtype", "bias", "limit", *command.RUN)}
    return machine, simulate_model(model, machine, jobs=arguments.jobs or cores(), **same)


def flat_row(layer):
    """A layer record as one flat row of scalars for CSV."""
    row = {key: layer[key] for key in ("name", "descriptor", "kernel", "dtype", "stores", "start", "macs", "flops")}
    row["cores"] = len(layer.get("cores", [0]))
    row |= {mode: layer.get(mode, NO_CHOICE) for mode in MODES} | {"recomputed_macs": layer.get("recomputed_macs", 0)}
    row["tiling"] = " ".join(f"{name}={value}" for name, value in layer["tiling"].items())
    row.update({f"dram_{key}": value for key, value in layer["dram"].items()})
    for level in layer["levels"]:
        row.update({f"{level['name']}_{key}": value for key, value in level.items() if key != "name"})
    for name in OPERANDS:
        tensor = layer["tensors"].get(name, {"read_bytes": 0, "write_bytes": 0})
        row.update({f"{name}_{key}": tensor[key] for key in ("read_bytes", "write_bytes")})
    work = [tensor for name, tensor in layer["tensors"].items() if name not in OPERANDS]
    row.update({f"workspace_{key}": sum(tensor[key] for tensor in work) for key in ("read_bytes", "write_bytes")})
    row.update({key: layer[key] for key in ("compulsory_bytes", "traffic_ratio", "bound_bytes", "bound_ratio", "bound_source", "workspace_bytes")})
    row.update({f"intensity_{key}": value for key, value in layer["intensity"].items()})
    return {**row, "balance_flop_per_byte": layer["balance_flop_per_byte"], "bound": layer["bound"]}


def write(machine, result, arguments):
    """The result of `simulated` in the form asked for, to stdout; what a form has no place for, to stderr."""
    layers, model, record = result["layers"], result.get("model"), machine.record(arguments.warm)
    if arguments.json:
        write_json(record, result)
    elif arguments.csv:
        write_rows([flat_row(row) for layer in layers for row in (layer, layer.get("unfused")) if row])
        if model and model["not_modelled"]:
            from sim.report.network import left_out

            note(left_out(model))
    elif model:
        from sim.report.network import model_report

        show(record, model_report(model, layers))
    else:
        show(record, layer_parts(machine, layers, arguments))


def layer_parts(machine, layers, arguments):
    """The renderables of layers and blocks."""
    from sim.report.block import block_report
    from sim.report.layer import heading, layer_report

    for layer, known in zip(layers, command.chosen_layers(arguments), strict=True):
        if "untraced" in layer:
            yield from (*heading(layer), f"Not traced: {layer['untraced']}.")
        else:
            yield from (block_report if "unfused" in layer else layer_report)(layer, machine.record())
        if arguments.explain:
            yield from explanation(layer, command.problem_of(known, arguments), machine)


def main(argv=None):
    """Run the command line; returns the exit status."""
    made = parser()
    return command.finish(made, made.parse_args(argv), simulated, write)
