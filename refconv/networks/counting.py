"""Multiply-adds as fvcore counts them, which is what tables of results often publish: norms and the last mean have some, too.

Where a published number of MACs is a little above that of the convolutions and matrix products alone, this is why: it gives to the last digit the
MACs of FasterNet's Table 3 and those of timm's tables, which Lavin's figures repeat (derived here, from fvcore's rules; tests/test_published.py).
"""

BATCH_NORM, LAYER_NORM, MEAN = 2, 5, 1
"""Operations for each element, as fvcore's handles count them beside the multiply-adds of convolutions and matrix products."""


def fvcore_macs(network, size=None):
    """Of a Network for one image of size x size pixels (None: its own size), batch norms not folded; activations, sums and gates have none.

    Nor has the mean of squeeze-excitation: timm writes it as a mean, for which fvcore has no rule, but the last one as a pool, for which it has.
    """
    steps = network.steps(1, size)
    gating = {sized.step.sources[0] for sized in steps.values() if sized.step.op == "multiply"}
    total = network.macs(size) + sum(BATCH_NORM * steps[name].elements for name in network.batch_norms)
    for sized in steps.values():
        if sized.step.op == "norm":
            total += LAYER_NORM * sized.elements
        elif sized.step.op == "mean" and sized.step.sources[0] not in gating:
            total += MEAN * steps[sized.step.sources[0]].elements
    return total
