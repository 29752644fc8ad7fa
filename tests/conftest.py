"""Settings shared by the tests: deterministic hypothesis profiles that leave compile time out of account."""

import gc
import os
import signal

from hypothesis import HealthCheck, settings

checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=checks, max_examples=60)
settings.register_profile("thorough", parent=settings.get_profile("default"), derandomize=False, max_examples=1000)
settings.register_profile("other-target", parent=settings.get_profile("default"), max_examples=12)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

os.environ["REFCONV_TUNED"] = "0"  # what has been measured on this computer has no part in any test but those of tuning
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it for its workers, and tables would be folded to it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background, whose jobs and their children ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """The garbage collector leaves alone what is there by now, and comes less often: a compiler and hypothesis make millions of objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(items):
    """The longest tests, those of other targets, go to the head of each of the two workers' shares."""
    slow = [item for item in items if "other_targets" in item.name]
    rest = [item for item in items if item not in slow]
    half, middle = len(slow) // 2, len(rest) // 2
    items[:] = [*slow[:half], *rest[:middle], *slow[half:], *rest[middle:]]
