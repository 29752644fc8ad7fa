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

peak may be one rate a type of numbers, {float16: 76.68 TFLOP/s}; as one rate it is that of float32, which halves have too (kernels widen them), and
float64 half of it. A machine that no kernel is simulated on, such as an accelerator, leaves out line, vector, registers and caches; its rates
are those of the whole of it. energy: sim/machine/energy.py.

Here and in sim/machine/level.py machines are plain data: reading a file loads neither the simulator nor the compiler.
"""

import importlib.resources
import pathlib
import re
from typing import NamedTuple

import yaml

from sim.machine.energy import NUMBERS, Energy, read_energy
from sim.machine.level import TAGS_AT_ONCE, Level, check_together, make_level
from sim.machine.quantities import parse_bytes, parse_rate

MOST_TAGS = 1 << 27
"""Tags of all levels together: the simulator keeps 8 bytes for each."""
MOST_CHARACTERS = 1 << 20
"""The most characters of a machine file: PyYAML reads about 1 MB/s."""


class Machine(NamedTuple):
    """A machine to account on. Rates are of one core; float64 has half the peak of float32.

    levels, vector_bytes and registers are empty, None and None of a machine that has rates alone (an accelerator; rates of the whole of it);
    peaks: {type of numbers: FLOP/s} where the file says more than one rate, with peak_flop_per_s that of float32 or None. energy: an Energy or None.
    """

    name: str
    levels: tuple
    vector_bytes: int
    registers: int
    peak_flop_per_s: float
    bandwidth_bytes_per_s: float
    source: str
    inclusion: str = "nine"
    peaks: dict | None = None
    energy: Energy | None = None

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

    def peak_of(self, element):
        """Peak FLOP/s for tensors of a refconv.elements.Element; ValueError where the machine says none for it."""
        if self.peaks is None:
            return self.peak_for(element.work.itemsize)
        if element.name not in self.peaks:
            raise ValueError(f"dtype = {element.name!r}: machine {self.name} says no peak for it: must be one of {', '.join(self.peaks)}")
        return self.peaks[element.name]

    def balance(self, itemsize):
        """FLOP per byte at which arithmetic and memory take equally long: peak / bandwidth."""
        return self.peak_for(itemsize) / self.bandwidth_bytes_per_s

    def checked(self):
        """This machine, or a ValueError that names what is wrong or missing for a simulation.

        Every level must be legal, also below the others, with not too many tags to simulate.
        """
        needed = {"levels": self.levels, "vector": self.vector_bytes, "registers": self.registers, "peak of float32": self.peak_flop_per_s}
        missing = [name for name, value in needed.items() if not value]
        if missing:
            way = "to run a kernel on; give a machine that has them (its file says how), or ask for compulsory bytes: python -m sim.waterline"
            lacks = f"levels: must be at least one cache {way}" if missing[0] == "levels" else f"{' and '.join(missing)}: must be there {way}"
            raise ValueError(f"machine {self.name}: {lacks}")
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
        named = {"name": self.name, "source": self.source}
        rates = {"peak_flop_per_s": self.peak_flop_per_s, "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s}
        if self.peaks is not None:
            rates["peaks_flop_per_s"] = dict(self.peaks)
        if not self.levels:
            return {**named, **rates}
        return {
            **named,
            "vector_bytes": self.vector_bytes,
            "registers": self.registers,
            **rates,
            "inclusion": self.inclusion,
            "policy": self.policy(warm),
            "levels": [{"sets": level.sets, **level._asdict()} for level in self.levels],
            **({"energy": self.energy._asdict()} if self.energy else {}),
        }


def with_levels(machine, levels, build):
    """The machine with the given levels instead of its own of the same name; others are added, L<n> in the order of numbers.

    build: exactly the given levels instead. What the machine says of energy is that of its own caches, and left out.
    """
    merged = {} if build else {level.name: level for level in machine.levels}
    merged.update({level.name: level for level in levels})
    ordered = list(merged.values())
    if all(re.fullmatch(r"L\d+", level.name) for level in ordered):
        ordered.sort(key=lambda level: int(level.name[1:]))
    given = ", ".join(level.name for level in levels)
    return machine._replace(levels=tuple(ordered), name=f"{machine.name} with {given} given", energy=None).checked()


KEYS = {"name", "line", "vector", "registers", "peak", "bandwidth", "caches", "source", "inclusion", "energy"}
OPTIONAL = {"name", "source", "inclusion", "energy"}
OF_KERNELS = {"line", "vector", "registers", "caches"}
"""What a kernel is simulated with: all of them or, on a machine with rates alone, none."""
EXAMPLES = {
    "bandwidth": "bandwidth: 25 GB/s",
    "caches": "caches: [{name: L1, size: 32KiB, ways: 8}]",
    "line": "line: 64",
    "peak": "peak: 118 GFLOP/s",
    "registers": "registers: 32",
    "vector": "vector: 64",
}
"""A line of a file for each key that it may lack."""
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
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    return machine_from(document, path)


def machine_from(document, path):
    """The machine in a parsed document; `path` names it in errors."""
    if not isinstance(document, dict):
        raise ValueError(f"{path}: must be a mapping with the keys {', '.join(sorted(KEYS))}")
    for key in document:
        if key not in KEYS:
            raise ValueError(f"{path}: {key}: unknown key; legal: {', '.join(sorted(KEYS))}")
    runs = bool(OF_KERNELS & set(document))
    if missing := sorted(KEYS - OPTIONAL - (set() if runs else OF_KERNELS) - set(document)):
        also = f" (legal without: a machine with rates alone, which has none of {', '.join(sorted(OF_KERNELS))})" if OF_KERNELS & set(missing) else ""
        raise ValueError(f"{path}: {', '.join(missing)}: missing; such as {', '.join(EXAMPLES[key] for key in missing)}{also}")

    def read(key, parse):
        try:
            return parse(document[key])
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from None

    levels, vector, registers = _of_kernels(document, path, read) if runs else ((), None, None)
    peaks = read("peak", _peaks) if isinstance(document["peak"], dict) else None
    peak = peaks.get("float32") if peaks else read("peak", lambda value: parse_rate(value, "FLOP"))
    if runs and peak is None:
        raise ValueError(f"{path}: peak: float32: is missing; needed where there are caches, since kernels compute in it")
    bandwidth = read("bandwidth", lambda value: parse_rate(value, "B"))
    name, source = document.get("name", pathlib.Path(path).stem), document.get("source", str(path))
    for key, value in (("name", name), ("source", source)):
        if not isinstance(value, str) or not value.isprintable() or not value:
            raise ValueError(f"{path}: {key}: {value!r}: must be a line of text")
    for key in sorted({"energy", "inclusion"} & set(document)):
        if not runs:
            raise ValueError(f"{path}: {key}: is for a machine with caches: must be left out, or given with {', '.join(sorted(OF_KERNELS))}")
    energy = read("energy", lambda value: read_energy(value, [level.name for level in levels])) if "energy" in document else None
    machine = Machine(name, levels, vector, registers, peak, bandwidth, source, document.get("inclusion", "nine"), peaks, energy)
    try:
        return machine.checked() if runs else machine
    except ValueError as error:
        raise ValueError(f"{path}: caches: {error}") from None


def _peaks(table):
    """{type of numbers: FLOP/s} of a mapping in a document."""
    if not table or not set(table) <= set(NUMBERS):
        raise ValueError(f"{table!r}: must be a rate such as 25 GFLOP/s, or a mapping of rates with keys out of {', '.join(NUMBERS)}")
    return {name: parse_rate(rate, "FLOP") for name, rate in table.items()}


def _of_kernels(document, path, read):
    """(levels, bytes of a vector, registers) of a document that has the keys OF_KERNELS."""
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
    return tuple(levels), vector, registers


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
    from refconv.messages import warn_caller
    from sim.machine.calibrate import host_rates

    levels = tuple(Level(*cache) for cache in host.caches())
    if not levels:
        levels = read_machine(presets()[STAND_IN]).levels
        warn_caller(f"{host.SYSFS_CPU}/cache does not describe this host's caches: those of {STAND_IN} stand in", "sim")
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
