"""`python -m sim.traffic --layer dwconv` or `--model FILE.onnx`: DRAM traffic, workspace and arithmetic intensity on a machine.

The table and JSON go to stdout, progress to stderr; bad input exits with status 2 and one line.
"""

import argparse
import csv
import json
import os
import sys
from concurrent.futures.process import BrokenProcessPool

from refconv.block_presets import BLOCK_PRESETS, BlockPreset
from refconv.cli import Parser, note, positive
from refconv.elements import LEGAL
from refconv.layers import PRESETS, find_layer, with_batch
from sim.blocks import HALOS, check_halo, simulate_block
from sim.limit import MOST_ACCESSES, check_size, problems_of
from sim.machine import load_machine, parse_cache, presets, with_levels
from sim.models import read_model
from sim.models.run import simulate_model
from sim.parallel import cores, run_all
from sim.simulate import OPERANDS, simulate
from sim.unfused import NO_HALO

SCHEMA = 1


def parser():
    """The command line of sim.traffic."""
    layers, blocks = ("\n".join(f"  {known.name:<12} {known.origin}" for known in table.values()) for table in (PRESETS, BLOCK_PRESETS))
    machines = "\n".join(f"  {name}" for name in ("host", *presets()))
    result = Parser(
        prog="sim.traffic",
        description="Run a kernel on a simulated cache hierarchy and count what it moves.",
        epilog=f"layers:\n{layers}\n\nblocks, fused into one kernel and layer by layer:\n{blocks}\n\nmachines:\n{machines}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add(
        "--layer",
        action="append",
        metavar="NAME|DESCRIPTOR",
        help="layer or block below, or benchdnn text such as g96mb1ic96ih56oc96kh7ph3; repeatable",
    )
    add("--model", metavar="FILE", help="every layer of an ONNX graph (.onnx; needs the extra onnx) or of a SCALE-Sim topology (.csv)")
    shape = "sizes of an input in the place of the graph's own; the name may be left out where there is one input; repeatable"
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help=shape)
    add("--machine", metavar="NAME|FILE", help="a machine below or a YAML file (default host)")
    add(
        "--cache",
        action="append",
        default=[],
        metavar="L1=32KiB,8,64",
        help="size, ways, line bytes; repeatable. With --machine, or where L1 is not among them, the levels given override that "
        "machine's or are added; else the hierarchy is exactly the levels given",
    )
    add("--kernel", metavar="NAME", help="the kernel to run a layer with (default: the one refconv would choose)")
    add("--halo", default="auto", metavar="MODE", help=f"{', '.join(HALOS)}: of blocks with a convolution after the expansion (default auto)")
    add("--dtype", default="float32", help=f"{LEGAL} (default float32); halves are computed in float32")
    add("--batch", type=positive, metavar="N", help="images, in the place of the layer's own number")
    add("--bias", action="store_true", help="layers have a bias (a block has those of its network)")
    add("--jobs", type=positive, metavar="N", help="layers simulated side by side, in processes (default: the cores with --model, else 1)")
    most = f"accesses that a layer may take by estimate, else it is refused (default {MOST_ACCESSES})"
    add("--limit", type=positive, default=MOST_ACCESSES, metavar="N", help=most)
    form = result.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON on stdout")
    form.add_argument("--csv", action="store_true", help="CSV on stdout, a row a layer, two a block: fused, unfused")
    add("--list", action="store_true", help="list layers, blocks and machines and exit")
    return result


def chosen_machine(name, caches):
    """The machine of --machine and --cache."""
    machine = load_machine("host" if name is None else name)
    if not caches:
        return machine
    levels = [parse_cache(text) for text in caches]
    names = [level.name for level in levels]
    for level in names:
        if names.count(level) > 1:
            raise ValueError(f"--cache {level}: is given twice")
    return with_levels(machine, levels, build=name is None and "L1" in names)


def flat_row(layer):
    """A layer record as one flat row of scalars for CSV."""
    row = {key: layer[key] for key in ("name", "descriptor", "kernel", "dtype", "macs", "flops")}
    row |= {"halo": layer.get("halo", NO_HALO), "recomputed_macs": layer.get("recomputed_macs", 0)}
    row["tiling"] = " ".join(f"{name}={value}" for name, value in layer["tiling"].items())
    row.update({f"dram_{key}": value for key, value in layer["dram"].items()})
    for level in layer["levels"]:
        row.update({f"{level['name']}_{key}": value for key, value in level.items() if key != "name"})
    for name in OPERANDS:
        tensor = layer["tensors"].get(name, {"read_bytes": 0, "write_bytes": 0})
        row.update({f"{name}_{key}": tensor[key] for key in ("read_bytes", "write_bytes")})
    work = [tensor for name, tensor in layer["tensors"].items() if name not in OPERANDS]
    row.update({f"workspace_{key}": sum(tensor[key] for tensor in work) for key in ("read_bytes", "write_bytes")})
    row.update({key: layer[key] for key in ("compulsory_bytes", "traffic_ratio", "workspace_bytes")})
    row.update({f"intensity_{key}": value for key, value in layer["intensity"].items()})
    return {**row, "balance_flop_per_byte": layer["balance_flop_per_byte"], "bound": layer["bound"]}


