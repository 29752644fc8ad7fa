"""The decorators: how a function of this project is compiled, and where compiled code is kept.

    @routine   a piece of a kernel. From compiled code it is compiled in; from Python it is the plain function.
    @kernel    an entry point: compiled without the GIL and kept on disk. `plain(k)` is its Python source.
    parallel(k)   the same kernel with its units split over threads.

Numba's disk cache looks at the file that holds a function, not at the helpers the function calls (numba issue 1833): after
an edit of a helper it serves stale code, which for a simulator is a silently wrong count. Here the cache folder itself is named
by a hash of every source of both packages, of the Numba version and of the compiler's target.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import shutil
import time
import types
from typing import NamedTuple

import numba
from numba import njit, prange
from numba.core import config
from numba.extending import register_jitable

from refconv.host import compiler_target

ROOT = pathlib.Path(__file__).resolve().parent.parent
STALE_AFTER_S = 30 * 24 * 3600.0

routine = register_jitable(forceinline=True)


class Part(NamedTuple):
    """What one thread of a call does: units first to last - 1, on the part number `slot` of `slots` of each workspace buffer."""

    slot: int
    slots: int
    first: int
    last: int


def source_hash(root=ROOT):
    """Hexadecimal digest over the sources of both packages, Numba's version and the compiler's target."""
    digest = hashlib.sha256(repr((numba.__version__, compiler_target())).encode())
    for package in ("refconv", "sim"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:20]


def user_cache():
    """The folder that everything this project keeps on disk lies in: $REFCONV_CACHE_DIR, else the user's cache folder."""
    named = os.environ.get("REFCONV_CACHE_DIR")
    if named:
        return pathlib.Path(named)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()) / "refconv"


@functools.cache
def code_cache():
    """The folder of the compiled code of these very sources. Folders that no run has used for 30 days are removed."""
    try:
        folder = user_cache() / f"code-{source_hash()}"
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except (OSError, RuntimeError):
        return None  # a read-only home, or none: Numba compiles in memory
    for other in folder.parent.glob("code-*"):
        with contextlib.suppress(OSError):  # another process may be removing it
            if time.time() - other.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def kernel(function, **options):
    """Compile `function` on first call for each tuple of argument types, without the GIL, and keep the code on disk.

    Nothing is allocated in a kernel, so no references are counted: Numba's counting calls, where a branch keeps it from pruning them, make
    the code around them save all vector registers (a strip of a depthwise 3x3 convolution took 240 cycles in the place of 89).
    """
    options = {"_nrt": False, **options}
    before = config.CACHE_DIR
    config.CACHE_DIR = str(code_cache() or "")
    try:
        return njit(cache=code_cache() is not None, nogil=True, error_model="numpy", **options)(function)
    finally:
        config.CACHE_DIR = before


def plain(jitted):
    """The Python source of a kernel, to be called without the compiler (also under NUMBA_DISABLE_JIT=1)."""
    return getattr(jitted, "py_func", jitted)


def _split(operands, out, work, problem, tiling, units, threads):
    for slot in prange(threads):
        part = Part(slot, threads, slot * units // threads, (slot + 1) * units // threads)
        run(operands, out, work, problem, tiling, part)  # noqa: F821


@functools.cache
def parallel(jitted):
    """The kernel with its units in equal shares over `threads` Numba threads: f(operands, ..., tiling, units, threads).

    The loop above is compiled once for each kernel, with the kernel as the global name `run`: a closure would carry it
    into the key of the disk cache, where a compiled function is never equal to itself in the next process.
    """
    name = f"{plain(jitted).__name__}_parallel"
    split = types.FunctionType(_split.__code__.replace(co_name=name), {"run": jitted, "Part": Part, "prange": prange, "__name__": __name__}, name)
    split.__qualname__ = name
    split.__module__ = __name__
    return kernel(split, parallel=True, _nrt=True)
