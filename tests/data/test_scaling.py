"""moments(): against NumPy in float64, over chunk borders, at large offsets, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kilter.data.scaling as module
from kilter.data import moments
from kilter.errors import DataError, OptionError


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    dtype=st.sampled_from(["uint8", "float32", "int32"]),
    chunk=st.integers(1, 300),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_against_numpy(shape, dtype, chunk, seed, data):
    x = np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)
    kept = tuple(data.draw(st.sets(st.integers(1, len(shape) - 1))))
    others = tuple(i for i in range(len(shape)) if i not in kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_VALUES", chunk)
        found = moments(x, axis=kept or None)
    # one float32 rounding of float64 sums of at most 9**4 values below 256
    np.testing.assert_allclose(found.mean, x.mean(axis=others, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(found.variance, x.var(axis=others, dtype=np.float64), rtol=1e-6, atol=1e-9)
    assert found.mean.dtype == found.variance.dtype == np.float32


def test_a_large_offset_cancels_nothing(monkeypatch):
    """In float32, or by the mean of squares, the variance of 1e7 + {0, 1} would be lost."""
    monkeypatch.setattr(module, "CHUNK_VALUES", 7)
    x = (1e7 + np.tile([0.0, 1.0], 50)).astype(np.float32)[:, None]
    assert moments(x).variance[0] == pytest.approx(0.25, rel=1e-6)


def test_a_constant_feature_has_variance_zero():
    assert moments(np.full((100, 2), 0.1, np.float32)).variance.tolist() == [0, 0]


def test_axes_are_those_kept():
    x = np.zeros((5, 4, 3, 2), np.uint8)
    assert moments(x).mean.shape == (2,)
    assert moments(x, axis=(1, 2, 3)).mean.shape == (4, 3, 2)
    assert moments(x, axis=None).mean.shape == ()
    np.testing.assert_array_equal(moments(x, axis=np.int64(1)).mean, moments(x, axis=1).mean)


def test_nonfinite_values_give_nan_without_a_warning(recwarn):
    found = moments(np.array([[1.0, np.nan, np.inf], [2.0, 1.0, 1.0]]))
    assert found.mean[0] == 1.5
    assert np.isnan(found.variance[1:]).all()
    assert not recwarn.list


@pytest.mark.parametrize("axis", [0, -2, 2, (1, 1), (1, -1)])
def test_impossible_axes(axis):
    with pytest.raises(OptionError):
        moments(np.zeros((3, 2)), axis=axis)


def test_no_rows():
    with pytest.raises(DataError):
        moments(np.zeros((0, 2)))
