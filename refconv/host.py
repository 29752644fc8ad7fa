"""What this computer is, as far as a kernel cares: vector width, vector registers, caches.

The vector width is asked of LLVM, not of the CPU: what counts is what the compiler in use will emit, which
NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may set to less than the silicon has.
"""

import functools
import pathlib
import platform
import re
import warnings
from typing import NamedTuple

import llvmlite.binding as llvm
from numba.core import config
from numba.core.registry import cpu_target

SYSFS_CPU = pathlib.Path("/sys/devices/system/cpu/cpu0")


class Cache(NamedTuple):
    """One data or unified cache as the operating system describes it, sizes in bytes."""

    name: str
    size_bytes: int
    ways: int
    line_bytes: int


class Target(NamedTuple):
    """What a tiling is chosen for.

    vector_bytes: of a vector register; registers: their number; l1_bytes, l2_bytes: of the first two caches of one core; threads.
    fused: whether a multiply-add is one instruction. multiply_adds_per_cycle: vectors of them that a core can start in a cycle, and
    latency_cycles: from the start of one until the next may add to its result; two and four on every x86-64 with FMA since 2013 (Agner
    Fog's instruction tables: 4 or 5). instructions_per_cycle: those that a core can start, of whatever kind; loads_per_cycle: of these the loads
    (per_cycle).
    memory_operands: whether a multiply-add can have an operand in memory, as on x86-64.
    l2_bytes_per_cycle: what one core gets from its L2, at least 32 on x86-64 since 2013 and 64 with AVX-512; beyond_l2_bytes_per_cycle: from
    the L3 or memory while it computes.
    """

    vector_bytes: int
    registers: int
    l1_bytes: int
    l2_bytes: int
    threads: int = 1
    fused: bool = True
    multiply_adds_per_cycle: float = 2
    latency_cycles: float = 4
    instructions_per_cycle: float = 4
    loads_per_cycle: float = 2
    l2_bytes_per_cycle: float = 32
    beyond_l2_bytes_per_cycle: float = 4
    memory_operands: bool = False

    def lanes(self, itemsize):
        """Elements of `itemsize` bytes in one vector."""
        return self.vector_bytes // itemsize


STARTED_PER_CYCLE = {
    5: ("icelake-client", "icelake-server", "tigerlake", "rocketlake", "cannonlake", "znver1", "znver2"),
    6: ("alderlake", "raptorlake", "meteorlake", "sapphirerapids", "emeraldrapids", "graniterapids", "granite-rapids-d", "znver3", "znver4"),
    8: ("arrowlake", "arrowlake-s", "lunarlake", "pantherlake", "znver5"),
}
"""CPUs by the instructions that a core renames a cycle (Intel's optimization manual, AMD's software optimization guides)."""
LOADS_PER_CYCLE = {
    3: (*STARTED_PER_CYCLE[6], "arrowlake", "arrowlake-s", "lunarlake"),
    4: ("znver5",),
}
"""CPUs by the loads that a core makes a cycle, of which most here are of one element (the same manuals; whole vectors may be fewer)."""


def per_cycle(table, least):
    """What a table says of this computer's cores, whatever the compiler is set to; `least` where they are not in it: no less since 2013."""
    named = llvm.get_host_cpu_name()
    return next((rate for rate, names in table.items() if named in names), least)


@functools.cache
def compiler_target():
    """(CPU name, feature string) that Numba's code generator is set to: by NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, else this CPU's.

    With NUMBA_CPU_NAME alone Numba keeps the features of the real CPU, wider vectors included. Tiles are then made for those, too, with a warning.
    """
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    if config.CPU_NAME is not None and features and config.CPU_FEATURES is None:
        warnings.warn(
            f"NUMBA_CPU_NAME={config.CPU_NAME} alone: Numba adds this CPU's features, so code and tiles are not those of a {config.CPU_NAME}; "
            "set NUMBA_CPU_FEATURES too (empty for the named CPU's own)",
            RuntimeWarning,
            stacklevel=2,
        )
    return name, features


def assembly(source):
    """The assembly that LLVM emits for a module in its text form, on the compiler's target."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    name, features = compiler_target()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(cpu=name, features=features, opt=2)
    return machine.emit_assembly(llvm.parse_assembly(source))


def is_x86():
    """Whether the compiler's target is an x86-64."""
    return llvm.get_process_triple().split("-")[0] in ("x86_64", "amd64")


@functools.cache
def _multiply_add():
    """The assembly LLVM emits for a 64-byte multiply-add."""
    vector = "<16 x float>"
    signature = f"{vector} @llvm.fmuladd.v16f32({vector}, {vector}, {vector})"
    return assembly(
        f"define {vector} @f({vector} %a, {vector} %b, {vector} %c) {{\n"
        f"  %r = call {vector} @llvm.fmuladd.v16f32({vector} %a, {vector} %b, {vector} %c)\n  ret {vector} %r\n}}\n"
        f"declare {signature}"
    )


def fuses():
    """Whether a multiply-add is one instruction on the compiler's target: on x86-64 FMA, elsewhere always."""
    return not is_x86() or "vfmadd" in _multiply_add()


def vector_unit():
    """(bytes of a vector register, number of them): read off the assembly LLVM emits for a 64-byte multiply-add."""
    if "zmm" in _multiply_add():
        return 64, 32
    if "ymm" in _multiply_add():
        return 32, 16
    return 16, 16 if is_x86() else 32


def parse_size(text):
    """Bytes in a size as sysfs writes it: '48K', '2048K', '32M'."""
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1])
    return int(text) if scale is None else int(text[:-1]) * scale


@functools.cache
def caches(cpu=SYSFS_CPU):
    """The data caches of one CPU, nearest first, as a tuple of Cache; empty where sysfs does not tell."""
    found = []
    for index in sorted(pathlib.Path(cpu).glob("cache/index*")):
        try:
            read = {
                name: (index / name).read_text().strip()
                for name in (
                    "type",
                    "level",
                    "size",
                    "ways_of_associativity",
                    "coherency_line_size",
                )
            }
            if read["type"] == "Instruction":
                continue
            size, line, ways = parse_size(read["size"]), int(read["coherency_line_size"]), int(read["ways_of_associativity"])
            cache = Cache(f"L{read['level']}", size, ways or size // line, line)
        except (OSError, ValueError):
            return ()
        found.append(cache)
    return tuple(sorted(found))


@functools.cache
def processor():
    """The CPU's own name for itself, as the operating system tells it; "" where it does not."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        named = None
    return named[1].strip() if named else platform.processor()


@functools.cache
def target():
    """The Target of this computer. Where the caches are unknown, 32 KiB and 512 KiB: they decide about speed only."""
    sizes = {cache.name: cache.size_bytes for cache in caches()}
    width, registers = vector_unit()
    rates = {
        "multiply_adds_per_cycle": 2 if fuses() else 1,  # a multiplication and an addition take a slot each
        "instructions_per_cycle": per_cycle(STARTED_PER_CYCLE, 4),
        "loads_per_cycle": per_cycle(LOADS_PER_CYCLE, 2),
        "l2_bytes_per_cycle": max(32, width),
    }
    near = sizes.get("L1", 32 << 10), sizes.get("L2", 512 << 10)
    return Target(width, registers, *near, fused=fuses(), memory_operands=is_x86(), **rates)
