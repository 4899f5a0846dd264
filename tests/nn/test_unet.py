"""The U-Net: any size of image, a class for each pixel, the same bits for the same seed."""

import numpy as np
import pytest

from kilter.nn.unet import unet


@pytest.mark.parametrize("shape", [(8, 8, 1), (13, 18, 3), (5, 4, 3)])
def test_it_keeps_the_size_of_the_image(shape):
    model = unet(shape, 3, filters=(2, 3, 4), normalization=(np.zeros(shape[-1]), np.ones(shape[-1])))
    assert model(np.zeros((2, *shape), "uint8")).shape == (2, *shape[:2], 3)


def test_the_seed_decides_the_weights():
    first, again, other = (unet((8, 8, 1), 2, filters=(2, 3), seed=seed) for seed in (0, 0, 1))
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(first.get_weights(), other.get_weights(), strict=True))
