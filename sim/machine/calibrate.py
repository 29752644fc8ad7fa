"""The two rates of this host: arithmetic peak and memory bandwidth of one core. `python -m sim.calibrate` measures them again.

Measured once and kept in the user's cache folder: they divide a report's numbers, and a report should not change from run to run.
"""

import hashlib
import json
import math
import os
import pathlib
import time

import numpy as np

from refconv import host
from refconv.cli import Parser, note
from refconv.code_cache import user_cache
from refconv.messages import warn_caller
from refconv.peak import peak_flop_per_s


def bandwidth_bytes_per_s(repeats=3):
    """Bytes read plus bytes written per second in a copy of arrays twice as large as all caches (at most 512 MiB): the best of `repeats`.

    A large NumPy copy writes with non-temporal stores (memcpy), so the bytes counted are the bytes moved.
    """
    caches = sum(cache.size_bytes for cache in host.caches()) or 64 << 20
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = min(max(2 * caches, 128 << 20), 512 << 20, memory // 8)
    x, y = np.ones(size // 2, np.uint8), np.ones(size // 2, np.uint8)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        np.copyto(y, x)
        best = min(best, time.perf_counter() - start)
    return 2 * len(x) / best


def measure():
    """(FLOP/s, bytes/s) of one core, float32."""
    return peak_flop_per_s(), bandwidth_bytes_per_s()


def host_rates(refresh=False):
    """The kept (FLOP/s, bytes/s) of this host, measured if there are none, or if `refresh`."""
    identity = repr((host.compiler_target(), host.caches()))
    path = (user_cache() or pathlib.Path()) / f"rates-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    if not refresh:
        try:
            kept = json.loads(path.read_text())
            rates = float(kept["peak_flop_per_s"]), float(kept["bandwidth_bytes_per_s"])
            if all(math.isfinite(rate) and rate > 0 for rate in rates):
                return rates
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none kept yet, or damaged
    note("measuring this host's peak and bandwidth (once; again with python -m sim.calibrate)")
    peak, bandwidth = measure()
    try:
        if user_cache() is None:
            raise OSError("there is no home folder; set REFCONV_CACHE_DIR")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"peak_flop_per_s": peak, "bandwidth_bytes_per_s": bandwidth}))
    except OSError as error:
        warn_caller(f"{path}: cannot be kept, so every process measures anew: {error.strerror or error}", "sim")
    return peak, bandwidth


def main(argv=None):
    """Measure again, keep, and print; returns the exit status."""
    about = "Measure the arithmetic peak and the memory bandwidth of one core of this computer, and keep them for reports on --machine host."
    Parser(prog="sim.calibrate", description=about).parse_args(argv)
    flops, moved = host_rates(refresh=True)
    print(f"peak {flops / 1e9:.1f} GFLOP/s, bandwidth {moved / 1e9:.1f} GB/s, balance {flops / moved:.1f} FLOP/B (one core, float32)")
    return 0
