"""python -m refconv: what there is to run."""

from refconv.cli import contents, door

DOORS = {
    "bench": "time the kernels beside torch and onnxruntime",
    "networks": "networks as data: parameters, MACs, published figures, blocks",
    "tune": "measure tilings on this CPU, and keep the fastest for later calls",
    "warm": "compile kernels ahead of their first call",
}

if __name__ == "__main__":
    door(contents("refconv", "Reference convolution kernels. From Python: import refconv.", DOORS))
