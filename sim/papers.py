"""python -m sim.papers: the papers' tables beside what is computed here. The command line itself: sim/cli/papers.py."""

from refconv.cli import door
from sim.cli.papers import main

if __name__ == "__main__":
    door(main)
