"""Options of command lines are named by command lines alone: errors of the library name its arguments."""

import pathlib
import re

import pytest

import refconv
from refconv.cli import MODEL_OPTIONS, in_options

ROOT = pathlib.Path(refconv.__file__).parent.parent
COMMAND_LINES = {
    *("refconv/bench", "refconv/networks/__main__.py", "refconv/tune/__main__.py", "refconv/warm.py", "refconv/cli.py"),
    *("sim/cli", "sim/machine/calibrate.py"),
}
OPTION = re.compile(r"(^|[^-\w])--[a-z]", re.MULTILINE)


def test_the_library_names_no_option():
    for package in ("refconv", "sim"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not any(name == place or name.startswith(f"{place}/") for place in COMMAND_LINES):
                assert OPTION.search(path.read_text()) is None, name
    assert OPTION.search('raise ValueError(f"--batch {batch}: ...")')


def test_a_command_line_names_options_for_arguments():
    text = "m.onnx: batch = 4: is in doubt; inputs: t [7, 2]; legal: input_shapes = NAME:SIZES, instead of batch = 4"
    with (
        pytest.raises(ValueError, match=r"^m.onnx: --batch 4: .* \[7, 2\]; legal: --input-shape NAME:SIZES, instead of --batch 4$"),
        in_options(MODEL_OPTIONS),
    ):
        raise ValueError(text)
