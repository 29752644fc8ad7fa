"""Accounting for convolution kernels: the kernels of `refconv`, run on a simulated memory hierarchy."""

from refconv.graph.read import read_model
from sim.account.block import simulate_block
from sim.account.layer import Cores, simulate
from sim.account.network import simulate_model
from sim.machine.record import Machine, load_machine

__all__ = ["Cores", "Machine", "load_machine", "read_model", "simulate", "simulate_block", "simulate_model"]
