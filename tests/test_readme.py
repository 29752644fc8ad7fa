"""What the README shows is there: its commands' modules and options, its machine file."""

import pathlib
import re
import shlex

import pytest
import yaml

import refconv.bench.__main__
import refconv.networks.__main__
import refconv.warm
import sim.cli.capacity
import sim.cli.network
import sim.cli.plot
import sim.cli.traffic
import sim.cli.waterline
from refconv.tune import __main__ as tune
from sim.machine.record import machine_from

TEXT = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
PARSERS = {
    "sim.traffic": sim.cli.traffic.parser,
    "sim.capacity": sim.cli.capacity.parser,
    "sim.network": sim.cli.network.parser,
    "sim.waterline": sim.cli.waterline.parser,
    "refconv.networks": refconv.networks.__main__.parser,
    "refconv.bench": refconv.bench.__main__.parser,
    "refconv.tune": tune.parser,
    "refconv.warm": refconv.warm.parser,
}
COMMANDS = sorted({" ".join(text.split()) for text in re.findall(r"python -m ((?:sim|refconv)\.\w+[^`#&\n]*(?:\n--[^`#&\n]*)?)", TEXT)})


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_a_command_are_legal(command):
    module, *words = shlex.split(command)
    if module == "sim.plot":
        sim.cli.plot.PICTURES[words[0]].parser().parse_args(words[1:])
    elif module in PARSERS:
        PARSERS[module]().parse_args(words)
    else:
        assert (module, words) == ("sim.bench", [])


def test_the_commands_were_found():
    assert len(COMMANDS) > 20
    assert "sim.traffic --layer dwconv --machine zen4" in COMMANDS


def test_the_machine_file_is_legal():
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    machine = machine_from(yaml.safe_load(text), "my.yaml")
    assert [level.policy for level in machine.levels] == ["lru", "plru"]
    assert machine.balance(4) == 5
