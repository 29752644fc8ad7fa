"""Accounting for convolution kernels: the kernels of `refconv`, run on a simulated memory hierarchy."""

import importlib

_MODULES = {
    "Cores": "sim.account.layer",
    "Machine": "sim.machine.record",
    "load_machine": "sim.machine.record",
    "network_waterline": "sim.account.waterline",
    "read_model": "refconv.graph.read",
    "simulate": "sim.account.layer",
    "simulate_block": "sim.account.block",
    "simulate_model": "sim.account.network",
    "simulate_network": "sim.account.network_run",
}
__all__ = list(_MODULES)


def __getattr__(name):
    """A name of the package is loaded when it is first asked for: whoever reads machines as data does not load the simulator with them."""
    if name not in _MODULES:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(_MODULES[name]), name)
    return value
