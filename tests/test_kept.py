"""What is kept from call to call: bounded, least recently used, none of it wrong after it has been let go."""

import gc
import tracemalloc
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
from block_problems import build, normal, squeeze_excite
from hypothesis import given
from hypothesis import strategies as st
from test_fused import one_pixel_tiles

import refconv
from refconv import plan
from refconv.ops import blocks
from refconv.recent import Recent


@given(st.integers(1, 4), st.lists(st.integers(0, 6), max_size=40))
def test_recent_is_a_model_of_lists(most, asked):
    recent, model = Recent(most), []
    for key in asked:
        value = recent.get(key)
        assert value == (key * 10 if key in model else None)
        if value is None:
            assert recent.keep(key, key * 10) == key * 10
        model = [*(other for other in model if other != key), key][-most:]
        assert len(recent) == len(model)


def test_many_shapes_of_a_block_do_not_grow_what_is_kept():
    """Beyond the number of shapes that are kept, memory of Python and NumPy stays: it grew by tens of KiB a shape."""
    first, more = 300, 400
    record = build(refconv.FFNBlock, 4, hidden=8)
    x = np.zeros((1, 64, 20, 4), np.float32)

    def call(i):
        image = x[:, : 1 + i % 64, : 1 + i // 64]
        refconv.fused_block(image, record, layout="NHWC", threads=1, tiling=one_pixel_tiles(record, 1, *image.shape[1:3]))

    def kept():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    call(0)
    tracemalloc.start()
    try:
        for i in range(first):
            call(i)
        before = kept()
        for i in range(first, first + more):
            call(i)
        grown = kept() - before
    finally:
        tracemalloc.stop()
    assert grown < more * 100, "less than 100 bytes a shape"
    assert len(blocks._PROGRAMS[record]) <= blocks.MOST_PROGRAMS


def test_a_thousand_shapes_of_a_layer_do_not_grow_what_is_kept():
    weight, sizes = refconv.pack(np.zeros((4, 4, 1, 1), np.float32)), []
    for i in range(1000):
        refconv.pointwise_conv2d(np.zeros((4, 1 + i % 50, 2 + i // 50), np.float32), weight, threads=1)
        sizes.append(plan.make_plan.cache_info().currsize)
    assert max(sizes) <= plan.MOST_PLANS


def test_an_arena_keeps_at_most_what_it_says(monkeypatch):
    monkeypatch.setattr(plan, "MOST_KEPT_BYTES", 1000)
    arena, small, large = plan.Arena(), np.dtype(np.float32), 400

    def space(places, sizes):
        record = namedtuple("Work", [f"buffer_{i}" for i in range(len(sizes))])
        call = SimpleNamespace(places=places, sizes=sizes, workspace=record(*sizes))
        return arena.workspace(f"{places} {sizes}", call, small)

    first = space(((False, 0), (False, 1)), (50, 60))
    assert space(((False, 0), (False, 1)), (50, 60)) is first
    again = space(((False, 0),), (40,))
    assert np.shares_memory(again[0], first[0]), "calls of one place share their memory"
    assert not np.shares_memory(space(((True, 0),), (40,))[0], first[0])
    grown = arena.buffer("other", large, small)
    assert grown.size == large
    assert sum(buffer.nbytes for buffer in arena.buffers.values()) <= 1000
    assert len(arena.workspaces) == 0
    anew = space(((False, 0), (False, 1)), (50, 60))
    assert not np.shares_memory(anew[0], grown)
    assert not np.shares_memory(*anew)
    too_large = space(((False, 0), (False, 1)), (200, 300))
    assert not np.shares_memory(*too_large)
    kept = {id(array.base) for array in arena.buffers.values()}
    assert all(id(view.base) in kept for views in arena.workspaces._kept.values() for view in views), "nothing is kept by its views alone"


@pytest.mark.parametrize("most", [0, 1 << 10])
def test_a_call_that_takes_more_than_is_kept_is_right(most, monkeypatch):
    """Squeeze-excitation, whose calls leave something for each other in the arena."""
    rng = np.random.default_rng(0)
    array = lambda *shape: normal(rng, shape).astype(np.float32)
    record = build(refconv.MBConvBlock, 6, 6, 16, 1, array=array, maybe=array, se=squeeze_excite(16, 3, array, array), activation="relu")
    x = array(2, 6, 5, 4)
    options = {"tiling": one_pixel_tiles(record, 2, 5, 4), "threads": 1}
    expected = {squeeze: refconv.fused_block(x, record, squeeze=squeeze, **options) for squeeze in ("recompute", "spill")}
    monkeypatch.setattr(plan, "MOST_KEPT_BYTES", most)
    monkeypatch.setattr(plan, "_ARENA", plan.Arena())
    for squeeze, values in expected.items():
        for _ in range(2):
            np.testing.assert_array_equal(refconv.fused_block(x, record, squeeze=squeeze, **options), values)
