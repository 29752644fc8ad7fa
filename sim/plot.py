"""python -m sim.plot: pictures. The command line itself: sim/cli/plot.py."""

from refconv.cli import door
from sim.cli.plot import main

if __name__ == "__main__":
    door(main)
