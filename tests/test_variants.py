"""How many variants of its kernels a block has compiled over small maps of every size: few, and right on each."""

import numpy as np
import pytest
from block_problems import BLOCKS, STRIDED, build, gates, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fused import cast, close

import refconv
from refconv import host
from refconv.bench.blocks import CASES, weights
from refconv.elements import ELEMENTS
from refconv.host import Target
from refconv.jit import Part
from refconv.kernels import kernel_for_block
from refconv.plan import signature_of
from refconv.schedule import block_schedule
from refconv.tile.recorded import Recorded
from refconv.weights.blocks import block_problem

MAPS = [(h, w) for h in range(1, 17) for w in range(1, 29)]
MOST_VARIANTS = 4
TARGETS = {
    "AVX-512": Target(64, 32, 48 << 10, 2 << 20),
    "AVX2": Target(32, 16, 32 << 10, 512 << 10),
    "128 bits": Target(16, 16, 32 << 10, 512 << 10),
    "AVX2, two threads": Target(32, 16, 32 << 10, 512 << 10, 2),
}


def variants(record, element, target, maps):
    """{(kernel, Numba types of its arguments)} that a record has compiled on maps of these sizes; nothing is compiled."""
    calls = {call for h, w in maps for call in block_schedule(record, 1, h, w, element, target).calls}
    return {(call.kernel.name, *map(str, signature_of(call, element))) for call in calls}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_448_maps_are_four_variants(case, target):
    """Blocks of networks: each with its channels, on its own map and on all small ones."""
    record, chosen = weights(case), TARGETS[target]
    own = variants(record, ELEMENTS["float32"], chosen, [(case.size, case.size)])
    found = variants(record, ELEMENTS["float32"], chosen, [*MAPS, (case.size, case.size)])
    assert own <= found
    assert len(found) <= MOST_VARIANTS


def record_of(name, dtype=np.float32, array=None):
    """A block of 20 channels: ragged in vectors, its convolution of narrow groups where it has any."""
    fill = array or (lambda *shape: np.zeros(shape, np.float32))
    kind = next(kind for kind in BLOCKS if kind.__name__ == name.partition(" ")[0])
    squeezed = gates(kind, 20, 40, array=fill, maybe=fill) if "squeezed" in name else {}
    strided = {"stride": 2} if "stride 2" in name else {}
    return cast(build(kind, 20, 20, 40, g=4, array=fill, maybe=fill, activation="silu", **strided, **squeezed), dtype, 0.5)


NAMES = [
    *(kind.__name__ for kind in BLOCKS),
    *(f"{kind.__name__} of stride 2" for kind in STRIDED),
    "MBConvBlock squeezed",
    "MBConvBlock of stride 2, squeezed",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_blocks_too(name, dtype):
    """Strides, element types, ragged channels; squeeze-excitation, where halves make the hidden layer twice."""
    maps = [(h, w) for h, w in MAPS if min(h, w) > 1] if name == "ConvFirstBlock of stride 2" else MAPS  # whose blur pool reflects the map
    for target in TARGETS.values():
        assert len(variants(record_of(name), ELEMENTS[dtype], target, maps[::3])) <= MOST_VARIANTS


@pytest.mark.parametrize("name", NAMES)
def test_tiles_higher_than_there_are_pixels(name):
    """The tiles of a large map on any small one: one variant, whose tiles have up to 14 rows where there may be a single pixel."""
    rng = np.random.default_rng(1)
    record = record_of(name, array=lambda *shape: normal(rng, shape))
    row, least, itemsize = kernel_for_block(record), 2 if "ConvFirstBlock of" in name else 1, 4
    problem = lambda n, h, w: block_problem(record, n, h, w, host.target().lanes(itemsize))
    shapes = {field: shape for field, shape in row.tiling(problem(1, 56, 56), itemsize, host.target())._asdict().items() if isinstance(shape, tuple)}

    @settings(max_examples=25)
    @given(st.integers(1, 2), st.integers(least, 16), st.integers(least, 28), st.sampled_from(["recompute", "spill"]))
    def check(n, h, w, squeeze):
        x = np.random.default_rng(h).standard_normal((n, 20, h, w)).astype(np.float32)
        tiling = row.tiling(problem(n, h, w), itemsize, host.target())._replace(**shapes)
        if "hidden" in tiling._fields:
            vectors = (tiling.expand if hasattr(tiling, "expand") else tiling.conv).vectors
            tiling = tiling._replace(hidden=vectors * host.target().lanes(itemsize))
        options = {"squeeze": squeeze} if "squeezed" in name else {}
        close(refconv.fused_block(x, record, tiling=tiling, threads=1, **options), x, record)

    check()


def test_the_rules_tiles_on_maps_of_a_pixel_or_few():
    """Halves are widened a pixel at a time there."""
    rng = np.random.default_rng(2)
    for dtype in (np.float32, np.float16):
        record = record_of("MBConvBlock squeezed", dtype, lambda *shape: normal(rng, shape))
        for h, w in ((1, 1), (1, 2), (2, 1), (5, 2), (3, 6), (16, 1)):
            x = rng.standard_normal((2, 20, h, w)).astype(dtype)
            close(refconv.fused_block(x, record, threads=1), x, record)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_the_buffers_is_touched_on_tiny_maps(name):
    """The plain source on recorded arrays, which refuse that: the tiles of a large map on one or a few pixels, every output stored once."""
    record, target, element = record_of(name), host.target(), ELEMENTS["float32"]
    row, least = kernel_for_block(record), 2 if "ConvFirstBlock of" in name else 1
    shapes = row.tiling(block_problem(record, 1, 56, 56, target.lanes(4)), 4, target)
    shapes = {field: shape for field, shape in shapes._asdict().items() if isinstance(shape, tuple)}
    for h, w in ((least, least), (least, 2), (3, least)):
        rule = row.tiling(block_problem(record, 1, h, w, target.lanes(4)), 4, target)
        if "hidden" in rule._fields:
            first = shapes.get("expand") or shapes["conv"]
            rule = rule._replace(hidden=first.vectors * target.lanes(4))
        schedule = block_schedule(record, 1, h, w, element, target, tiling=rule._replace(**shapes))
        sizes = {key: buffer.elements for key, buffer in schedule.buffers.items()}
        for call in schedule.calls:
            buffers = [Recorded(np.zeros(sizes[key], np.float32)) for key in call.keys]
            call.kernel.source(*call.arguments(buffers), Part(0, 1, 0, call.units))
            assert (buffers[len(call.inputs)].stores == 1).all()
