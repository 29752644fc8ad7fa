"""Accounting for convolution kernels: the kernels of `refconv`, run on a simulated memory hierarchy."""

from refconv.code_cache import register
from refconv.graph.model import read_model
from sim.account.block import simulate_block
from sim.account.layer import simulate
from sim.account.network import simulate_model
from sim.machine.record import Machine, load_machine

register("sim", __file__)  # what has a part in kernels compiled for traced buffers

__all__ = ["Machine", "load_machine", "read_model", "simulate", "simulate_block", "simulate_model"]
