"""What the command lines of sim share: options that name layers, blocks and machines, and how a run ends.

A result goes to stdout, progress to stderr; bad input exits with status 2 and one line.
"""

import argparse
import contextlib
from concurrent.futures.process import BrokenProcessPool

from refconv.cli import Parser, positive
from refconv.elements import LEGAL
from refconv.networks.blocks import BLOCK_PRESETS, BlockPreset
from refconv.networks.layers import PRESETS, find_layer, with_batch
from refconv.schedule import MODES, check_modes, has_choice
from sim.account.block import simulate_block
from sim.account.layer import Cores, simulate
from sim.account.trace_cost import MOST_ACCESSES, TooLarge, check_size, problems_of
from sim.cli.cache_option import parse_cache
from sim.machine.level import INCLUSIONS
from sim.machine.record import load_machine, presets, with_levels
from sim.trace.cores import PRIVATE

RUN = ("stores", "warm", "classify")
"""Options of a run that some command lines have, by their keyword of sim.simulate."""
OF_LAYERS = ("warm", "classify")
LARGER = "a larger --limit"


def parser(prog, description, **forms):
    """A command line that takes layers and machines. forms: {name: help} of the forms of its result, at most one of which may be asked for."""
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
        default=[],
        metavar="NAME|DESCRIPTOR",
        help="layer or block below, or a benchdnn descriptor such as g96mb1ic96ih56oc96kh7ph3; repeatable",
    )
    add_machine(result)
    add("--kernel", metavar="NAME", help="the kernel to run a layer with (default: the one refconv would choose)")
    for mode, about in (("halo", "computed rows that two tiles need"), ("squeeze", "the hidden layer, whose gates need the whole map")):
        legal, blocks = ", ".join(MODES[mode]), ", ".join(with_choice(mode))
        help = f"{legal} (default {MODES[mode][0]}): what to do about {about}; for those of the layers that have the choice: {blocks}"
        add(f"--{mode}", default=MODES[mode][0], metavar="MODE", help=help)
    add("--dtype", default="float32", help=f"{LEGAL} (default float32); halves are computed in float32")
    add("--batch", type=positive, metavar="N", help="images, instead of the layer's own number")
    add("--bias", action="store_true", help="layers have a bias (a block has those of its network)")
    most = f"accesses that a layer may take by estimate, else it is refused (default {MOST_ACCESSES})"
    add("--limit", type=positive, default=MOST_ACCESSES, metavar="N", help=most)
    if forms:  # argparse cannot format the help of a group that is empty
        form = result.add_mutually_exclusive_group()
        for name, about in forms.items():
            form.add_argument(f"--{name}", action="store_true", help=about)
    add("--list", action="store_true", help="list layers, blocks and machines and exit")
    return result


def add_machine(parser):
    """Add the options that `chosen_machine` reads."""
    add = parser.add_argument
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
    add("--inclusion", metavar="WORD", help=f"{', '.join(INCLUSIONS)}: instead of the machine's (which is nine if it does not say)")


def with_choice(mode):
    """Names of the blocks that have a choice of a mode."""
    return [name for name, preset in BLOCK_PRESETS.items() if has_choice(mode, preset.record())]


def chosen_layers(arguments, instead=""):
    """The Layers and BlockPresets of --layer; instead: what an error names as legal instead of one."""
    if not arguments.layer:
        names = ", ".join((*PRESETS, *BLOCK_PRESETS))
        raise ValueError(f"--layer is missing: must be {names}, or a benchdnn descriptor; {instead}--list tells more")
    return [BLOCK_PRESETS.get(text) or find_layer(text, BLOCK_PRESETS) for text in arguments.layer]


def chosen_modes(layers, arguments):
    """{mode: what is asked for}; ValueError where it is not legal, or where none of the layers has that choice."""
    modes = {mode: getattr(arguments, mode) for mode in MODES}
    check_modes(**modes)
    for mode, wanted in modes.items():
        default, able = MODES[mode][0], with_choice(mode)
        if wanted != default and not any(layer.name in able for layer in layers if isinstance(layer, BlockPreset)):
            raise ValueError(f"--{mode} {wanted}: must be {default}, since no layer given has that choice; legal with --layer {', '.join(able)}")
    return modes


def chosen_machine(arguments):
    """The machine of --machine, --cache and --inclusion."""
    levels = [parse_cache(text) for text in arguments.cache]  # before the host is measured
    names = [level.name for level in levels]
    for level in names:
        if names.count(level) > 1:
            raise ValueError(f"--cache {level}: is given twice")
    machine = load_machine("host" if arguments.machine is None else arguments.machine)
    if arguments.inclusion is not None:
        machine = machine._replace(inclusion=arguments.inclusion)
    return machine.checked() if not levels else with_levels(machine, levels, build=arguments.machine is None and "L1" in names)


def with_images(layer, arguments):
    """A Layer with the number of images asked for."""
    return layer if arguments.batch is None else layer._replace(problem=with_batch(layer.problem, arguments.batch))


def problem_of(layer, arguments):
    """The problem of a Layer with the number of images asked for; None for a BlockPreset."""
    return None if isinstance(layer, BlockPreset) else with_images(layer, arguments).problem


def call_of(layer, machine, modes, arguments):
    """(function, keywords) that give the record of a Layer or BlockPreset; modes: of `chosen_modes`, which go to blocks that have the choice.

    ValueError for what blocks do not have, and for a layer too large to trace.
    """
    options = {key: value for key, value in vars(arguments).items() if key in RUN}
    cores = Cores(getattr(arguments, "cores", 1), getattr(arguments, "private", PRIVATE))
    same = {"machine": machine, "dtype": arguments.dtype}
    if isinstance(layer, BlockPreset):
        if arguments.kernel is not None:
            raise ValueError(f"--kernel {arguments.kernel}: a block has a kernel of its own; legal with blocks: none")
        if cores.number != 1:
            raise ValueError(f"--cores {cores.number}: {layer.name} is a block; legal with layers only")
        for option in OF_LAYERS:
            if options.pop(option, False):
                raise ValueError(f"--{option}: {layer.name} is a block; legal with layers only")
        with advised(LARGER):
            check_size(layer.name, problems_of(layer, arguments.batch), machine, arguments.dtype, arguments.limit)
        own = {mode: wanted for mode, wanted in modes.items() if has_choice(mode, layer.record())}
        return simulate_block, {"block": layer, "n": arguments.batch or 1, **own, **options, **same}
    layer = with_images(layer, arguments)
    with advised(f"{LARGER}, or the closed form, which traces nothing (sim.traffic --explain)"):
        check_size(layer.name, [layer.problem], machine, arguments.dtype, arguments.limit, arguments.kernel)
    return simulate, {"kernel": arguments.kernel, "problem": layer, "bias": arguments.bias, "cores": cores, **options, **same}


@contextlib.contextmanager
def advised(advice):
    """An error raised within for a layer too large to trace also says which options help."""
    try:
        yield
    except TooLarge as error:
        raise TooLarge(f"{error}; legal: {advice}") from None


def finish(command, arguments, account, write):
    """Do what a command line asks for; returns the exit status.

    account(arguments): (machine, result); its errors are the user's. write(machine, result, arguments): the result, to stdout, or
    a ValueError before that.
    """
    if arguments.list:
        print(command.epilog, end="")
        return 0
    try:
        machine, result = account(arguments)
    except (ValueError, OSError, MemoryError, BrokenProcessPool) as error:
        command.error(str(error) or type(error).__name__)
    try:
        write(machine, result, arguments)
    except ValueError as error:
        command.error(str(error))
    return 0
