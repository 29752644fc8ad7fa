"""python -m sim.calibrate: the rates of this computer, measured. What is measured: sim/machine/calibrate.py."""

from refconv.cli import door
from sim.machine.calibrate import main

if __name__ == "__main__":
    door(main)
