"""Machines: a cache hierarchy, a vector unit and two rates, read from YAML or from this host.

name: zen4
line: 64 B
vector: 64 B            # bytes of a vector register
registers: 32           # vector registers
peak: 118 GFLOP/s       # one core, float32
bandwidth: 25 GB/s      # one core, memory, read and written bytes together
inclusion: nine         # nine (neither inclusive nor exclusive, the default), inclusive or exclusive
caches:                 # nearest first; what follows ways may be left out, the values here are those then taken
  - {name: L1, size: 32 KiB, ways: 8, line: 64 B, policy: lru, write: back, allocate: yes, seed: 0}

line: a power of two of at least 4 bytes; a level's own, if it says one, is at least as long as that of the level above it, and if longer, the
level writes back and allocates. policy: lru, fifo, plru (tree-PLRU: a power of two of at most 64 ways) or random, drawn from `seed` on. write:
back or through. allocate: whether a store miss loads the line. What each means: sim/hierarchy/hierarchy.py and sim/hierarchy/sets.py.

Here and in sim/machine/level.py machines are plain data: reading a file loads neither the simulator nor the compiler.
"""

import importlib.resources
import pathlib
import re
import warnings
from typing import NamedTuple

import yaml

from sim.machine.level import TAGS_AT_ONCE, Level, check_together, make_level
from sim.machine.quantities import parse_bytes, parse_rate

MOST_TAGS = 1 << 27
"""Tags of all levels together: the simulator keeps 8 bytes for each."""
MOST_CHARACTERS = 1 << 20
"""The most characters of a machine file: PyYAML reads about 1 MB/s."""


class Machine(NamedTuple):
    """A machine to account on. Rates are of one core; float64 has half the peak of float32."""

    name: str
    levels: tuple
    vector_bytes: int
    registers: int
    peak_flop_per_s: float
    bandwidth_bytes_per_s: float
    source: str
    inclusion: str = "nine"

    @property
    def line_bytes(self):
        """Bytes of a line of the first level, the shortest: what the simulator counts memory traffic in."""
        return self.levels[0].line_bytes

    @property
    def caches(self):
        """The levels as the simulator takes them."""
        return tuple(level.cache(self.line_bytes) for level in self.levels)

    @property
    def target(self):
        """What a tiling is chosen for: this machine's vectors and first two caches."""
        from refconv.host import Target  # here, since it loads the compiler

        sizes = [level.size_bytes for level in self.levels]
        return Target(self.vector_bytes, self.registers, sizes[0], sizes[1] if len(sizes) > 1 else sizes[0])

    def peak_for(self, itemsize):
        """Peak FLOP/s of one core for elements of itemsize bytes."""
        return self.peak_flop_per_s * 4 / itemsize

    def balance(self, itemsize):
        """FLOP per byte at which arithmetic and memory take equally long: peak / bandwidth."""
        return self.peak_for(itemsize) / self.bandwidth_bytes_per_s

    def checked(self):
        """This machine, or a ValueError that names what is wrong: every level legal, also below the others, not too many tags to simulate."""
        if not self.levels:
            raise ValueError("levels: must be at least one cache")
        for level in self.levels:
            make_level(*level)
        check_together(self.levels, self.inclusion)
        tags = sum(cache.tags for cache in self.caches)
        if tags > MOST_TAGS:
            raise ValueError(f"levels hold {tags} lines together (ways in multiples of {TAGS_AT_ONCE}): must be at most {MOST_TAGS}")
        if not (0 < self.peak_flop_per_s < float("inf") and 0 < self.bandwidth_bytes_per_s < float("inf")):
            raise ValueError(f"peak {self.peak_flop_per_s}, bandwidth {self.bandwidth_bytes_per_s}: must be positive")
        return self

    def policy(self, warm=False):
        """What the simulation assumes of the caches, in a line of words."""
        rules = [level.rules for level in self.levels]
        if len(set(rules)) > 1:
            rules = [f"{level.name} {text}" for level, text in zip(self.levels, rules, strict=True)]
        inclusion = "non-inclusive non-exclusive" if self.inclusion == "nine" else self.inclusion
        return f"{'; '.join(dict.fromkeys(rules))}, {inclusion}, no prefetch, {'warm' if warm else 'cold'} start, flushed at the end"

    def record(self, warm=False):
        """The machine as JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "vector_bytes": self.vector_bytes,
            "registers": self.registers,
            "peak_flop_per_s": self.peak_flop_per_s,
            "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s,
            "inclusion": self.inclusion,
            "policy": self.policy(warm),
            "levels": [{"sets": level.sets, **level._asdict()} for level in self.levels],
        }


def with_levels(machine, levels, build):
    """The machine with the given levels instead of its own of the same name; others are added, L<n> in the order of numbers.

    build: exactly the given levels instead.
    """
    merged = {} if build else {level.name: level for level in machine.levels}
    merged.update({level.name: level for level in levels})
    ordered = list(merged.values())
    if all(re.fullmatch(r"L\d+", level.name) for level in ordered):
        ordered.sort(key=lambda level: int(level.name[1:]))
    given = ", ".join(level.name for level in levels)
    return machine._replace(levels=tuple(ordered), name=f"{machine.name} with {given} given").checked()


KEYS = {"name", "line", "vector", "registers", "peak", "bandwidth", "caches", "source", "inclusion"}
OPTIONAL = {"name", "source", "inclusion"}
CACHE_KEYS, CACHE_RULES = {"name", "size", "ways"}, {"line", "policy", "write", "allocate", "seed"}


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not silently the last; and an alias, by which a short file can be endless."""

    def compose_node(self, parent, index):
        """The next node, none of them an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"*{self.peek_event().anchor}: aliases are not legal here; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        """The mapping of a node, keys checked."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.YAMLError(f"{twice[0]}: is given twice")
        return super().construct_mapping(node, deep)


