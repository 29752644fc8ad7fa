"""What is taken for an array, what is said of what is none; what a call sees of arrays that change; arguments checked before anything is kept."""

import dataclasses
import re

import numpy as np
import pytest
from block_problems import build
from test_fused import one_pixel_tiles

import refconv
from refconv import reference
from refconv.choices import tilings
from refconv.kernels import kernel_for_block
from refconv.problem.arrays import as_array

X = np.ones((1, 8, 5, 5), np.float32)
WEIGHT = np.ones((8, 8, 3, 3), np.float32)
BIAS = np.ones(8, np.float32)


class Failing:
    """As a torch tensor that requires gradients: it has the form of an array, and refuses to be one."""

    shape, ndim = (1, 8, 5, 5), 4

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.\nUse tensor.detach().numpy() instead.")


def masked(array):
    return np.ma.masked_array(array, mask=array > 0)


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_what_is_no_array_is_named(name):
    given = {"x": X, "weight": WEIGHT, "bias": BIAS}
    with pytest.raises(TypeError, match=rf"^{name} of type Failing: cannot be read as an array: Can't call numpy\(\) on Tensor that requires grad.$"):
        refconv.conv2d(**{**given, name: Failing()}, padding=1)
    with pytest.raises(TypeError, match=f"^{name} is a masked array: must be an array without a mask"):
        refconv.conv2d(**{**given, name: masked(given[name])}, padding=1)
    with pytest.raises(TypeError, match=f"^{name} of type list: cannot be read as an array"):
        refconv.conv2d(**{**given, name: [[1.0], [2.0, 3.0]]}, padding=1)


def test_a_torch_tensor_that_requires_gradients_is_named():
    torch = pytest.importorskip("torch")
    weight = torch.ones(8, 8, 3, 3, requires_grad=True)
    with torch.enable_grad(), pytest.raises(TypeError, match=r"^weight of type Tensor: cannot be read as an array: .*requires grad"):
        refconv.conv2d(X, weight)
    np.testing.assert_array_equal(refconv.conv2d(X, weight.detach()), refconv.conv2d(X, WEIGHT))


def test_masks_are_refused_everywhere():
    for call in (
        lambda: refconv.depthwise_conv2d(masked(X), np.ones((8, 1, 3, 3), np.float32)),
        lambda: refconv.pointwise_conv2d(X, masked(WEIGHT[:, :, 0, 0])),
        lambda: refconv.partial_conv2d(X, WEIGHT, out=masked(X.copy())),
        lambda: refconv.pack(masked(WEIGHT)),
        lambda: build(refconv.FFNBlock, expand_bias=masked(np.ones(16, np.float32))),
        lambda: refconv.fused_block(masked(X), build(refconv.FFNBlock)),
        lambda: reference.conv2d(masked(X), WEIGHT),
        lambda: reference.partial_conv2d(X, masked(WEIGHT)),
        lambda: reference.activate(masked(X), "relu"),
        lambda: reference.block(masked(X), build(refconv.FFNBlock)),
        lambda: refconv.fold_batch_norm(WEIGHT, None, masked(BIAS), BIAS, BIAS, BIAS, 1e-5),
    ):
        with pytest.raises(TypeError, match=r"^[a-z_]+ is a masked array: must be an array without a mask, which would be lost"):
            call()


@pytest.mark.parametrize(("name", "value", "legal"), [("stride", 1, "vertical"), ("dilation", (1,) * 3, "vertical"), ("padding", (1, 1), "top")])
def test_the_definition_names_a_size_that_is_none(name, value, legal):
    with pytest.raises(ValueError, match=re.escape(f"{name} = {value!r}: must be ({legal}")):
        reference.conv2d(X, WEIGHT, **{name: value})


def test_memory_errors_are_not_ours():
    class Large:
        def __array__(self, dtype=None, copy=None):
            raise MemoryError

    with pytest.raises(MemoryError):
        as_array("x", Large())


