"""`python -m sim.traffic --layer dwconv`: DRAM traffic, workspace and arithmetic intensity of a layer or block on a machine.

The table and JSON go to stdout, progress to stderr; bad input exits with status 2 and one line.
"""

import argparse
import csv
import json
import os
import sys

from refconv.block_presets import BLOCK_PRESETS, BlockPreset
from refconv.cli import Parser, positive
from refconv.elements import LEGAL
from refconv.fused import MODES, check_modes, has_choice
from refconv.layers import PRESETS, find_layer, with_batch
from sim.blocks import simulate_block
from sim.cache import INCLUSIONS
from sim.machine import load_machine, parse_cache, presets, with_levels
from sim.nontemporal import STORES, TEMPORAL
from sim.simulate import OPERANDS, simulate
from sim.unfused import NO_CHOICE

SCHEMA = 1


def parser(prog="sim.traffic", description="Run a kernel on a simulated cache hierarchy and count what it moves."):
    """The command line of sim.traffic, and of what else takes its layers and machines."""
    layers, blocks = ("\n".join(f"  {known.name:<12} {known.origin}" for known in table.values()) for table in (PRESETS, BLOCK_PRESETS))
    machines = "\n".join(f"  {name}" for name in ("host", *presets()))
    result = Parser(
        prog=prog,
        description=description,
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
    add("--machine", metavar="NAME|FILE", help="a machine below or a YAML file (default host)")
    add(
        "--cache",
        action="append",
        default=[],
        metavar="L1=32KiB,8,64",
        help="size, ways, line bytes, then, if not lru,write-back,allocate, any of fifo, plru, random, seed=N, write-through, no-allocate; "
        "repeatable. With --machine, or where L1 is not among them, the levels given override that "
        "machine's or are added; else the hierarchy is exactly the levels given",
    )
    add("--inclusion", metavar="WORD", help=f"{', '.join(INCLUSIONS)}: in the place of the machine's (which is nine if it does not say)")
    add("--warm", action="store_true", help="of layers: count a second run, which meets what a first has left in the caches")
    add("--classify", action="store_true", help="of layers: tell compulsory, capacity and conflict misses apart, for each level and tensor")
    add("--kernel", metavar="NAME", help="the kernel to run a layer with (default: the one refconv would choose)")
    for mode, about in (("halo", "computed rows that two tiles want"), ("squeeze", "the hidden layer, whose gates need the whole map")):
        legal, blocks = ", ".join(MODES[mode]), ", ".join(with_choice(mode))
        help = f"{legal} (default {MODES[mode][0]}): what to do about {about}; goes to those of the layers that have the choice: {blocks}"
        add(f"--{mode}", default=MODES[mode][0], metavar="MODE", help=help)
    add("--dtype", default="float32", help=f"{LEGAL} (default float32); halves are computed in float32")
    add("--stores", choices=STORES, default=TEMPORAL, help="of the output: through the caches, or past them as a what-if (default temporal)")
    add("--batch", type=positive, metavar="N", help="images, in the place of the layer's own number")
    add("--bias", action="store_true", help="layers have a bias (a block has those of its network)")
    form = result.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON on stdout")
    form.add_argument("--csv", action="store_true", help="CSV on stdout, a row a layer, two a block: fused, unfused")
    form.add_argument(
        "--explain", action="store_true", help="print the kernel's loops, where the caches stand, and the formula of each count as well"
    )
    add("--list", action="store_true", help="list layers, blocks and machines and exit")
    return result


def with_choice(mode):
    """Names of the blocks that have a choice of a mode."""
    return [name for name, preset in BLOCK_PRESETS.items() if has_choice(mode, preset.record())]


def chosen_modes(layers, arguments):
    """{mode: what is asked for}; ValueError where it is not legal, or where none of the layers has that choice."""
    modes = {mode: getattr(arguments, mode) for mode in MODES}
    check_modes(**modes)
    for mode, wanted in modes.items():
        default, able = MODES[mode][0], with_choice(mode)
        if wanted != default and not any(layer.name in able for layer in layers if isinstance(layer, BlockPreset)):
            raise ValueError(f"--{mode} {wanted}: must be {default}, since no layer given has that choice; legal with --layer {', '.join(able)}")
    return modes


def chosen_machine(name, caches, inclusion=None):
    """The machine of --machine, --cache and --inclusion."""
    machine = load_machine("host" if name is None else name)
    if inclusion is not None:
        machine = machine._replace(inclusion=inclusion)
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
    row = {key: layer[key] for key in ("name", "descriptor", "kernel", "dtype", "stores", "macs", "flops")}
    row |= {mode: layer.get(mode, NO_CHOICE) for mode in MODES} | {"recomputed_macs": layer.get("recomputed_macs", 0)}
    row["start"] = layer.get("start", "cold")
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


def write(layers, problems, machine, arguments):
    """The result in the form asked for, to stdout. problems: those of the layers, None for blocks."""
    if arguments.json:
        json.dump({"schema": SCHEMA, "machine": machine.record(arguments.warm), "layers": layers}, sys.stdout, indent=1)
        print()
    elif arguments.csv:
        rows = [flat_row(row) for layer in layers for row in (layer, layer.get("unfused")) if row]
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        from sim.block_report import block_report
        from sim.explain import explanation
        from sim.report import layer_report

        parts = []
        for layer, problem in zip(layers, problems, strict=True):
            parts += (block_report if "unfused" in layer else layer_report)(layer, machine.record())
            if arguments.explain:
                parts += explanation(layer, problem, machine)
        show(machine.record(arguments.warm), parts)


def show(machine, parts):
    """Renderables on stdout, below a line that says what the machine (its record) is."""
    from rich.console import Console

    from sim.report import machine_line

    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, 110))  # numbers are never cut: a narrow terminal wraps
    console.print(machine_line(machine))
    console.print()
    console.print(*parts, sep="\n", soft_wrap=True)


