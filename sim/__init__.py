"""Accounting for convolution kernels: the kernels of `refconv`, run on a simulated memory hierarchy."""

from sim.blocks import simulate_block
from sim.machine import Machine, load_machine
from sim.simulate import simulate

__all__ = ["Machine", "load_machine", "simulate", "simulate_block"]