def write(result, machine, arguments):
    """The result {"model": totals or absent, "layers": records} in the form asked for, to stdout; what a form has no place for, to stderr."""
    layers, model = result["layers"], result.get("model")
    if arguments.json:
        json.dump({"schema": SCHEMA, "machine": machine.record(), **result}, sys.stdout, indent=1)
        print()
    elif arguments.csv:
        rows = [flat_row(row) for layer in layers for row in (layer, layer.get("unfused")) if row]
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        if model and model["not_modelled"]:
            from sim.models.report import left_out

            note(left_out(model))
    else:
        write_tables(layers, model, machine.record())


def write_tables(layers, model, machine):
    """The result in tables."""
    from rich.console import Console
    from rich.table import Table

    from sim.block_report import block_report
    from sim.models.report import model_report
    from sim.report import layer_report, machine_line

    reports = [model_report(model, layers)] if model else []
    reports += [block_report(layer, machine) if "unfused" in layer else layer_report(layer, machine) for layer in layers if not model]
    parts = [part for report in reports for part in report]
    wide = Console(width=10_000)
    widest = max(wide.measure(part).maximum for part in parts if isinstance(part, Table))
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, 110, widest))  # numbers are never cut: a narrow terminal wraps
    console.print(machine_line(machine), "", *parts, sep="\n")


def call_of(layer, machine, arguments):
    """(function, keywords) that give the record of a Layer or BlockPreset; ValueError for one too large to trace."""
    same = {"machine": machine, "dtype": arguments.dtype}
    if isinstance(layer, BlockPreset):
        if arguments.kernel is not None:
            raise ValueError(f"--kernel {arguments.kernel}: a block has a kernel of its own; legal with blocks: none")
        check_size(layer.name, problems_of(layer, arguments.batch), machine, arguments.dtype, arguments.limit)
        return simulate_block, {"block": layer, "n": arguments.batch or 1, "halo": arguments.halo, **same}
    problem = layer.problem if arguments.batch is None else with_batch(layer.problem, arguments.batch)
    check_size(layer.name, [problem], machine, arguments.dtype, arguments.limit, arguments.kernel)
    return simulate, {"kernel": arguments.kernel, "problem": problem, "bias": arguments.bias, "name": layer.name, **same}


def simulated(arguments):
    """(machine, result as of `write`) of the command line's layers or model."""
    check_halo(arguments.halo)
    if arguments.model is None:
        layers = [BLOCK_PRESETS.get(text) or find_layer(text, BLOCK_PRESETS) for text in arguments.layer]
        machine = chosen_machine(arguments.machine, arguments.cache)
        return machine, {"layers": run_all([call_of(layer, machine, arguments) for layer in layers], arguments.jobs or 1)}
    if arguments.kernel is not None:
        raise ValueError(f"--kernel {arguments.kernel}: every layer of a model has the kernel that refconv would choose; legal with --layer")
    model = read_model(arguments.model, arguments.input_shape, arguments.batch)
    machine = chosen_machine(arguments.machine, arguments.cache)
    for text in model.notes:
        note(f"{model.path}: {text}")
    same = {"dtype": arguments.dtype, "bias": arguments.bias, "jobs": arguments.jobs or cores(), "limit": arguments.limit}
    return machine, simulate_model(model, machine, **same)


def main(argv=None):
    """Run the command line; returns the exit status."""
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.list:
        print(command.epilog, end="")
        return 0
    if not arguments.layer and arguments.model is None:
        names = ", ".join((*PRESETS, *BLOCK_PRESETS))
        command.error(f"--layer is missing: must be {names}, or a benchdnn descriptor; or --model FILE; --list tells more")
    if arguments.layer and arguments.model is not None:
        command.error("--layer and --model: must be one of them")
    if arguments.input_shape and arguments.model is None:
        command.error(f"--input-shape {arguments.input_shape[0]!r}: needs --model FILE.onnx")
    try:
        machine, result = simulated(arguments)
    except (ValueError, OSError, MemoryError, BrokenProcessPool) as error:
        command.error(str(error) or type(error).__name__)
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        write(result, machine, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        command.error(f"stdout: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
