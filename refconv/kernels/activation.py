"""An activation alone, of every element: what a layer-by-layer run of a block does between its layers."""

from refconv.jit import kernel
from refconv.parts.operands import ONE
from refconv.tile import activate, lanes, load, store


@kernel
def activated(x, out, elements, activation):
    """out[i] = activation(x[i]) for i < elements; both flat, of one element type."""
    n = lanes(x)
    for i in range(0, elements, n):
        store(out, i, 0, activate(load(ONE, ONE, x, i, 0, elements - i), activation), elements - i, 0)
