"""What the baselines reach, and when a network falls short of them."""

import numpy as np
import pytest

from kilter._treatment.scoring import Scoring, baseline_error, baseline_of_classes

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(600, 3))


def test_what_can_be_learnt_is_learnt_and_chance_stays_chance():
    apart, alike = (X[:, 0] > 0).astype(int), RANDOM.integers(2, size=600)
    assert baseline_of_classes(X[:400], apart[:400], X[400:], apart[400:]) > 0.9
    assert 0.35 < baseline_of_classes(X[:400], alike[:400], X[400:], alike[400:]) < 0.65
    circle = (np.square(X[:, :2]).sum(axis=1) > 1.4).astype(int)  # no straight line tells these apart
    assert baseline_of_classes(X[:400], circle[:400], X[400:], circle[400:]) > 0.8


def test_an_error_is_in_the_units_of_the_targets():
    y = 1000 * (X @ [1.0, -2.0, 0.5]) + 7
    assert baseline_error(X[:400], y[:400], X[400:], y[400:]) < 100
    assert baseline_error(X[:400], y[:400, None], X[400:], y[400:, None]) < 100


def test_what_is_not_known_is_nan():
    y = (X[:, 0] > 0).astype(int)
    assert np.isnan(baseline_of_classes([X, X], y, [X, X], y))
    assert np.isnan(baseline_of_classes(X, np.zeros(600, int), X, y))
    assert np.isnan(baseline_of_classes(np.full((9, 2), np.nan), y[:9], X[:9], y[:9]))
    assert np.isnan(baseline_error(X, np.full(600, np.inf), X, X[:, 0]))


def test_rows_with_nan_are_left_out():
    x, y = X.copy(), (X[:, 0] > 0).astype(int)
    x[::7] = np.nan
    assert baseline_of_classes(x[:400], y[:400], x[400:], y[400:]) > 0.9


@pytest.mark.parametrize(
    ("scoring", "score", "short"),
    [
        (Scoring("val_accuracy", 0.3), 0.5, False),
        (Scoring("val_accuracy", 0.3, baseline=0.9), 0.5, True),
        (Scoring("val_accuracy", 0.3, baseline=0.9), 0.86, False),
        (Scoring("val_accuracy", 0.3, baseline=0.9), float("nan"), True),
        (Scoring("val_rmse", 1.0, baseline=0.5), 0.7, True),
        (Scoring("val_rmse", 1.0, baseline=0.5), 0.51, False),
    ],
)
def test_a_network_clearly_worse_than_a_baseline_falls_short(scoring, score, short):
    assert scoring.falls_short(score) == short
