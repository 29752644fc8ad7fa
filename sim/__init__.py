"""Accounting for convolution kernels: the kernels of `refconv`, run on a simulated memory hierarchy."""

from sim.blocks import simulate_block
from sim.machine import Machine, load_machine
from sim.models import read_model
from sim.models.run import simulate_model
from sim.simulate import simulate

__all__ = ["Machine", "load_machine", "read_model", "simulate", "simulate_block", "simulate_model"]
