"""A MatMul with a constant matrix, and a Gemm with one, is a 1x1 convolution of the last axis: a "product"."""

import math

import numpy as np

from refconv.elements import ELEMENTS


def name_products(network):
    """Name those steps; the weight becomes (outputs, channels), as of a convolution; alpha and beta of a Gemm go into weight and bias."""
    changed, arrays = {}, {}
    for step in network.steps:
        matrix = network.constant(step.sources[1]) if step.op in ("MatMul", "Gemm") and len(step.sources) > 1 else None
        if matrix is None or matrix.ndim != 2 or matrix.dtype.name not in ELEMENTS or 0 in matrix.shape or step.attributes.get("transA"):
            continue
        given, weight, bias = step.attributes, matrix if step.attributes.get("transB") else matrix.T, None
        if step.op == "Gemm" and len(step.sources) > 2:
            bias = network.constant(step.sources[2])
            if bias is None or not (math.prod(bias.shape) in (1, len(weight)) and (bias.size == 1 or bias.shape[-1] == len(weight))):
                continue
            bias = np.broadcast_to(bias.reshape(-1) * bias.dtype.type(given.get("beta", 1.0)), len(weight))
        if given.get("alpha", 1.0) != 1:
            weight = weight * weight.dtype.type(given["alpha"])
            if not np.isfinite(weight).all():  # as in scales.py
                continue
        roles = {"weight": f"{step.name} weight"}
        arrays[roles["weight"]] = weight
        if bias is not None:
            roles["bias"] = f"{step.name} bias"
            arrays[roles["bias"]] = bias
        changed[step.name] = step._replace(op="product", sources=step.sources[:1], parameters=roles, attributes={})
    return network.changed(changed, arrays)
