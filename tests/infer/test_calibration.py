"""Calibration against scikit-learn, against a slow loop, and in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from kilter._infer.calibration import calibration
from kilter.errors import DataError, OptionError


def guessed(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), rows), rng.integers(0, classes, rows)


def test_the_scores_are_those_of_scikit_learn():
    shares, y = guessed(200, 4)
    found = calibration(shares, y)
    assert found.negative_log_likelihood == pytest.approx(log_loss(y, shares, labels=range(4)))
    assert found.brier == pytest.approx(((shares - np.eye(4)[y]) ** 2).sum(axis=1).mean())
    assert found.accuracy == (shares.argmax(axis=1) == y).mean()


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_two_classes_by_the_probability_of_the_second(shape: tuple[int, ...]):
    shares, y = guessed(100, 2)
    found = calibration(shares[:, 1].reshape(shape), y[:, None])
    assert found.brier == pytest.approx(2 * brier_score_loss(y, shares[:, 1]))
    assert found.negative_log_likelihood == pytest.approx(log_loss(y, shares[:, 1]))
    assert found.expected_calibration_error == pytest.approx(
        calibration(shares, y).expected_calibration_error
    )


def slow_error(shares: np.ndarray, y: np.ndarray, bins: int) -> float:
    """Guo et al. 2017, equations 2 and 3, bin by bin."""
    error = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, row in enumerate(shares) if (m - 1) / bins < row.max() <= m / bins]
        if inside:
            accuracy = np.mean([shares[i].argmax() == y[i] for i in inside])
            error += len(inside) / len(y) * abs(accuracy - np.mean([shares[i].max() for i in inside]))
    return error


@given(st.integers(1, 60), st.integers(2, 5), st.integers(1, 20), st.integers(0, 1000))
def test_the_calibration_error_is_that_of_the_paper(rows: int, classes: int, bins: int, seed: int):
    shares, y = guessed(rows, classes, seed)
    found = calibration(shares, y, bins=bins)
    assert found.expected_calibration_error == pytest.approx(slow_error(shares, y, bins))
    assert found.counts.sum() == rows
    assert np.isnan(found.bin_accuracy).tolist() == (found.counts == 0).tolist()


def test_a_confidence_on_a_border_belongs_to_the_bin_below():
    shares = np.array([[0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [1.0, 0.0]])
    assert calibration(shares, [0, 1, 0, 0], bins=10).counts.tolist() == [0, 0, 0, 0, 0, 2, 1, 0, 0, 1]


def test_perfect_and_certain_and_certainly_wrong():
    half = np.full((10, 2), 0.5)
    honest = calibration(half, [0, 1] * 5)
    assert honest.expected_calibration_error == 0
    assert honest.negative_log_likelihood == pytest.approx(np.log(2))
    right, wrong = (calibration(np.eye(2), y) for y in ([0, 1], [1, 0]))
    assert (right.negative_log_likelihood, right.brier, right.expected_calibration_error) == (0, 0, 0)
    assert (wrong.negative_log_likelihood, wrong.brier, wrong.expected_calibration_error) == (np.inf, 2, 1)


def test_the_picture_shows_the_bins():
    shares, y = guessed(100, 3)
    found = calibration(shares, y, bins=5)
    bars, diagonal = found.plot().data
    np.testing.assert_array_equal(bars.y, found.bin_accuracy)
    np.testing.assert_array_equal(bars.customdata[:, 1], found.bin_confidence)
    assert list(bars.x) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert diagonal.name == "perfect"


@pytest.mark.parametrize(
    ("shares", "y", "said"),
    [
        ([[2.0, -1.0]], [0], "other rows"),
        ([[0.2, 0.2]], [0], "sum to 1"),
        ([[np.nan, 0.5]], [0], "other rows"),
        ([1.2, 0.5], [0, 1], "other rows"),
        (np.zeros((0, 2)), [], "shape"),
        (np.zeros((2, 2, 2)), [0, 1], "shape"),
        ([[0.5, 0.5]], [0, 1], "y of shape"),
        ([[0.5, 0.5]], [[0, 1]], "argmax"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [-1], "from 0 to 1"),
        ([[0.5, 0.5]], [np.nan], "from 0 to 1"),
        ([[0.5, 0.5]], [0.5], "from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(shares: object, y: object, said: str):
    with pytest.raises(DataError, match=said):
        calibration(shares, y)


@pytest.mark.parametrize("bins", [0, -1, 2.5, True])
def test_bins_are_a_whole_number(bins: object):
    with pytest.raises(OptionError, match="bins"):
        calibration([[0.5, 0.5]], [0], bins=bins)  # type: ignore[arg-type]
