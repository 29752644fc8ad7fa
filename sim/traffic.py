"""python -m sim.traffic: what kernels move. The command line itself: sim/cli/traffic.py."""

from refconv.cli import door
from sim.cli.traffic import main

if __name__ == "__main__":
    door(main)
