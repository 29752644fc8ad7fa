"""Command lines in this process, and what they are given: a legal machine file, the header of a topology."""

import io
import sys

from sim.cli import traffic


def run(*arguments, main=traffic.main):
    """(status, stdout, stderr) of a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.stdout, sys.stderr = before
    return status, out.getvalue(), err.getvalue()


GOOD = {
    "line": "64 B",
    "vector": "64 B",
    "registers": 32,
    "peak": "1 GFLOP/s",
    "bandwidth": "1 GB/s",
    "caches": [{"name": "L1", "size": "32 KiB", "ways": 8}],
}
TOPOLOGY_HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
