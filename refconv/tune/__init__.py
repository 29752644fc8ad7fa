"""Which tiling is fastest here: `tune` measures legal ones beside the rule's and keeps the best for later calls. `python -m refconv.tune`."""

from refconv.tune.search import Tuned, tune

__all__ = ["Tuned", "tune"]
