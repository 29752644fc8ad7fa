"""python -m sim.bench: accesses simulated per second. The command line itself: sim/cli/bench.py."""

from refconv.cli import door
from sim.cli.bench import main

if __name__ == "__main__":
    door(main)