def read_machine(path):
    """The machine a YAML file describes; ValueError names the file, the key and what is legal."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"has more than {MOST_CHARACTERS} characters")
        document = yaml.load(text, UniqueKeys)  # a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    return machine_from(document, path)


def machine_from(document, path):
    """The machine in a parsed document; `path` names it in errors."""
    if not isinstance(document, dict):
        raise ValueError(f"{path}: must be a mapping with the keys {', '.join(sorted(KEYS))}")
    for key in document:
        if key not in KEYS:
            raise ValueError(f"{path}: {key}: unknown key; legal: {', '.join(sorted(KEYS))}")
    for key in sorted(KEYS - OPTIONAL - set(document)):
        raise ValueError(f"{path}: {key}: is missing")

    def read(key, parse):
        try:
            return parse(document[key])
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from None

    line = read("line", parse_bytes)
    vector = read("vector", parse_bytes)
    if vector not in (8, 16, 32, 64, 128):
        raise ValueError(f"{path}: vector: {vector} bytes: must be 8, 16, 32, 64 or 128")
    registers = document["registers"]
    if isinstance(registers, bool) or not isinstance(registers, int) or not 8 <= registers <= 1024:
        raise ValueError(f"{path}: registers: {registers!r}: must be an integer from 8 to 1024")
    caches = document["caches"]
    if not isinstance(caches, list) or not caches:
        raise ValueError(f"{path}: caches: must be a list of at least one {{name, size, ways}}, nearest first")
    levels = []
    for i, cache in enumerate(caches):
        where = f"{path}: caches[{i}]"
        if not isinstance(cache, dict) or not CACHE_KEYS <= set(cache) <= CACHE_KEYS | CACHE_RULES:
            raise ValueError(f"{where}: must have the keys name, size, ways, and may have {', '.join(sorted(CACHE_RULES))}")
        try:
            levels.append(make_level(**{"line": line, **cache}))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    rates = read("peak", lambda v: parse_rate(v, "FLOP")), read("bandwidth", lambda v: parse_rate(v, "B"))
    name, source = document.get("name", pathlib.Path(path).stem), document.get("source", str(path))
    for key, value in (("name", name), ("source", source)):
        if not isinstance(value, str) or not value.isprintable() or not value:
            raise ValueError(f"{path}: {key}: {value!r}: must be a line of text")
    try:
        return Machine(name, tuple(levels), vector, registers, *rates, source, document.get("inclusion", "nine")).checked()
    except ValueError as error:
        raise ValueError(f"{path}: caches: {error}") from None


def presets():
    """{name: path} of the machines that come with the package."""
    folder = importlib.resources.files("sim.machine") / "presets"
    return {path.name.removesuffix(".yaml"): path for path in sorted(folder.iterdir(), key=lambda p: p.name) if path.name.endswith(".yaml")}


STAND_IN = "zen4"


def host_machine():
    """This computer: caches from sysfs, vectors from the compiler, rates measured once (sim/machine/calibrate.py).

    Where sysfs does not describe the caches, those of a preset stand in, with a warning.
    """
    from refconv import host  # here, since they load the compiler
    from sim.machine.calibrate import host_rates

    levels = tuple(Level(*cache) for cache in host.caches())
    if not levels:
        levels = read_machine(presets()[STAND_IN]).levels
        warnings.warn(f"{host.SYSFS_CPU}/cache does not describe this host's caches: those of {STAND_IN} stand in", stacklevel=2)
    vector_bytes, registers = host.vector_unit()
    source = "sysfs; peak and bandwidth measured by sim.calibrate"
    return Machine("host", levels, vector_bytes, registers, *host_rates(), source).checked()


def load_machine(name):
    """The machine called `name`: "host", a preset, or the path of a YAML file."""
    known = presets()
    if not isinstance(name, str | pathlib.Path) or name == "":
        raise ValueError(f"machine {name!r}: must be host, {', '.join(known)}, or the path of a YAML file")
    if name == "host":
        return host_machine()
    if name in known:
        return read_machine(known[name])
    if pathlib.Path(name).suffix in (".yaml", ".yml") or pathlib.Path(name).exists():
        return read_machine(name)
    raise ValueError(f"machine {name!r}: must be host, {', '.join(known)}, or the path of a YAML file")
