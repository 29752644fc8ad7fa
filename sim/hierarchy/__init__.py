"""The caches: a state in words, its sets, the loops that run accesses through it. Below everything that is compiled for traced buffers."""

import sim
from refconv.code_cache import register

register("sim", sim.__file__)  # its sources have a part in that code