def test_a_packed_record_does_not_see_changes_of_its_arrays():
    """Nor of its biases; a record made anew does, and so do the definition and the layers one by one."""
    rng = np.random.default_rng(0)
    array = lambda *shape: rng.integers(-2, 3, shape).astype(np.float32)
    record = build(refconv.FFNBlock, array=array, maybe=array, activation="relu")
    options = {"tiling": one_pixel_tiles(record, 1, 5, 5), "threads": 1}
    before = refconv.fused_block(X, record, **options)
    np.testing.assert_array_equal(before, reference.block(X, record))
    for changed in record.arrays.values():
        changed += 1
        np.testing.assert_array_equal(refconv.fused_block(X, record, **options), before)
    assert (reference.block(X, record) != before).any()
    np.testing.assert_array_equal(refconv.fused_block(X, dataclasses.replace(record), **options), reference.block(X, record))
    np.testing.assert_array_equal(refconv.unfused_block(X, record, threads=1), reference.block(X, record))


def test_a_packed_weight_does_not_see_changes_of_its_array():
    weight = WEIGHT.copy()
    packed = refconv.pack(weight)
    weight += 1
    np.testing.assert_array_equal(refconv.conv2d(X, packed), refconv.conv2d(X, WEIGHT))


@pytest.mark.parametrize("wrong", [64.0, True, "64", None, [64], np.float32(64)])
def test_what_equals_a_legal_number_is_refused_before_and_after_it(wrong):
    """Whatever has been called before: an equal key of a cache is no check."""
    record = build(refconv.FFNBlock, 8, hidden=64)
    tiling = one_pixel_tiles(record, 1, 5, 5)._replace(hidden=64, pixels=1)
    layer = next(tilings("mb1ic8ih5oc8kh3ph1"))
    calls = {
        "hidden": lambda value: refconv.fused_block(X, record, tiling=tiling._replace(hidden=value), threads=1),
        "lines": lambda value: refconv.conv2d(X, WEIGHT, padding=1, tiling=layer._replace(lines=value), threads=1),
        "threads": lambda value: refconv.conv2d(X, WEIGHT, padding=1, threads=value),
    }
    legal = {"hidden": 64, "lines": 1, "threads": 1}
    for name, call in calls.items():
        value = wrong if name == "hidden" or not isinstance(wrong, int | float | np.floating) else type(wrong)(1)
        for _ in range(2):
            if not (name == "threads" and wrong is None):
                with pytest.raises((TypeError, ValueError), match=f"{name} = "):
                    call(value)
            call(legal[name])


@pytest.mark.parametrize("unhashable", [[1, 2], {"rows": 1}, np.ones(2), {1}])
def test_an_unhashable_argument_is_named(unhashable):
    record, squeezed = build(refconv.FFNBlock), build(refconv.MBConvBlock)
    for call, text in (
        (lambda: refconv.fused_block(X, record, tiling=unhashable), "tiling = .*must be a FeedForwardTiling"),
        (lambda: refconv.conv2d(X, WEIGHT, tiling=unhashable), "tiling = .*must be a tiling"),
        (lambda: refconv.fused_block(X, squeezed, halo=unhashable), "halo = .*must be one of auto"),
        (lambda: refconv.fused_block(X, squeezed, squeeze=unhashable), "squeeze = .*must be one of auto"),
        (lambda: refconv.conv2d(X, WEIGHT, stride=unhashable if not isinstance(unhashable, list) else [1.0]), "stride = "),
        (lambda: refconv.conv2d(X, WEIGHT, padding=unhashable if not isinstance(unhashable, list) else [1.0]), "padding = "),
        (lambda: refconv.conv2d(X, WEIGHT, groups=unhashable), "groups = "),
        (lambda: refconv.conv2d(X, WEIGHT, threads=unhashable), "threads = "),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            call()


def test_a_tiling_of_another_type_with_the_same_numbers_is_refused():
    record = build(refconv.FFNBlock)
    tiling = one_pixel_tiles(record, 1, 5, 5)
    refconv.fused_block(X, record, tiling=tiling, threads=1)
    with pytest.raises(TypeError, match="must be a FeedForwardTiling"):
        refconv.fused_block(X, record, tiling=tuple(tiling), threads=1)
    assert kernel_for_block(record).name == "ffn"
