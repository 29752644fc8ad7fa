"""The legal choices for the fields of a tiling, a function for each record of refconv.tiling.layers.

Tile heights from ROWS, every legal width, and for each block size one unit, the rule's, and all.
"""

import functools
import itertools

from refconv.static import Static
from refconv.tiling.layers import (
    ROWS,
    DenseTiling,
    DepthwiseRowsTiling,
    DepthwiseTiling,
    FewOutputsTiling,
    GroupedTiling,
    PartialTiling,
    PointwiseTiling,
    SpreadTiling,
    most_rows,
    most_strip_rows,
)
from refconv.tiling.shapes import legal_slides, most_vectors, pixels_of_outputs, tile_of
from refconv.weights.packed import ceil_div


@functools.singledispatch
def candidates(rule, problem, lanes, target):
    """Yield every combination of the legal choices for the fields of a tiling that fits the registers, the rule's own for the problem among them."""
    raise TypeError(f"tiling = {rule!r}: must be a tiling of refconv.tiling.layers")


@candidates.register(DenseTiling)
def _dense(rule, problem, lanes, target):
    for tile in matrix_tiles(problem.q, channels_of(problem), lanes, target):
        blocks = block_sizes(tile.vectors * lanes, rule.channels, problem.k_group)
        for lines, channels, ahead in itertools.product(line_counts(rule, problem), blocks, sorted({0, rule.ahead})):
            yield rule._replace(tile=tile, lines=lines, channels=channels, ahead=ahead)


@candidates.register(PartialTiling)
def _partial(rule, problem, lanes, target):
    for tile in matrix_tiles(problem.q, channels_of(problem), lanes, target):
        for lines in line_counts(rule, problem):
            yield rule._replace(tile=tile, lines=lines)


@candidates.register(PointwiseTiling)
def _pointwise(rule, problem, lanes, target):
    for tile in matrix_tiles(problem.n * problem.p * problem.q, problem.k, lanes, target):
        rows, blocks = tile.rows, block_sizes(tile.vectors * lanes, rule.channels, problem.k)
        pixel_counts = sorted({rows, ceil_div(rule.pixels, rows) * rows})
        for pixels, channels, ahead in itertools.product(pixel_counts, blocks, sorted({0, rule.ahead})):
            yield rule._replace(tile=tile, pixels=pixels, channels=channels, ahead=ahead)


@candidates.register(FewOutputsTiling)
def _few_outputs(rule, problem, lanes, target):
    for rows in (rows for rows in ROWS if rows <= rule.tile.rows):
        tile = rule.tile._replace(rows=Static(rows))
        step = pixels_of_outputs(tile, lanes)
        for pixels in sorted({step, ceil_div(rule.pixels, step) * step}):
            yield rule._replace(tile=tile, pixels=pixels)


@candidates.register(DepthwiseTiling)
def _depthwise(rule, problem, lanes, target):
    for strip in strips(rule.strip, problem, target):
        blocks, rows = block_sizes(lanes, rule.channels, problem.c), strip.rows
        pixel_counts = sorted({ceil_div(pixels, rows) * rows for pixels in (1, rule.pixels, problem.q)})
        for lines, channels, pixels in itertools.product(line_counts(rule, problem), blocks, pixel_counts):
            yield rule._replace(strip=strip, lines=lines, channels=channels, pixels=pixels)


@candidates.register(DepthwiseRowsTiling)
def _depthwise_rows(rule, problem, lanes, target):
    for strip in strips(rule.strip, problem.turned, target):
        for bands in sorted({1, rule.bands, ceil_div(problem.p, strip.rows)}):
            yield rule._replace(strip=strip, bands=bands)


@candidates.register(GroupedTiling)
def _grouped(rule, problem, lanes, target):
    for strip in strips(rule.strip, problem, target):
        for lines, vectors in itertools.product(line_counts(rule, problem), sorted({1, rule.vectors_per_unit})):
            yield rule._replace(strip=strip, lines=lines, vectors_per_unit=vectors)


@candidates.register(SpreadTiling)
def _spread(rule, problem, lanes, target):
    for strip in strips(rule.strip, problem, target):
        for lines, vectors in itertools.product(line_counts(rule, problem), sorted({1, rule.vectors_per_unit})):
            yield rule._replace(strip=strip, lines=lines, vectors_per_unit=vectors)


def channels_of(problem):
    """Output channels of a group."""
    return problem.weight_shape[0] // problem.groups


def matrix_tiles(pixels, channels, lanes, target):
    """Yield the register tiles of a matrix product of so many output channels, for calls of `pixels` pixels or more."""
    for vectors in range(1, most_vectors(channels, lanes) + 1):
        for rows in ROWS:
            if rows <= min(pixels, most_rows(vectors, target)):
                yield tile_of(rows, vectors, channels, lanes)


def strips(strip, conv, target):
    """Yield the strips that the Conv2d `conv` may have in place of the rule's `strip`, and whose sums fit the registers."""
    for taps, stride in legal_slides(strip, conv):
        most = most_strip_rows(taps, stride, target, strip.width)
        for rows in ROWS:
            if rows <= min(conv.q, most):
                yield strip._replace(rows=Static(rows), taps=Static(taps), stride=Static(stride))


def line_counts(rule, problem):
    """Output rows of a unit of work."""
    return sorted({1, rule.lines, problem.p})


def block_sizes(block, chosen, channels):
    """Output channels of a unit of work in whole blocks: one block, the rule's choice, all."""
    return sorted({block, ceil_div(chosen, block) * block, ceil_div(channels, block) * block})
