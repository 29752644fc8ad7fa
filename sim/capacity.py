"""python -m sim.capacity: traffic against the size of a cache. The command line itself: sim/cli/capacity.py."""

from refconv.cli import door
from sim.cli.capacity import main

if __name__ == "__main__":
    door(main)
