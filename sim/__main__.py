"""python -m sim: what there is to run."""

from refconv.cli import contents, door

DOORS = {
    "traffic": "what a layer, a block or a network moves between caches and DRAM",
    "network": "what a whole network's schedule moves, call by call, with warm caches in between",
    "capacity": "DRAM traffic against the size of the cache",
    "plot": "pictures: efficiency gap, operational intensity, roofline, traffic, waterline",
    "waterline": "what a network can attain of a machine's peak, kernel after kernel",
    "papers": "published latencies beside their waterlines, and what ranks them",
    "bench": "accesses simulated per second",
    "calibrate": "measure this computer's peak and bandwidth anew",
}

if __name__ == "__main__":
    door(contents("sim", "Accounts for convolution kernels on a simulated memory hierarchy. From Python: import sim.", DOORS))
