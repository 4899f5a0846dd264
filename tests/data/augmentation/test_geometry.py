"""Flips, shifts, rotations and zooms against NumPy and scipy.ndimage."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kilter.data.augmentation import Flip, Rotate, Shift, Zoom, warp
from kilter.data.augmentation.base import Images, Map
from kilter.data.augmentation.geometry import move

from .cases import alone, applied, photographs

KEY = jax.random.key(7)
WARP = jax.jit(warp, static_argnums=3)
SCIPY = {"reflect": "mirror", "edge": "nearest", "zero": "constant"}


class Fixed:
    """A geometric transformation that draws nothing."""

    def __init__(self, matrix, offset=(0.0, 0.0), *, whole=False):
        self.matrix, self.offset, self.whole = jnp.array(matrix), jnp.array(offset), whole

    def draw_map(self, key, images: Images) -> Map:
        count = images.rows
        return Map(jnp.tile(self.matrix, (count, 1, 1)), jnp.tile(self.offset, (count, 1)))


def turned(degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], "float32")


def test_flips_are_the_mirrors_of_numpy_in_equal_shares():
    x = photographs(400, 4, 5, 1)
    mirrors = {
        "horizontal": [x, x[:, :, ::-1]],
        "vertical": [x, x[:, ::-1]],
        "both": [x, x[:, :, ::-1], x[:, ::-1], x[:, ::-1, ::-1]],
    }
    for direction, expected in mirrors.items():
        made = applied(alone(Flip(direction)), x)[0]  # type: ignore[arg-type]
        fits = np.array([(made == one).all(axis=(1, 2, 3)) for one in expected])
        assert fits.any(axis=0).all()
        share = 1 / len(expected)
        # Four standard errors of a share in 400 draws.
        assert np.abs(fits.mean(axis=1) - share).max() < 4 * math.sqrt(share * (1 - share) / 400)


def test_a_flip_twice_is_the_image():
    x = jnp.asarray(photographs())
    flip = Fixed([[1.0, 0.0], [0.0, -1.0]], whole=True)
    np.testing.assert_array_equal(move(x, [(KEY, flip)], "zero"), x[:, :, ::-1])
    np.testing.assert_array_equal(move(x, [(KEY, flip), (KEY, flip)], "zero"), x)


@pytest.mark.parametrize("fill", SCIPY)
def test_shifts_are_those_of_numpys_padding(fill):
    x = photographs(30, 10, 8)
    made = applied(alone(Shift(0.25), fill=fill), x)[0]
    mode = {"reflect": "reflect", "edge": "edge", "zero": "constant"}[fill]
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)
    crops = {
        (down, right): padded[:, down : down + 10, right : right + 8]
        for down, right in itertools.product(range(5), repeat=2)
    }
    found = {place: (made == crop).all(axis=(1, 2, 3)) for place, crop in crops.items()}
    assert np.any(list(found.values()), axis=0).all()
    assert sum(fits.any() for fits in found.values()) > 10  # many of the 25 places


@pytest.mark.parametrize("fill", SCIPY)
@pytest.mark.parametrize("shape", [(9, 7), (6, 6), (1, 5), (2, 3)])
def test_a_warp_is_scipys(fill, shape):
    """scipy's affine_transform has its origin in the corner: offset + centre - matrix · centre."""
    x = photographs(4, *shape).astype("float32")
    generator = np.random.default_rng(1)
    matrix = generator.normal(size=(4, 2, 2)).astype("float32")
    offset = generator.uniform(-4, 4, size=(4, 2)).astype("float32")
    made = np.asarray(WARP(x, matrix, offset, fill))
    centre = (np.array(shape) - 1) / 2
    for image, turn, by, found in zip(x, matrix, offset, made, strict=True):
        for channel in range(3):
            expected = ndimage.affine_transform(
                image[..., channel], turn, by + centre - turn @ centre, order=1, mode=SCIPY[fill]
            )
            # Positions in float32 are known to 1e-6 of a pixel, and neighbours differ by up to 255.
            np.testing.assert_allclose(found[..., channel], expected, atol=2e-2)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("fill", SCIPY)
def test_quarter_turns_are_numpys(quarters, fill):
    x = photographs(3, 8, 8).astype("float32")
    turns = np.tile(turned(-90 * quarters), (3, 1, 1))
    made = WARP(x, turns, np.zeros((3, 2), "float32"), fill)
    expected = np.rot90(x, quarters, axes=(1, 2))
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_rotations_and_zooms_are_drawn_evenly_from_their_range():
    images = Images(4000, 8, 8, 1)
    angles = np.degrees(np.arcsin(np.asarray(Rotate(30).draw_map(KEY, images).matrix)[:, 1, 0]))
    factors = 1 / np.asarray(Zoom(0.2).draw_map(KEY, images).matrix)[:, 0, 0]
    for draws, least, most in ((angles, -30, 30), (factors, 0.8, 1.2)):
        assert least <= draws.min() < draws.max() <= most + 1e-6
        assert np.abs(draws.mean() - (least + most) / 2) < 4 * (most - least) / math.sqrt(12 * 4000)
        assert draws.std() == pytest.approx((most - least) / math.sqrt(12), rel=0.05)


def test_a_zoom_in_enlarges():
    """A square of 4 pixels in the middle of 16 becomes one of 8."""
    x = np.zeros((1, 16, 16, 1), "float32")
    x[:, 6:10, 6:10] = 1.0
    made = move(jnp.asarray(x), [(KEY, Fixed(np.eye(2) / 2))], "zero")
    assert float(made.sum()) == pytest.approx(64.0)


def test_several_steps_are_one_map_in_order():
    """Turned by 90° and then moved down by 2 pixels, not moved and then turned."""
    x = photographs(2, 8, 8)
    steps = [(KEY, Fixed(turned(-90))), (KEY, Fixed(np.eye(2), (-2.0, 0.0)))]
    made = np.asarray(move(jnp.asarray(x), steps, "edge"))
    expected = np.rot90(x, 1, axes=(1, 2))
    np.testing.assert_allclose(made[:, 2:], expected[:, :-2], atol=1e-3)
    mirror = (KEY, Fixed([[1.0, 0.0], [0.0, -1.0]]))
    np.testing.assert_allclose(move(x, [steps[0], mirror], "edge"), expected[:, :, ::-1], atol=1e-3)


def test_what_one_step_pushes_out_another_brings_back():
    x = photographs(2, 8, 8)
    there, back = Fixed(np.eye(2), (3.0, 0.0), whole=True), Fixed(np.eye(2), (-3.0, 0.0), whole=True)
    np.testing.assert_array_equal(move(jnp.asarray(x), [(KEY, there), (KEY, back)], "zero"), x)


@settings(max_examples=40, deadline=None)
@given(
    sides=st.sampled_from([(1, 1), (1, 6), (5, 2), (6, 9)]),
    fill=st.sampled_from(sorted(SCIPY)),
    numbers=st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6),
)
def test_warped_values_lie_among_those_of_the_image(sides, fill, numbers):
    x = photographs(1, *sides).astype("float32") + 1
    matrix, offset = np.array([numbers[:4]], "float32").reshape(1, 2, 2), np.array([numbers[4:]], "float32")
    made = np.asarray(WARP(x, matrix, offset, fill))
    least = 0.0 if fill == "zero" else x.min(axis=(1, 2))[:, None, None]
    assert (made >= least - 1e-3).all()
    assert (made <= x.max(axis=(1, 2))[:, None, None] + 1e-3).all()
