"""Passes: functions from a Network to one that computes the same with less. Each is a file that reads like its rule; the order is here."""

import numpy as np

from refconv.graph.passes.activations import name_activations
from refconv.graph.passes.blocks import fuse_blocks
from refconv.graph.passes.constants import fold_constants
from refconv.graph.passes.convolutions import name_convolutions
from refconv.graph.passes.join import join_activations, join_residuals
from refconv.graph.passes.layer_norms import name_layer_norms
from refconv.graph.passes.microsoft import expand_microsoft
from refconv.graph.passes.ones import drop_ones
from refconv.graph.passes.pads import fold_pads
from refconv.graph.passes.products import name_products
from refconv.graph.passes.responses import gather_responses
from refconv.graph.passes.scales import fold_scales
from refconv.graph.passes.transposes import sink_transposes

PASSES = (
    expand_microsoft,
    fold_constants,
    drop_ones,
    name_layer_norms,
    name_convolutions,
    fold_pads,
    name_products,
    sink_transposes,
    fold_scales,
    name_activations,
    gather_responses,
    join_residuals,
    join_activations,
    join_residuals,
    join_activations,
)


ALWAYS = "always"


def improved(network, fuse=True):
    """The network after all passes; fuse: whether blocks are among them, or ALWAYS."""
    with np.errstate(all="ignore"):  # constants may be infinite, and become so
        for apply in PASSES:
            network = apply(network)
    return fuse_blocks(network, fuse == ALWAYS) if fuse else network
