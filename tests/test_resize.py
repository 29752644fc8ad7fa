"""Where Resize finds its elements, at scales that no binary number is: as onnx's reference, which computes places in float64."""

import numpy as np
import pytest
from networks import by_onnx, network

import refconv


@pytest.mark.parametrize("places", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("nearest", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_places_beside_whole_numbers(places, nearest):
    """3 / 0.6f is 4.9999998, in float32 5: onnxruntime takes another element there."""
    body = f'y = Resize <mode = "nearest", nearest_mode = "{nearest}", coordinate_transformation_mode = "{places}"> (x, e, v)'
    for size in (7, 10, 15):
        x = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
        for scale in (0.1, 0.3, 0.6, 0.7, 0.9, 1.1, 1.3, 1.7, 2.3):
            scales = {"v": np.float32([1, 1, 1, scale]), "e": np.float32([])}
            model = network(f"float[1,1,1,{size}] x", "float[a,b,c,d] y", body, scales)
            if int(np.float64(np.float32(scale)) * size):
                np.testing.assert_array_equal(refconv.load(model)(x), by_onnx(model, x=x)[0])