def simulated(layer, machine, modes, arguments):
    """The record of a Layer or BlockPreset; modes: of `chosen_modes`, which go to blocks that have the choice."""
    if isinstance(layer, BlockPreset):
        if arguments.kernel is not None:
            raise ValueError(f"--kernel {arguments.kernel}: a block has a kernel of its own; legal with blocks: none")
        for option in ("warm", "classify"):
            if getattr(arguments, option):
                raise ValueError(f"--{option}: {layer.name} is a block; legal with layers only")
        own = {mode: wanted for mode, wanted in modes.items() if has_choice(mode, layer.record())}
        return simulate_block(layer, arguments.batch or 1, machine=machine, dtype=arguments.dtype, stores=arguments.stores, **own)
    options = {key: getattr(arguments, key) for key in ("dtype", "bias", "stores", "warm", "classify")}
    return simulate(arguments.kernel, problem_of(layer, arguments), machine, **options, name=layer.name)


def problem_of(layer, arguments):
    """The problem of a Layer with the batch asked for; None for a BlockPreset."""
    if isinstance(layer, BlockPreset):
        return None
    return layer.problem if arguments.batch is None else with_batch(layer.problem, arguments.batch)


def main(argv=None, command=None, account=simulated, write=write):
    """Run the command line; returns the exit status. command, account, write: another parser, what makes a layer's record, what shows them."""
    command = command or parser()
    arguments = command.parse_args(argv)
    if arguments.list:
        print(command.epilog, end="")
        return 0
    if not arguments.layer:
        names = ", ".join((*PRESETS, *BLOCK_PRESETS))
        command.error(f"--layer is missing: must be {names}, or a benchdnn descriptor; --list tells more")
    try:
        layers = [BLOCK_PRESETS.get(text) or find_layer(text, BLOCK_PRESETS) for text in arguments.layer]
        modes = chosen_modes(layers, arguments)
        machine = chosen_machine(arguments.machine, arguments.cache, arguments.inclusion)
        records = []
        for i, layer in enumerate(layers):
            progress(f"simulating {layer.name} ({i + 1} of {len(layers)})")
            records.append(account(layer, machine, modes, arguments))
        progress("")
    except (ValueError, OSError, MemoryError) as error:
        progress("")
        command.error(str(error) or type(error).__name__)
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        write(records, [problem_of(layer, arguments) for layer in layers], machine, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        command.error(f"stdout: {error}")
    return 0


def progress(text):
    """What is being done, on stderr, over the line before; nothing where stderr is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
