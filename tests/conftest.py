"""Settings shared by the tests: deterministic hypothesis profiles that leave compile time out of account."""

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=checks, max_examples=60)
settings.register_profile("thorough", parent=settings.get_profile("default"), derandomize=False, max_examples=1000)
settings.register_profile("other-target", parent=settings.get_profile("default"), max_examples=12)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

os.environ["REFCONV_TUNED"] = "0"  # what has been measured on this computer has no part in any test but those of tuning
if len(getattr(os, "sched_getaffinity", lambda process: range(os.cpu_count() or 1))(0)) == 1:
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # tests of threads have two, on one core as well
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it for its workers, and tables would be folded to it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background, whose jobs and their children ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """The garbage collector leaves alone what is there by now, and comes less often: a compiler and hypothesis make millions of objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_addoption(parser):
    parser.addoption("--other-targets", action="store_true", help="also run what differs between instruction sets for other CPUs of x86-64")


def pytest_configure(config):
    config.addinivalue_line("markers", "other_target: compiles for another instruction set than this CPU's; runs with --other-targets")


def pytest_collection_modifyitems(config, items):
    """Tests of other targets run where they are asked for, as CI does: each compiles hundreds of kernels anew. They go to the head of each of the two
    workers' shares, since they take longest."""
    slow = [item for item in items if item.get_closest_marker("other_target")]
    rest = [item for item in items if item not in slow]
    if not config.getoption("--other-targets"):
        for item in slow:
            item.add_marker(pytest.mark.skip(reason="other targets: --other-targets"))
    half, middle = len(slow) // 2, len(rest) // 2
    items[:] = [*slow[:half], *rest[:middle], *slow[half:], *rest[middle:]]
