"""python -m sim.network: what a whole network moves, call by call. The command line itself: sim/cli/network.py."""

from refconv.cli import door
from sim.cli.network import main

if __name__ == "__main__":
    door(main)
