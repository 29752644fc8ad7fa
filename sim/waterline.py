"""python -m sim.waterline: a network's kernels under the roofs of a machine. The command line itself: sim/cli/waterline.py."""

from refconv.cli import door
from sim.cli.waterline import main

if __name__ == "__main__":
    door(main)
