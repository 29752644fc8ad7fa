"""Instruction sets: which this CPU has, and how every contender of a run is held to one of them.

The compiler takes its target from NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, torch its kernels from ATEN_CPU_CAPABILITY, what it compiles from
TORCHINDUCTOR_CPP_MARCH, its oneDNN from ONEDNN_MAX_CPU_ISA and its MKL from MKL_ENABLE_INSTRUCTIONS; OpenVINO takes OV_CPU_MAX_ISA for its own
kernels and ONEDNN_MAX_CPU_ISA for the others (docs/dev/max_isa_cap.md there). All are read once in a process, so a run that is held has a process
of its own. onnxruntime and ncnn offer nothing: they ask the CPU, whose answer refconv/bench/cpuid.py changes where Linux and the CPU allow.
"""

import functools
import os
import pathlib
import platform
import signal
import subprocess
import sys

import llvmlite.binding as llvm

from refconv import host
from refconv.bench.cpuid import hide_beyond_avx2
from refconv.bench.peers import peer
from refconv.cli import note

HELD = {
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "",
        "ATEN_CPU_CAPABILITY": "avx2",
        "TORCHINDUCTOR_CPP_MARCH": "haswell",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OV_CPU_MAX_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
}
"""{set: what is in the environment of a run that is held to it on a CPU that has more}."""
NEEDS = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
"""{set: the features, in LLVM's words, of a CPU that has it}, narrowest first."""
VECTOR_BYTES = {"avx2": 32, "avx512": 64}
UNHELD = ("onnxruntime", "ncnn")
"""The peers without a setting."""


@functools.cache
def widest():
    """The widest set of this CPU that has a name here; None if it has none."""
    features = {name for name, present in llvm.get_host_cpu_features().items() if present}
    return next((name for name in reversed(NEEDS) if NEEDS[name] <= features), None)


def environment(isa):
    """{variable: value, or None where it must be unset} of a run with the set `isa` on this CPU; {} for "native".

    ValueError names an unknown set, and one that the CPU does not have.
    """
    if isa == "native":
        return {}
    order, most = list(NEEDS), widest()
    if isa not in order:
        raise ValueError(f"--isa {isa}: must be {', '.join(order)} or native")
    if most is None or order.index(isa) > order.index(most):
        raise ValueError(f"--isa {isa}: this CPU, {cpu_name()}, has {f'{most} at most' if most else 'none of ' + ', '.join(order)}")
    unset = {variable: None for settings in HELD.values() for variable in settings}
    return unset | (HELD[isa] if isa != most else {})


def in_force(settings):
    """Whether this process has the settings of `environment`."""
    return all(os.environ.get(variable) == value for variable, value in settings.items())


def run_held(settings, arguments):
    """The exit status of `python -m refconv.bench` with these arguments, in a process of its own with these settings."""
    changed = {variable: value for variable, value in {**os.environ, **settings}.items() if value is not None}
    process = subprocess.Popen([sys.executable, "-m", "refconv.bench", *arguments], env=changed)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process, which says so and ends
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, handler)
    return status if status >= 0 else 128 - status


def hold(isa, peers):
    """The peers that are held to `isa` in this process, whose settings are in force; the others are named on stderr, and why.

    Must be called before a peer is imported. ValueError if the compiler's own vectors are others.
    """
    if isa == "native":
        return peers
    wanted = VECTOR_BYTES[isa]
    if host.vector_unit()[0] != wanted:
        raise ValueError(f"--isa {isa}: the compiler makes vectors of {host.vector_unit()[0]} bytes, not {wanted}")
    narrower = isa != widest()
    hidden = narrower and hide_beyond_avx2()
    held = []
    for name in peers:
        if narrower and name in UNHELD and not hidden:
            note(f"{name}: left out: it has no setting that holds it to {isa}, and CPUID cannot be changed here")
        elif (peer(name).vector_bytes() or wanted) > wanted:
            note(f"{name}: left out: it uses vectors of {peer(name).vector_bytes()} bytes; {isa} has {wanted}")
        else:
            held.append(name)
    return held


def cpu_name(cpuinfo=pathlib.Path("/proc/cpuinfo")):
    """The CPU's name as it gives it, and what LLVM calls its kind."""
    kind = llvm.get_host_cpu_name()
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    given = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), platform.processor())
    return f"{given} ({kind})" if given else kind
