"""`python -m refconv.networks`: networks by name, with their parameters, MACs and published figures; one of them block by block.

Results go to stdout; bad input exits with status 2 and one line.
"""

import json
import sys

from refconv.cli import MODEL_OPTIONS, Parser, door, in_options, note, positive
from refconv.graph.read import is_file, read_model
from refconv.networks import names, network
from refconv.networks.report import file_document, file_table, list_document, list_table, show_document, show_tables
from refconv.tables import show_parts


def parser():
    """The command line of refconv.networks."""
    result = Parser(prog="refconv.networks", description="List the networks that this project has as data, or show one of them block by block.")
    add = result.add_argument
    add("--show", metavar="NAME|FILE", help="a network of the list, or an ONNX graph (.onnx; needs the extra onnx) or SCALE-Sim topology (.csv)")
    add("--size", type=positive, metavar="PIXELS", help="rows and columns of the image, instead of the network's own; with --show NAME")
    add("--input-shape", action="append", default=[], metavar="NAME:1x3x224x224", help="sizes of a file's input instead of its own; repeatable")
    add("--json", action="store_true", help="JSON on stdout")
    return result


def shown(arguments):
    """(document, tables) of what --show names, one a function without arguments, since only one of them is wanted."""
    if is_file(arguments.show):
        if arguments.size is not None:
            raise ValueError(f"--size {arguments.size}: legal with a network of the list; with a file --input-shape")
        with in_options(MODEL_OPTIONS):
            model = read_model(arguments.show, arguments.input_shape)
        for line in model.notes:
            note(f"refconv.networks: {line}")
        return lambda: file_document(model), lambda: [file_table(model)]
    if arguments.input_shape:
        raise ValueError(f"--input-shape {arguments.input_shape[0]!r}: legal with a file; with a network of the list --size")
    known = network(arguments.show)
    size = arguments.size or known.size
    known.steps(1, size)  # raises where the size is not legal
    return lambda: show_document(known, size), lambda: [*show_tables(known, size), *remarks([known])]


def remarks(networks):
    """A line a network that has one."""
    return [f"* {remark}" for remark in dict.fromkeys(known.remark for known in networks if known.remark)]


def main(argv=None):
    """Run the command line; returns the exit status."""
    command = parser()
    arguments = command.parse_args(argv)
    try:
        if arguments.show is not None:
            document, tables = shown(arguments)
        else:
            for option, value in (("--size", arguments.size), ("--input-shape", arguments.input_shape)):
                if value:
                    raise ValueError(f"{option} {value}: needs --show")
            networks = [network(name) for name in names()]
            document, tables = lambda: list_document(networks), lambda: [list_table(networks), *remarks(networks)]
    except (ValueError, ImportError) as error:
        command.error(str(error))
    if arguments.json:
        json.dump(document(), sys.stdout, indent=1)
        print()
        return 0
    show_parts(tables())
    return 0


if __name__ == "__main__":
    door(main)
