"""Layers of the benchmark: every contender's forms of each, checked against the definition."""

import numpy as np

from refconv.bench.entry import TOLERANCE, check
from refconv.bench.measure import Contest
from refconv.bench.peers import Operands, ours, peer
from refconv.elements import element


def layer_contests(layers, peers, dtype, threads, layout):
    """Yield the Contest of each layer, after every form of every contender has been checked against the definition.

    WrongResult names a contender that disagrees.
    """
    for layer in layers:
        operands = Operands(layer.problem, dtype)
        layouts = dict.fromkeys((layout, "NHWC"))  # with NCHW both, to tell the share of the conversion
        entries = {f"refconv {name}": ours(operands, threads, name) for name in layouts}
        if element(operands.dtype).half:
            entries["refconv float32"] = ours(Operands(layer.problem, np.float32), threads, layout)
        for name in peers:
            entries |= {f"{name} {form}": entry for form, entry in peer(name).layer_entries(operands, threads).items()}
        check(layer.problem, entries, operands.expected(), TOLERANCE[element(dtype).name])
        yield Contest(layer.name, str(layer.problem), layer.problem.flops, entries)
